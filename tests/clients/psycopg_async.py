"""psycopg 3, asynchronous: many connections of one event loop. Every check is an assert."""

import asyncio

import psycopg
from psycopg import errors

CONNECTIONS = 25
ROUNDS = 12


async def connect(**settings):
    return await psycopg.AsyncConnection.connect(autocommit=True, prepare_threshold=0, **settings)


async def one_value(conn, text, *values):
    cursor = await conn.execute(text, values)
    return (await cursor.fetchone())[0]


async def client(number):
    name = f"async {number}"
    async with await connect(application_name=name) as conn:
        await conn.execute("SELECT set_config('my.number', %s, false)", (str(number),))
        for turn in range(ROUNDS):
            assert await one_value(conn, "SELECT %s::int + %s", number, turn) == number + turn
            assert await one_value(conn, "SELECT current_setting('my.number')") == str(number)
            assert await one_value(conn, "SHOW application_name") == name
            await in_a_transaction(conn, number, turn)
            await in_a_pipeline(conn, number)
        assert conn.info.parameter_status("application_name") == name


async def in_a_transaction(conn, number, turn):
    try:
        async with conn.transaction():
            await conn.execute("INSERT INTO visits VALUES (%s, %s)", (number, turn))
            if turn % 3 == 0:
                await conn.execute("SELECT 1/%s", (0,))
    except errors.DivisionByZero:
        assert turn % 3 == 0


async def in_a_pipeline(conn, number):
    async with conn.pipeline():
        first = await conn.execute("SELECT %s::text", (f"p{number}",))
        second = await conn.execute("SELECT count(*) FROM visits WHERE who = %s", (number,))
        assert await first.fetchone() == (f"p{number}",)
        await second.fetchone()


async def listener(ready, count):
    async with await connect() as conn:
        await conn.execute("LISTEN visits")
        ready.set()
        seen = []
        async for note in conn.notifies(timeout=300, stop_after=count):
            seen.append(int(note.payload))
        assert sorted(seen) == list(range(count)), seen


async def cancelled():
    async with await connect() as conn:
        task = asyncio.create_task(conn.execute("SELECT pg_sleep(30)"))
        done, _ = await asyncio.wait({task}, timeout=0.2)
        assert not done
        task.cancel()
        try:
            await task
        except (asyncio.CancelledError, errors.QueryCanceled):
            pass
        async with await connect() as other:
            assert await one_value(other, "SELECT 1") == 1


async def main():
    async with await connect() as conn:
        await conn.execute("CREATE TABLE visits (who int, turn int)")
        ready = asyncio.Event()
        listening = asyncio.create_task(listener(ready, 5))
        await ready.wait()
        await asyncio.gather(*(client(number) for number in range(CONNECTIONS)))
        for number in range(5):
            await conn.execute("SELECT pg_notify('visits', %s)", (str(number),))
        await listening
        kept = ROUNDS - (ROUNDS + 2) // 3
        assert await one_value(conn, "SELECT count(*) FROM visits") == CONNECTIONS * kept
        async with conn.cursor() as cursor, cursor.copy("COPY visits TO STDOUT") as copy:
            assert len([row async for row in copy.rows()]) == CONNECTIONS * kept
        await cancelled()
        await conn.execute("DROP TABLE visits")


asyncio.run(main())
