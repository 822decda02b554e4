//! `currval`, `lastval` and `setseed` once the transaction is over, as PDO's lastInsertId, Doctrine and old Hibernate
//! ask: the right value, or PostgreSQL's own "not yet defined in this session". Never another session's.

use std::net::SocketAddr;

use crate::{
    session::{Answer, Session},
    stage::Stage,
    support::message::*,
};

const OBJECTS: &str = "
CREATE SEQUENCE numbers; CREATE SEQUENCE others START 1000;
CREATE TABLE items (id serial PRIMARY KEY, name text);
CREATE FUNCTION take() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN nextval('numbers'); END $$;
CREATE FUNCTION taken() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN currval('numbers'); END $$;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app; GRANT ALL ON items TO app;
";

/// What a client has used goes to whoever asks next; there is a second connection, should it be kept from that.
fn stage() -> Stage {
    let stage = Stage::trusting(|config| config.set("pool", "size = 2"));
    stage.sql(OBJECTS);
    stage
}

fn login(address: SocketAddr) -> Session {
    Session::login(address).unwrap()
}

fn extended(text: &str) -> Vec<u8> {
    all([parse("", text), bind("", "", &[]), execute(""), sync()])
}

/// Ways to take the next number, which is also the answer.
const TAKES: [&[&str]; 6] = [
    &["SELECT nextval('numbers')"],
    &["SELECT take()"],
    &["BEGIN", "SELECT nextval('numbers')", "COMMIT"],
    &["INSERT INTO items (name) VALUES ('x') RETURNING id"],
    &["INSERT INTO items (name) SELECT 'y' RETURNING id"],
    &["WITH one AS (INSERT INTO items (name) VALUES ('z') RETURNING id) SELECT id FROM one"],
];

/// Does it; the number that was taken.
fn take(session: &mut Session, texts: &[&str]) -> String {
    let rows = texts.iter().map(|text| match session.query(text) {
        Answer::Rows(rows) => rows,
        refused => panic!("{text}: {refused:?}"),
    });
    rows.collect::<Vec<_>>().concat().join(" ")
}

/// The right value, or the server's own refusal.
fn is_right(answer: &Answer, value: &str) -> bool {
    match answer {
        Answer::Rows(rows) => rows == &[value],
        Answer::Error(sqlstate, _) => sqlstate == "55000",
        Answer::Closed(_) => false,
    }
}

/// What a client asks afterwards.
fn questions(texts: &[&str]) -> &'static [&'static str] {
    match texts.concat().contains("items") {
        true => &["SELECT lastval()", "SELECT currval('items_id_seq')"],
        false => &[
            "SELECT lastval()",
            "SELECT currval('numbers')",
            "SELECT taken()",
        ],
    }
}

/// Each question by both protocols.
fn ask(session: &mut Session, question: &str) -> [Answer; 2] {
    [session.query(question), session.ask(&extended(question))]
}

#[test]
fn the_number_taken_last_is_ones_own_or_unknown() {
    let stage = stage();
    for texts in TAKES {
        let [mut one, mut other] = [(); 2].map(|()| login(stage.proxy.address()));
        let own = take(&mut one, texts);
        let later = take(&mut other, texts);
        assert_ne!(own, later);
        for question in questions(texts) {
            for (session, value) in [(&mut one, &own), (&mut other, &later)] {
                for answer in ask(session, question) {
                    let right = is_right(&answer, value);
                    assert!(right, "{texts:?}, {question}: {answer:?}, not {value}");
                }
            }
        }
    }
}

/// What a connection knows that the session had before is not what the session knows.
#[test]
fn a_number_that_was_taken_at_an_earlier_connection_is_not_told() {
    let stage = stage();
    for texts in TAKES {
        let [mut one, mut other] = [(); 2].map(|()| login(stage.proxy.address()));
        take(&mut one, texts);
        assert_eq!(
            other.query("BEGIN; SELECT 1"),
            Answer::Rows(vec!["1".to_owned()])
        );
        let last = take(&mut one, texts);
        // The one that was used before is now the last that was given back.
        other.query("COMMIT");
        for question in questions(texts) {
            for answer in ask(&mut one, question) {
                let right = is_right(&answer, &last);
                assert!(right, "{texts:?}, {question}: {answer:?}, not {last}");
            }
        }
    }
}

#[test]
fn who_took_no_number_has_none() {
    let stage = stage();
    for texts in TAKES {
        let [mut one, mut other] = [(); 2].map(|()| login(stage.proxy.address()));
        take(&mut one, texts);
        for question in questions(texts) {
            for answer in ask(&mut other, question) {
                let unknown = matches!(&answer, Answer::Error(sqlstate, _) if sqlstate == "55000");
                assert!(unknown, "{texts:?}, {question}: {answer:?}");
            }
        }
    }
}

#[test]
fn within_a_transaction_they_are_as_ever() {
    let stage = stage();
    for texts in TAKES {
        let [mut one, mut other] = [(); 2].map(|()| login(stage.proxy.address()));
        one.query("BEGIN");
        let taking = texts
            .iter()
            .find(|text| text.len() > "COMMIT".len())
            .unwrap();
        let own = take(&mut one, &[taking]);
        take(&mut other, &[taking]);
        for question in questions(texts) {
            let expected = Answer::Rows(vec![own.clone()]);
            assert_eq!(
                ask(&mut one, question),
                [expected.clone(), expected],
                "{texts:?}, {question}"
            );
        }
        one.query("COMMIT");
    }
}

/// A text that says it all at once is one transaction.
#[test]
fn a_text_of_several_statements_knows_its_own_number() {
    let stage = stage();
    let mut one = login(stage.proxy.address());
    let answer =
        one.query("INSERT INTO items (name) VALUES ('x'); SELECT lastval() = max(id) FROM items");
    assert_eq!(answer, Answer::Rows(vec!["t".to_owned()]));
}

/// What comes after `setseed` is determined by it: the same for who set it, and for nobody else.
#[test]
fn a_seed_is_nobody_elses() {
    let stage = stage();
    const DRAW: &str = "SELECT random()";
    let seeds = [
        "SELECT setseed(0.5)",
        "SELECT setseed(0.25 * 2)",
        "DO $$ BEGIN PERFORM setseed(0.5); END $$",
        "SET seed = 0.5",
    ];
    for seed in seeds {
        let mut direct = login(stage.server.primary.address());
        direct.query(seed);
        let drawn = [(); 3].map(|()| direct.query(DRAW));
        let [mut one, mut other] = [(); 2].map(|()| login(stage.proxy.address()));
        assert!(matches!(one.query(seed), Answer::Rows(_)), "{seed}");
        let stranger = other.query(DRAW);
        assert!(
            !drawn.contains(&stranger),
            "{seed}: another client draws {stranger:?}"
        );
        for expected in &drawn {
            let own = one.query(DRAW);
            let refused = matches!(&own, Answer::Error(sqlstate, _) if sqlstate == "55000");
            assert!(
                refused || own == *expected,
                "{seed}: {own:?}, not {expected:?}"
            );
        }
    }
}
