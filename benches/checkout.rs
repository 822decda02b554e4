//! What lies between taking a server connection and giving it back, without the I/O: the permit, the snapshot,
//! and the session's rules for every message of a round trip, up to "may it go back?".

use std::{hint::black_box, path::Path};

use criterion::{Criterion, Throughput};
use pgring::{
    cluster::{
        budget::Budget, publish::Publisher, settings::PoolMode, settings::Settings,
        snapshot::Snapshot,
    },
    control::config,
    ids::{Epoch, NodeId, WorkerId},
    protocol::{Frames, Header, Writer, backend::TransactionStatus},
    worker::session::conversation::{Answer, Conversation, Verdict},
};

fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut Writer::new(&mut bytes));
    bytes
}

fn simple_query() -> Vec<u8> {
    written(|to| {
        to.query("SELECT abalance FROM pgbench_accounts WHERE aid = 48213;")
            .expect("no zero byte")
    })
}

fn row_and_ready(to: &mut Writer<'_>) {
    to.data_row([Some("-1204")])
        .command_complete("SELECT 1")
        .ready_for_query(TransactionStatus::Idle);
}

fn simple_answer() -> Vec<u8> {
    written(|to| {
        to.row_description_text(["abalance"]);
        row_and_ready(to);
    })
}

fn prepared_query() -> Vec<u8> {
    written(|to| {
        to.bind("", "P_1", [Some("48213")]).expect("no zero byte");
        to.execute("", 0).expect("no zero byte");
        to.sync();
    })
}

fn prepared_answer() -> Vec<u8> {
    written(|to| {
        to.bind_complete();
        row_and_ready(to);
    })
}

/// One round trip through a session's rules; true when the connection may go back.
fn round_trip(session: &mut Conversation, request: &[u8], answer: &[u8]) -> bool {
    let mut out = Vec::new();
    for frame in Frames::new(request).flatten() {
        let header = Header {
            tag: frame.tag,
            length: frame.body.len() as u32 + 4,
        };
        let verdict = session.client_message(header, frame.body, true, &mut out);
        assert_eq!(verdict, Ok(Verdict::Forward));
    }
    for frame in Frames::new(answer).flatten() {
        let judged = session.server_message(frame.tag, frame.body);
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
        assert!(round_trip(&mut session, request, answer));
        let messages = Frames::new(request).count() + Frames::new(answer).count();
        group.throughput(Throughput::Elements(messages as u64));
        group.bench_function(*name, |bencher| {
            bencher.iter(|| round_trip(&mut session, black_box(request), black_box(answer)));
        });
    }
    group.finish();
}

fn settings() -> Settings {
    let text = "[[node]]\nname = \"pg1\"\naddress = \"127.0.0.1:5432\"\n";
    config::parse(text, Path::new("bench.toml")).expect("the text is right")
}

fn shared(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("checkout");
    let budget = Budget::default();
    budget.set_limit(20);
    group.bench_function("permit taken and given back", |bencher| {
        bencher.iter(|| {
            assert!(budget.acquire());
            budget.release();
        });
    });
    group.bench_function("is it wanted elsewhere", |bencher| {
        bencher.iter(|| black_box(&budget).is_wanted_beside(WorkerId(0)));
    });
    let publisher = Publisher::new(Snapshot {
        epoch: Epoch(1),
        settings: settings().into(),
        users: Default::default(),
        primary: NodeId(0),
    });
    let mut reader = publisher.readers().reader();
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
