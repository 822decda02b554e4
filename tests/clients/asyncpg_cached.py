"""asyncpg with its statement cache on, alone and as a pool of its own. Every check is an assert."""

import asyncio

import asyncpg

CLIENTS = 25
ROUNDS = 12


async def statements(conn):
    for number in range(10):
        assert await conn.fetchval("SELECT $1::int + 1", number) == number + 1
    prepared = await conn.prepare("SELECT id, name FROM items WHERE id <= $1 ORDER BY id")
    assert [column.name for column in prepared.get_attributes()] == ["id", "name"]
    for count in range(1, 6):
        assert len(await prepared.fetch(count)) == count
    try:
        await conn.fetchval("SELECT 1 / $1::int", 0)
        raise AssertionError("it divides by zero")
    except asyncpg.DivisionByZeroError:
        pass
    await conn.executemany("SELECT $1::int", [(number,) for number in range(20)])


async def types(conn):
    """An enum and a composite type: asyncpg looks both up, with statements of its own."""
    await conn.execute("CREATE TYPE colour AS ENUM ('red', 'green'); CREATE TYPE pair AS (a int, b colour)")
    for _ in range(3):
        row = await conn.fetchrow("SELECT $1::colour AS c, ROW(1, 'green')::pair AS p, ARRAY[$1::colour] AS l", "red")
        assert row["c"] == "red" and tuple(row["p"]) == (1, "green") and row["l"] == ["red"], row
    await conn.execute("DROP TYPE pair; DROP TYPE colour")


async def transactions(conn):
    await conn.execute("CREATE TABLE notes (id int PRIMARY KEY)")
    async with conn.transaction(isolation="serializable"):
        await conn.execute("INSERT INTO notes VALUES ($1)", 1)
        try:
            async with conn.transaction():
                await conn.execute("INSERT INTO notes VALUES ($1)", 2)
                await conn.execute("INSERT INTO notes VALUES ($1)", 1)
        except asyncpg.UniqueViolationError:
            pass
        assert await conn.fetchval("SHOW transaction_isolation") == "serializable"
    try:
        async with conn.transaction(readonly=True):
            await conn.execute("DELETE FROM notes")
    except asyncpg.ReadOnlySQLTransactionError:
        pass
    assert await conn.fetch("SELECT id FROM notes") == [(1,)]
    await conn.execute("DROP TABLE notes")


async def cursors(conn):
    async with conn.transaction():
        total = 0
        async for row in conn.cursor("SELECT n FROM generate_series(1, $1::int) n", 300, prefetch=40):
            total += row["n"]
        assert total == 45150
        cursor = await conn.cursor("SELECT n FROM generate_series(1, 50) n")
        await cursor.forward(10)
        assert [row["n"] for row in await cursor.fetch(2)] == [11, 12]


async def copying(conn):
    await conn.execute("CREATE TABLE copied (n int, t text)")
    records = [(number, f"text {number}") for number in range(3000)]
    assert await conn.copy_records_to_table("copied", records=records) == "COPY 3000"
    parts = []

    async def take(data):
        parts.append(data)

    said = await conn.copy_from_query("SELECT n FROM copied WHERE n < $1 ORDER BY n", 5, output=take)
    assert said == "COPY 5" and b"".join(parts) == b"0\n1\n2\n3\n4\n"
    await conn.execute("DROP TABLE copied")


async def changed_tables(conn):
    await conn.execute("CREATE TABLE changing (a int); INSERT INTO changing VALUES (1)")
    assert tuple(await conn.fetchrow("SELECT * FROM changing")) == (1,)
    await conn.execute("ALTER TABLE changing ADD b int")
    # asyncpg notices by itself outside a transaction and prepares anew.
    assert tuple(await conn.fetchrow("SELECT * FROM changing")) == (1, None)
    await conn.execute("DROP TABLE changing")


async def settings(conn):
    await conn.execute("SET TIME ZONE 'Asia/Tokyo'")
    await conn.execute("SELECT set_config('my.tenant', $1, false)", "seven")
    for _ in range(5):
        assert await conn.fetchval("SHOW TimeZone") == "Asia/Tokyo"
        assert await conn.fetchval("SELECT current_setting('my.tenant')") == "seven"
    assert conn.get_settings().TimeZone == "Asia/Tokyo"
    await conn.reset()
    assert await conn.fetchval("SHOW TimeZone") != "Asia/Tokyo"


async def notifications(conn):
    came = asyncio.Queue()

    def hear(_connection, _pid, _channel, payload):
        came.put_nowait(payload)

    await conn.add_listener("news", hear)
    other = await asyncpg.connect()
    await other.execute("NOTIFY news, 'from another'")
    await conn.execute("SELECT pg_notify('news', $1)", "from itself")
    heard = [await asyncio.wait_for(came.get(), 20) for _ in range(2)]
    assert sorted(heard) == ["from another", "from itself"], heard
    await conn.remove_listener("news", hear)
    await other.close()


async def timeouts(conn):
    try:
        await conn.fetchval("SELECT pg_sleep(30)", timeout=0.2)
        raise AssertionError("it takes too long")
    except asyncio.TimeoutError:
        pass
    assert await conn.fetchval("SELECT 1") == 1


async def customer(pool, number):
    for turn in range(ROUNDS):
        async with pool.acquire() as conn:
            assert await conn.fetchval("SELECT $1::int * $2::int", number, turn) == number * turn
            transaction = conn.transaction()
            await transaction.start()
            await conn.execute("SET LOCAL my.customer = 'me'")
            await conn.execute("INSERT INTO orders VALUES ($1, $2)", number, turn)
            if turn % 4 == 3:
                await transaction.rollback()
            else:
                await transaction.commit()
            await conn.execute(f"SET application_name = 'customer {number}'")
            assert await conn.fetchval("SHOW application_name") == f"customer {number}"


async def pooled():
    async with asyncpg.create_pool(min_size=10, max_size=20) as pool:
        await pool.execute("CREATE TABLE orders (who int, turn int)")
        await asyncio.gather(*(customer(pool, number) for number in range(CLIENTS)))
        assert await pool.fetchval("SELECT count(*) FROM orders") == CLIENTS * ROUNDS * 3 // 4
        await pool.execute("DROP TABLE orders")


async def main():
    conn = await asyncpg.connect()
    for check in (statements, types, transactions, cursors, copying, changed_tables, settings, notifications, timeouts):
        print(check.__name__, flush=True)
        await check(conn)
    await conn.close()
    await pooled()


asyncio.run(main())
