// node-postgres: what an application does with it. Every check is an assert; the environment says where.
'use strict';

const assert = require('node:assert');
const { once } = require('node:events');
const { pipeline } = require('node:stream/promises');
const { Readable } = require('node:stream');
const pg = require('pg');
const copy = require('pg-copy-streams');
const Cursor = require('pg-cursor');

const CLIENTS = 20;
const ROUNDS = 15;

async function connected(options) {
  const client = new pg.Client(options);
  await client.connect();
  return client;
}

async function failsWith(code, doing) {
  await assert.rejects(doing, (error) => error.code === code || assert.fail(`${error.code}: ${error.message}`));
}

async function statements(client) {
  for (let n = 0; n < 10; n++) {
    const named = await client.query({ name: 'plus', text: 'SELECT $1::int + 1 AS n', values: [n] });
    assert.strictEqual(named.rows[0].n, n + 1);
    const unnamed = await client.query('SELECT $1::text AS t, $2::int AS n', [`t${n}`, n]);
    assert.deepStrictEqual(unnamed.rows[0], { t: `t${n}`, n });
    const simple = await client.query('SELECT 1 AS a; SELECT 2 AS b');
    assert.deepStrictEqual(simple.map((result) => result.rows[0]), [{ a: 1 }, { b: 2 }]);
  }
  await failsWith('22012', client.query({ name: 'divide', text: 'SELECT 1 / $1::int', values: [0] }));
  const again = await client.query({ name: 'divide', text: 'SELECT 1 / $1::int AS n', values: [1] }).catch((e) => e);
  // The driver itself refuses another text under a name it knows.
  assert.match(again.message, /must be unique/);
  await failsWith('42P01', client.query({ name: 'nowhere', text: 'SELECT * FROM nowhere' }));
}

async function transactions(client) {
  await client.query('CREATE TABLE notes (id int PRIMARY KEY)');
  await client.query('BEGIN');
  await client.query('INSERT INTO notes VALUES ($1)', [1]);
  await client.query('SAVEPOINT one');
  await failsWith('23505', client.query('INSERT INTO notes VALUES ($1)', [1]));
  await failsWith('25P02', client.query('SELECT 1'));
  await client.query('ROLLBACK TO one');
  await client.query('COMMIT');
  await client.query('BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY');
  await failsWith('25006', client.query('DELETE FROM notes'));
  await client.query('ROLLBACK');
  const { rows } = await client.query('SELECT count(*)::int AS n FROM notes');
  assert.strictEqual(rows[0].n, 1);
  await client.query('DROP TABLE notes');
}

async function settings(client) {
  await client.query("SET TIME ZONE 'Asia/Tokyo'");
  await client.query("SELECT set_config('my.tenant', $1, false)", ['seven']);
  for (let n = 0; n < 5; n++) {
    const { rows } = await client.query("SELECT current_setting('TimeZone') AS zone, current_setting('my.tenant') AS tenant");
    assert.deepStrictEqual(rows[0], { zone: 'Asia/Tokyo', tenant: 'seven' });
  }
  await client.query('BEGIN');
  await client.query("SET LOCAL statement_timeout = '1h'");
  await client.query("SET TIME ZONE 'UTC'");
  await client.query('ROLLBACK');
  const { rows } = await client.query("SELECT current_setting('TimeZone') AS zone, current_setting('statement_timeout') AS timeout");
  assert.deepStrictEqual(rows[0], { zone: 'Asia/Tokyo', timeout: '0' });
  await client.query('DISCARD ALL').then(() => client.query('SHOW TimeZone'));
}

async function copying(client) {
  await client.query('CREATE TABLE copied (n int, t text)');
  const lines = [...Array(3000).keys()].map((n) => `${n}\ttext ${n}\n`);
  await pipeline(Readable.from(lines), client.query(copy.from('COPY copied FROM STDIN')));
  let text = '';
  for await (const chunk of client.query(copy.to('COPY (SELECT n FROM copied ORDER BY n) TO STDOUT'))) {
    text += chunk;
  }
  assert.strictEqual(text.split('\n').length, 3001);
  await failsWith('22P02', pipeline(Readable.from(['wrong\tx\n']), client.query(copy.from('COPY copied FROM STDIN'))));
  await client.query('DROP TABLE copied');
}

async function cursors(client) {
  await client.query('BEGIN');
  const cursor = client.query(new Cursor('SELECT n FROM generate_series(1, $1::int) n', [100]));
  let total = 0;
  for (let rows = await cursor.read(30); rows.length > 0; rows = await cursor.read(30)) {
    total += rows.reduce((sum, row) => sum + row.n, 0);
  }
  assert.strictEqual(total, 5050);
  await cursor.close();
  await client.query('COMMIT');
}

async function notifications(client) {
  const heard = [];
  client.on('notification', (message) => heard.push(message.payload));
  await client.query('LISTEN news');
  const other = await connected();
  await other.query("SELECT pg_notify('news', 'one')");
  while (heard.length < 1) await once(client, 'notification');
  await client.query("NOTIFY news, 'two'");
  assert.deepStrictEqual(heard, ['one', 'two']);
  await client.query('UNLISTEN *');
  await other.end();
}

async function customer(pool, number) {
  for (let turn = 0; turn < ROUNDS; turn++) {
    const client = await pool.connect();
    try {
      await client.query('BEGIN');
      await client.query({ name: 'order', text: 'INSERT INTO orders VALUES ($1, $2)', values: [number, turn] });
      await client.query(turn % 3 === 2 ? 'ROLLBACK' : 'COMMIT');
      const { rows } = await client.query({ name: 'mine', text: 'SELECT $1::int AS n', values: [number] });
      assert.strictEqual(rows[0].n, number);
    } finally {
      client.release();
    }
  }
}

async function pooled() {
  const pool = new pg.Pool({ max: CLIENTS, application_name: 'node' });
  await pool.query('CREATE TABLE orders (who int, turn int)');
  await Promise.all([...Array(2 * CLIENTS).keys()].map((number) => customer(pool, number)));
  const { rows } = await pool.query("SELECT count(*)::int AS n, current_setting('application_name') AS name FROM orders");
  assert.deepStrictEqual(rows[0], { n: (2 * CLIENTS * ROUNDS * 2) / 3, name: 'node' });
  await pool.query('DROP TABLE orders');
  await pool.end();
}

async function main() {
  const client = await connected({ application_name: 'node', options: '-c work_mem=9MB' });
  assert.strictEqual((await client.query('SHOW work_mem')).rows[0].work_mem, '9MB');
  for (const check of [transactions, copying, cursors, notifications, statements, settings]) {
    console.log(check.name);
    await check(client);
  }
  await client.end();
  await pooled();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
