//! A client that sends and then closes its sending half has said its last word, and is still there to hear: all of it
//! is executed and answered, however long it takes. What it has not finished saying is dropped.

use crate::{
    stage::Stage,
    support::{eventually, message::*, peer::Client},
};

const INSERTS: i32 = 5;

/// A pool of one connection; its only one is in somebody's transaction.
fn busy() -> (Stage, Client) {
    let stage = Stage::trusting(|config| config.set("pool", "size = 1"));
    stage.sql("CREATE TABLE kept (n int); GRANT ALL ON kept TO app");
    let mut holder = stage.proxy.client();
    holder.rows("BEGIN; SELECT 1");
    (stage, holder)
}

/// Requests that insert one row each.
fn inserts(request: impl Fn(&str) -> Vec<u8>) -> Vec<u8> {
    let all = (0..INSERTS).map(|n| request(&format!("INSERT INTO kept VALUES ({n})")));
    all.collect::<Vec<_>>().concat()
}

fn extended(text: &str) -> Vec<u8> {
    all([parse("", text), bind("", "", &[]), execute(""), sync()])
}

/// Says it all at once, and nothing more. It has reached pgring when this returns.
fn last_words(stage: &Stage, words: &[u8]) -> Client {
    let mut client = stage.proxy.client();
    client.send(words);
    client.finish_sending();
    client.wait_until_taken();
    client
}

fn kept(stage: &Stage) -> String {
    stage.sql("SELECT count(*) FROM kept")
}

#[test]
fn all_is_executed_and_answered_when_the_pool_is_busy() {
    for (words, answers) in [
        (inserts(query), "C Z C Z C Z C Z C Z"),
        (inserts(extended), "1 2 C Z 1 2 C Z 1 2 C Z 1 2 C Z 1 2 C Z"),
    ] {
        let (stage, mut holder) = busy();
        let mut client = last_words(&stage, &words);
        // Longer than it takes to notice that a client's end has come.
        holder.rows("SELECT pg_sleep(0.3)");
        assert_eq!(kept(&stage), "0");
        holder.rows("COMMIT");
        client.expect(answers);
        client.expect_end();
        assert_eq!(kept(&stage), INSERTS.to_string());
    }
}

#[test]
fn all_is_executed_and_answered_when_nobody_is_in_the_way() {
    let (stage, mut holder) = busy();
    holder.rows("COMMIT");
    let mut client = last_words(&stage, &inserts(query));
    client.expect("C Z C Z C Z C Z C Z");
    client.expect_end();
    assert_eq!(kept(&stage), INSERTS.to_string());
}

#[test]
fn a_transaction_is_committed_by_the_last_word_only() {
    let words = [query("BEGIN"), inserts(query)].concat();
    let (stage, mut holder) = busy();
    let mut committing = last_words(&stage, &[words.clone(), query("COMMIT")].concat());
    holder.rows("COMMIT");
    committing.expect("C Z C Z C Z C Z C Z C Z C Z");
    committing.expect_end();
    assert_eq!(kept(&stage), INSERTS.to_string());
    // Without its COMMIT it ends as a transaction does whose client has gone.
    let mut leaving = last_words(&stage, &words);
    leaving.expect("C Z C Z C Z C Z C Z C Z");
    leaving.expect_end();
    assert_eq!(
        holder.rows("SELECT count(*) FROM kept"),
        [INSERTS.to_string()]
    );
}

#[test]
fn half_a_message_is_no_word() {
    let (stage, mut holder) = busy();
    let whole = inserts(query);
    let mut client = last_words(&stage, &whole[..whole.len() - 3]);
    holder.rows("COMMIT");
    client.expect("C Z C Z C Z C Z");
    while client.try_receive().is_some() {}
    assert_eq!(kept(&stage), (INSERTS - 1).to_string());
    // The connection serves the next one.
    eventually("the session was over", || stage.server_connections() <= 1);
    assert_eq!(holder.rows("SELECT 1"), ["1"]);
}
