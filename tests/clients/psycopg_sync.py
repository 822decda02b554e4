"""psycopg 3, synchronous: what an application does with it. Every check is an assert; the environment says where.

Runs once for each way of preparing: at the first use, at the second, and by default.
"""

import datetime
import threading
import zoneinfo

import psycopg
from psycopg import errors
from psycopg.rows import dict_row

ACCOUNTS = 10
THREADS = 20
TRANSFERS = 15


def connect(threshold, **settings):
    return psycopg.connect(autocommit=True, prepare_threshold=threshold, **settings)


def repeated_statements(conn):
    for number in range(12):
        row = conn.execute("SELECT %s::int + 1, %s", (number, f"text {number}")).fetchone()
        assert row == (number + 1, f"text {number}"), row
    for number in range(12):
        row = conn.execute("SELECT %s::int + 1", (number,), binary=True).fetchone()
        assert row == (number + 1,), row
    rows = conn.execute("SELECT id, name FROM items WHERE id <= %s ORDER BY id", (3,)).fetchall()
    assert rows == [(1, "item 1"), (2, "item 2"), (3, "item 3")], rows


def transactions(conn):
    conn.execute("CREATE TABLE notes (id int PRIMARY KEY, text text)")
    with conn.transaction():
        conn.execute("INSERT INTO notes VALUES (1, 'kept')")
        try:
            with conn.transaction():
                conn.execute("INSERT INTO notes VALUES (2, 'lost')")
                raise psycopg.Rollback()
        finally:
            conn.execute("INSERT INTO notes VALUES (3, 'kept')")
    try:
        with conn.transaction():
            conn.execute("INSERT INTO notes VALUES (4, 'lost')")
            conn.execute("INSERT INTO notes VALUES (1, 'again')")
        raise AssertionError("the key exists")
    except errors.UniqueViolation as error:
        assert error.diag.constraint_name == "notes_pkey"
    with conn.transaction(force_rollback=True):
        conn.execute("DELETE FROM notes")
    ids = [row[0] for row in conn.execute("SELECT id FROM notes ORDER BY id")]
    assert ids == [1, 3], ids
    conn.execute("DROP TABLE notes")


def modes(conn):
    conn.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
    conn.read_only = True
    with conn.transaction():
        assert conn.execute("SHOW transaction_isolation").fetchone() == ("serializable",)
        try:
            with conn.transaction():
                conn.execute("INSERT INTO items VALUES (-1, '')")
        except errors.ReadOnlySqlTransaction:
            pass
        else:
            raise AssertionError("it was read only")
        assert conn.execute("SELECT 1").fetchone() == (1,)
    conn.isolation_level = None
    conn.read_only = None
    assert conn.execute("SHOW transaction_isolation").fetchone() == ("read committed",)


def implicit_transactions(threshold):
    """Not autocommit: BEGIN comes by itself."""
    with psycopg.connect(prepare_threshold=threshold) as conn:
        conn.execute("CREATE TABLE implicit AS SELECT 1 AS n")
        conn.rollback()
        assert conn.execute("SELECT to_regclass('implicit')").fetchone() == (None,)
        try:
            conn.execute("SELECT 1/0")
        except errors.DivisionByZero:
            pass
        try:
            conn.execute("SELECT 1")
        except errors.InFailedSqlTransaction:
            conn.rollback()
        else:
            raise AssertionError("it had failed")
        with conn.cursor(row_factory=dict_row) as cursor:
            assert cursor.execute("SELECT 1 AS n").fetchone() == {"n": 1}


def copying(conn):
    conn.execute("CREATE TABLE copied (n int, text text)")
    with conn.cursor() as cursor:
        with cursor.copy("COPY copied FROM STDIN") as copy:
            for number in range(2000):
                copy.write_row((number, f"row\t{number}"))
        assert cursor.rowcount == 2000
        with cursor.copy("COPY (SELECT * FROM copied ORDER BY n) TO STDOUT") as copy:
            rows = list(copy.rows())
        assert len(rows) == 2000 and rows[7] == ("7", "row\t7")
        try:
            with cursor.copy("COPY copied FROM STDIN") as copy:
                copy.write(b"not a number\tx\n")
        except errors.InvalidTextRepresentation:
            pass
        else:
            raise AssertionError("the row was wrong")
    assert conn.execute("SELECT count(*) FROM copied").fetchone() == (2000,)
    conn.execute("DROP TABLE copied")


def cursors(conn):
    with conn.transaction():
        with conn.cursor(name="served") as cursor:
            cursor.execute("SELECT n FROM generate_series(1, 500) n")
            cursor.itersize = 50
            assert sum(row[0] for row in cursor) == 125250
    with conn.cursor(name="held", withhold=True, scrollable=True) as cursor:
        cursor.execute("SELECT n FROM generate_series(1, 100) n")
        assert cursor.fetchmany(3) == [(1,), (2,), (3,)]
        assert conn.execute("SELECT 'in between'").fetchone() == ("in between",)
        cursor.scroll(-2)
        assert cursor.fetchone() == (2,)


def settings(conn):
    tokyo = zoneinfo.ZoneInfo("Asia/Tokyo")
    conn.execute("SET TIME ZONE 'Asia/Tokyo'")
    for _ in range(5):
        assert conn.info.timezone == tokyo
        now = conn.execute("SELECT '2024-01-01 00:00+00'::timestamptz").fetchone()[0]
        assert now.utcoffset() == datetime.timedelta(hours=9), now
    conn.execute("SELECT set_config('my.user', %s, false)", ("it's me",))
    for _ in range(5):
        assert conn.execute("SELECT current_setting('my.user')").fetchone() == ("it's me",)
    with conn.transaction(force_rollback=True):
        conn.execute("SET LOCAL work_mem = '9MB'")
        assert conn.execute("SHOW work_mem").fetchone() == ("9MB",)
        conn.execute("SET TIME ZONE 'UTC'")
    assert conn.info.timezone == tokyo
    assert conn.execute("SHOW work_mem").fetchone() == ("4MB",)
    conn.execute("RESET ALL")
    assert conn.execute("SHOW TimeZone").fetchone() == (conn.info.parameter_status("TimeZone"),)


def pipelines(conn):
    with conn.pipeline():
        cursors = [conn.execute("SELECT %s::int * 2", (number,)) for number in range(50)]
        assert [cursor.fetchone()[0] for cursor in cursors] == list(range(0, 100, 2))
    try:
        with conn.pipeline() as pipeline:
            conn.execute("SELECT %s::text", ("first",))
            conn.execute("SELECT 1/%s", (0,))
            conn.execute("SELECT %s::text || 'skipped'", ("third",))
            pipeline.sync()
    except errors.DivisionByZero:
        pass
    else:
        raise AssertionError("the second one fails")
    for _ in range(3):
        assert conn.execute("SELECT %s::text || 'skipped'", ("not ",)).fetchone() == ("not skipped",)
    with conn.pipeline(), conn.transaction():
        conn.execute("CREATE TEMP TABLE piped (n int) ON COMMIT DROP")
        conn.cursor().executemany("INSERT INTO piped VALUES (%s)", [(n,) for n in range(100)])
        assert conn.execute("SELECT sum(n) FROM piped").fetchone() == (4950,)


def many(conn):
    conn.execute("CREATE TABLE many (n int, text text)")
    with conn.cursor() as cursor:
        cursor.executemany("INSERT INTO many VALUES (%s, %s)", [(n, str(n)) for n in range(300)])
        cursor.executemany("INSERT INTO many VALUES (%s, %s) RETURNING n", [(1, "a"), (2, "b")], returning=True)
        found = [cursor.fetchone()[0]]
        while cursor.nextset():
            found.append(cursor.fetchone()[0])
        assert found == [1, 2], found
    assert conn.execute("SELECT count(*) FROM many").fetchone() == (302,)
    conn.execute("ALTER TABLE many ADD more int")
    assert len(conn.execute("SELECT * FROM many WHERE n = 7").fetchone()) == 3
    conn.execute("DROP TABLE many")


def notifications(conn):
    conn.execute("LISTEN orders")
    with connect(0) as other:
        other.execute("NOTIFY orders, 'from another'")
    conn.execute("SELECT pg_notify('orders', 'from itself')")
    notes = [note.payload for note in conn.notifies(timeout=20, stop_after=2)]
    assert sorted(notes) == ["from another", "from itself"], notes
    conn.execute("UNLISTEN *")


def temporary_state(conn):
    conn.execute("CREATE TEMP TABLE basket (n int)")
    for number in range(10):
        conn.execute("INSERT INTO basket VALUES (%s)", (number,))
    assert conn.execute("SELECT sum(n) FROM basket").fetchone() == (45,)
    conn.execute("DROP TABLE basket")
    conn.execute("SELECT pg_advisory_lock(%s)", (991,))
    assert conn.execute("SELECT pg_advisory_unlock(%s)", (991,)).fetchone() == (True,)
    conn.execute("DEALLOCATE ALL")
    repeated_statements(conn)
    conn.execute("DISCARD ALL")
    repeated_statements(conn)


def cancelling(conn):
    timer = threading.Timer(0.2, conn.cancel_safe)
    timer.start()
    try:
        conn.execute("SELECT pg_sleep(%s)", (30,))
        raise AssertionError("it was cancelled")
    except errors.QueryCanceled:
        timer.join()
    assert conn.execute("SELECT 1").fetchone() == (1,)


def transfer(threshold, number):
    with connect(threshold, application_name=f"teller {number}") as conn:
        for turn in range(TRANSFERS):
            one, other = (number + turn) % ACCOUNTS, (number * 3 + turn * 7) % ACCOUNTS
            with conn.transaction(force_rollback=turn % 5 == 4):
                # In one order, so that nobody deadlocks.
                for account in sorted({one, other}):
                    conn.execute("SELECT 1 FROM accounts WHERE id = %s FOR UPDATE", (account,))
                conn.execute("UPDATE accounts SET balance = balance - %s WHERE id = %s", (turn, one))
                conn.execute("UPDATE accounts SET balance = balance + %s WHERE id = %s", (turn, other))
            name = conn.execute("SHOW application_name").fetchone()
            assert name == (f"teller {number}",), name


def concurrency(conn, threshold):
    conn.execute("CREATE TABLE accounts AS SELECT id, 100 AS balance FROM generate_series(0, 9) id")
    failures = []

    def work(number):
        try:
            transfer(threshold, number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    assert conn.execute("SELECT sum(balance) FROM accounts").fetchone() == (1000,)
    conn.execute("DROP TABLE accounts")


def main():
    for threshold in (0, 1, 5):
        print("prepare_threshold", threshold)
        with connect(threshold) as conn:
            for check in (
                repeated_statements,
                transactions,
                modes,
                copying,
                cursors,
                settings,
                pipelines,
                many,
                notifications,
                temporary_state,
                cancelling,
            ):
                print(" ", check.__name__, flush=True)
                check(conn)
            implicit_transactions(threshold)
            concurrency(conn, threshold)


main()
