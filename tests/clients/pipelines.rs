//! tokio-postgres, which sends whatever is asked of it at once: many statements on their way on each connection.
//! Owns what such an application does.

use std::{future::poll_fn, net::SocketAddr, pin::pin};

use futures_util::{
    FutureExt, SinkExt, TryStreamExt,
    future::{Either, join_all, select, try_join, try_join_all},
    stream,
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    task::{LocalSet, spawn_local},
};
use tokio_postgres::{
    AsyncMessage, Client, Config, Error, IsolationLevel, NoTls, Statement, error::SqlState,
};

use crate::support::crowd::{self, Crowd};

const CLIENTS: i32 = 20;
const ROUNDS: i32 = 8;

/// Statements of one client that are on their way together.
const TOGETHER: i32 = 40;

#[test]
fn tokio_postgres_with_pipelines() {
    let stage = crowd::stage();
    in_a_runtime(application(stage.server.primary.address()));
    let crowd = Crowd::gather(stage.proxy.address(), 6, crowd::USUAL);
    in_a_runtime(application(stage.proxy.address()));
    let complaints = crowd.disperse();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

fn in_a_runtime(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, work);
}

async fn application(address: SocketAddr) {
    let (mut client, heard) = connect(address).await;
    let create =
        "CREATE TABLE orders (who int, turn int); CREATE TYPE colour AS ENUM ('red', 'green')";
    client.batch_execute(create).await.unwrap();
    types(&client).await;
    copying(&client).await;
    portals(&mut client).await;
    changed_tables(&client).await;
    settings(&mut client).await;
    notifications(&client, heard, address).await;
    join_all((0..CLIENTS).map(|number| customer(address, number))).await;
    let count: i64 = one(&client, "SELECT count(*) FROM orders").await;
    assert_eq!(count, i64::from(CLIENTS * ROUNDS / 2));
    client
        .batch_execute("DROP TABLE orders; DROP TYPE colour")
        .await
        .unwrap();
}

/// A client, and the notifications that come to it.
async fn connect(address: SocketAddr) -> (Client, UnboundedReceiver<String>) {
    let mut config = Config::new();
    config.user("app").password("secret").dbname("app");
    config.host(address.ip().to_string()).port(address.port());
    let (client, mut connection) = config.connect(NoTls).await.unwrap();
    let (told, heard) = unbounded_channel();
    spawn_local(async move {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(note) = message.unwrap() {
                // Most do not listen.
                let _unheard = told.send(note.payload().to_owned());
            }
        }
    });
    (client, heard)
}

async fn one<T: for<'a> tokio_postgres::types::FromSql<'a>>(client: &Client, text: &str) -> T {
    client.query_one(text, &[]).await.unwrap().get(0)
}

async fn customer(address: SocketAddr, number: i32) {
    let (mut client, _) = connect(address).await;
    let name = format!("customer {number}");
    let rename = format!("SET application_name = '{name}'");
    client.batch_execute(&rename).await.unwrap();
    let add = client.prepare("SELECT $1::int + $2::int").await.unwrap();
    for turn in 0..ROUNDS {
        many_at_once(&client, &add, number).await;
        errors_among_others(&client, number).await;
        order(&mut client, number, turn).await.unwrap();
        let shown: String = one(&client, "SHOW application_name").await;
        assert_eq!(shown, name);
    }
}

/// The same statement many times, and statements that are prepared on the way.
async fn many_at_once(client: &Client, add: &Statement, number: i32) {
    let sums = (0..TOGETHER).map(async |n| client.query_one(add, &[&number, &n]).await);
    let sums: Vec<i32> = try_join_all(sums)
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    let expected: Vec<i32> = (0..TOGETHER).map(|n| n + number).collect();
    assert_eq!(sums, expected);
    let texts = (0..5).map(|n| format!("SELECT {n} + $1::int"));
    let fresh = texts.map(async |text| client.query_one(&text, &[&number]).await);
    let fresh = try_join_all(fresh).await.unwrap();
    assert!(
        (0..)
            .zip(&fresh)
            .all(|(n, row)| row.get::<_, i32>(0) == n + number)
    );
}

/// An error is that of one statement; those behind it are not touched.
async fn errors_among_others(client: &Client, number: i32) {
    let divide = client.prepare("SELECT 100 / $1::int").await.unwrap();
    let answers =
        join_all((-2..=2).map(async |n: i32| client.query_one(&divide, &[&n]).await)).await;
    for (n, answer) in (-2..=2).zip(answers) {
        match answer {
            Ok(row) => assert_eq!(row.get::<_, i32>(0), 100 / n, "customer {number}"),
            Err(error) => assert_eq!((n, error.code()), (0, Some(&SqlState::DIVISION_BY_ZERO))),
        }
    }
    let wrong = client.prepare("SELECT nothing").await.unwrap_err();
    assert_eq!(wrong.code(), Some(&SqlState::UNDEFINED_COLUMN));
}

async fn order(client: &mut Client, number: i32, turn: i32) -> Result<(), Error> {
    let transaction = client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .start()
        .await?;
    let insert = transaction
        .prepare("INSERT INTO orders VALUES ($1, $2)")
        .await?;
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&number, &turn];
    let inserted = transaction.execute(&insert, &values);
    let level = transaction.query_one("SHOW transaction_isolation", &[]);
    let (inserted, level) = try_join(inserted, level).await?;
    assert_eq!((inserted, level.get(0)), (1, "repeatable read"));
    if turn % 2 == 0 {
        transaction.commit().await
    } else {
        transaction.rollback().await
    }
}

/// An enum: the driver asks the server what it is.
async fn types(client: &Client) {
    for _ in 0..2 {
        let statement = client
            .prepare("SELECT $1::colour, ARRAY['red']::colour[]")
            .await
            .unwrap();
        assert_eq!(statement.params()[0].name(), "colour");
        let rows = client
            .simple_query("SELECT 'green'::colour; SELECT 2")
            .await
            .unwrap();
        assert!(rows.len() >= 4);
    }
}

async fn copying(client: &Client) {
    client
        .batch_execute("CREATE TABLE copied (n int)")
        .await
        .unwrap();
    let sink = client.copy_in("COPY copied FROM STDIN").await.unwrap();
    let mut sink = pin!(sink);
    let lines = (0..3000).map(|n| Ok(bytes::Bytes::from(format!("{n}\n"))));
    sink.send_all(&mut stream::iter(lines)).await.unwrap();
    assert_eq!(sink.finish().await.unwrap(), 3000);
    let out = client.copy_out("COPY copied TO STDOUT").await.unwrap();
    let parts: Vec<_> = out.try_collect().await.unwrap();
    assert_eq!(parts.concat().split(|&byte| byte == b'\n').count(), 3001);
    client.batch_execute("DROP TABLE copied").await.unwrap();
}

async fn portals(client: &mut Client) {
    let transaction = client.transaction().await.unwrap();
    let series = "SELECT n FROM generate_series(1, 100) n";
    let portals = try_join_all((0..3).map(|_| transaction.bind(series, &[])))
        .await
        .unwrap();
    for first in [1, 31, 61] {
        for portal in &portals {
            let rows = transaction.query_portal(portal, 30).await.unwrap();
            assert_eq!((rows.len(), rows[0].get(0)), (30, first));
        }
    }
    transaction.commit().await.unwrap();
}

/// The driver does not prepare anew by itself: it shows the error, or there is none.
async fn changed_tables(client: &Client) {
    client
        .batch_execute("CREATE TABLE changing AS SELECT 1 AS a")
        .await
        .unwrap();
    let select = client.prepare("SELECT a FROM changing").await.unwrap();
    client
        .batch_execute("ALTER TABLE changing ADD b int; CREATE INDEX ON changing (a)")
        .await
        .unwrap();
    for _ in 0..3 {
        assert_eq!(
            client
                .query_one(&select, &[])
                .await
                .unwrap()
                .get::<_, i32>(0),
            1
        );
    }
    client.batch_execute("DROP TABLE changing").await.unwrap();
}

async fn settings(client: &mut Client) {
    client
        .batch_execute("SET work_mem = '9MB'; SET my.tenant = 'seven'")
        .await
        .unwrap();
    let transaction = client.transaction().await.unwrap();
    transaction
        .batch_execute("SET work_mem = '10MB'; SET LOCAL my.tenant = 'eight'")
        .await
        .unwrap();
    transaction.rollback().await.unwrap();
    let texts = ["SHOW work_mem", "SHOW my.tenant", "SHOW work_mem"];
    let shown = join_all(texts.map(|text| one::<String>(client, text))).await;
    assert_eq!(shown, ["9MB", "seven", "9MB"]);
    client.batch_execute("DISCARD ALL").await.unwrap();
    assert_eq!(one::<String>(client, "SHOW work_mem").await, "4MB");
}

async fn notifications(client: &Client, mut heard: UnboundedReceiver<String>, address: SocketAddr) {
    client.batch_execute("LISTEN news").await.unwrap();
    let (other, _) = connect(address).await;
    other
        .batch_execute("NOTIFY news, 'from another'")
        .await
        .unwrap();
    assert_eq!(heard.recv().await.as_deref(), Some("from another"));
    client
        .execute("SELECT pg_notify('news', $1)", &[&"from itself"])
        .await
        .unwrap();
    assert_eq!(heard.recv().await.as_deref(), Some("from itself"));
    client.batch_execute("UNLISTEN *").await.unwrap();
    cancelling(&other).await;
}

async fn cancelling(client: &Client) {
    let token = client.cancel_token();
    let mut sleep = pin!(client.batch_execute("SELECT pg_sleep(30)"));
    // Asked for once, so that it is on its way before the cancel request is.
    assert!(sleep.as_mut().now_or_never().is_none());
    // The request may come before the statement and then does nothing, so it is sent until the statement ends.
    let cancel = pin!(async {
        loop {
            token.cancel_query(NoTls).await.unwrap();
        }
    });
    let Either::Left((ended, _)) = select(sleep, cancel).await;
    assert_eq!(ended.unwrap_err().code(), Some(&SqlState::QUERY_CANCELED));
}
