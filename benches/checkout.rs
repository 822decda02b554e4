//! The way from taking a server connection to giving it back, without the I/O: the permit, the snapshot,
//! and the session's rules for every message of a round trip, up to "may it go back?".

mod support;

use std::{hint::black_box, path::Path};

use criterion::{Criterion, Throughput};
use pgring::{
    cluster::{
        budget::{Budgets, PoolKey},
        publish::Publisher,
        settings::{PoolMode, Settings},
        snapshot::Snapshot,
    },
    control::config,
    ids::{Epoch, NodeId},
    protocol::{Frames, Header, Writer, backend::TransactionStatus},
    session::{
        context::OwnedContext,
        conversation::{Answer, Conversation, Verdict},
    },
    time,
};
use support::{complete, prepared_query, simple_query, written};

fn row_and_ready(to: &mut Writer<'_>) {
    to.data_row([Some("-1204")]);
    complete(to);
}

fn simple_answer() -> Vec<u8> {
    written(|to| {
        to.row_description_text(["abalance"]);
        row_and_ready(to);
    })
}

fn prepared_answer() -> Vec<u8> {
    written(|to| {
        to.bind_complete();
        row_and_ready(to);
    })
}

/// The Parse of what [`prepared_query`] uses, and its answer.
fn preparation() -> (Vec<u8>, Vec<u8>) {
    let request = written(|to| {
        let text = "SELECT abalance FROM pgbench_accounts WHERE aid = $1";
        to.parse("P_1", text, []).expect("no zero byte");
        to.sync();
    });
    let answer = written(|to| {
        to.parse_complete().ready_for_query(TransactionStatus::Idle);
    });
    (request, answer)
}

/// One round trip through a session's rules; true when the connection may go back.
fn round_trip(
    session: &mut Conversation,
    tools: &mut OwnedContext,
    request: &[u8],
    answer: &[u8],
) -> bool {
    for frame in Frames::new(request).flatten() {
        let header = Header {
            tag: frame.tag,
            length: frame.body.len() as u32 + 4,
        };
        let verdict = session.client_message(header, frame.body, &mut tools.context(true));
        assert!(matches!(
            verdict,
            Ok(Verdict::Forward | Verdict::Instead(_))
        ));
        tools.ahead.clear();
    }
    for frame in Frames::new(answer).flatten() {
        let judged = session.server_message(frame.tag, frame.body, &mut tools.server);
        assert!(matches!(judged, Ok(Answer::Forward | Answer::Ready)));
    }
    session.is_releasable()
}

fn rules(criterion: &mut Criterion) {
    let forms = [
        ("simple", simple_query(), simple_answer()),
        ("prepared", prepared_query(), prepared_answer()),
        (
            "pipeline of 16",
            prepared_query().repeat(16),
            prepared_answer().repeat(16),
        ),
    ];
    let mut group = criterion.benchmark_group("rules");
    for (name, request, answer) in &forms {
        let mut session = Conversation::new(PoolMode::Transaction);
        let mut tools = OwnedContext::default();
        let (parse, parsed) = preparation();
        assert!(round_trip(&mut session, &mut tools, &parse, &parsed));
        assert!(round_trip(&mut session, &mut tools, request, answer));
        let messages = Frames::new(request).count() + Frames::new(answer).count();
        group.throughput(Throughput::Elements(messages as u64));
        group.bench_function(*name, |bencher| {
            bencher.iter(|| {
                round_trip(
                    &mut session,
                    &mut tools,
                    black_box(request),
                    black_box(answer),
                )
            });
        });
    }
    group.finish();
}

fn settings() -> Settings {
    let text = include_str!("../config/minimal.toml");
    config::parse(text, Path::new("minimal.toml")).expect("a test checks the file")
}

fn shared(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("checkout");
    let publisher = Publisher::new(Snapshot {
        epoch: Epoch(1),
        settings: settings().into(),
        users: Default::default(),
        primary: Some(NodeId(0)),
        nodes: Vec::new(),
        catalogs: Default::default(),
        unreadable: Default::default(),
        failover: Default::default(),
        overrides: Default::default(),
    });
    let budgets = Budgets::new(2, time::now(), |_, _| {});
    let key = PoolKey {
        database: "app".into(),
        user: "app".into(),
    };
    let mut reader = publisher.readers().reader();
    let budget = budgets.of(&key, NodeId(0), &**reader.load());
    group.bench_function("permit taken and given back", |bencher| {
        bencher.iter(|| {
            assert!(budget.take(false).is_ok());
        });
    });
    group.bench_function("is it wanted elsewhere", |bencher| {
        bencher.iter(|| black_box(&budget).is_wanted_beside(false));
    });
    group.bench_function("the newest snapshot", |bencher| {
        bencher.iter(|| black_box(reader.load().primary));
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    rules(&mut criterion);
    shared(&mut criterion);
    criterion.final_summary();
}
