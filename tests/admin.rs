//! The tables for operators: names, columns, types, meanings, and rows made of reports of two cores.

#![allow(
    clippy::unwrap_used,
    reason = "a broken test bench shall fail the test"
)]

mod support;

use std::fmt::Write as _;

use pgring::{
    admin::{
        listings::{LISTINGS, listing},
        route::Route,
        table::{ColumnType, Sources, Value},
    },
    cluster::{
        budget::PoolKey,
        report::{
            CancelReport, ClientReport, Counters, NodeCounters, PinReport, PoolCancels, PoolReport,
            Report, ReportKind, ServerReport, TimeoutReport,
        },
    },
    ids::{NodeId, WorkerId},
};
use support::snapshot::{P, nodes};

fn key(database: &str) -> PoolKey {
    PoolKey {
        database: database.into(),
        user: "anna".into(),
    }
}

/// Every count another number, so that no two columns can be taken for each other.
fn pool(core: u16, database: &str) -> PoolReport {
    let unit = u32::from(core) + 1;
    let count = |number: u32| number * unit;
    PoolReport {
        key: key(database),
        mode: "transaction",
        clients_active: count(1),
        clients_waiting: count(2),
        cancels: PoolCancels {
            clients_active: count(3),
            clients_waiting: count(4),
            servers_active: count(5),
            servers_canceled: count(6),
        },
        servers_active: count(7),
        servers_idle: count(8),
        servers_tested: count(9),
        servers_login: count(10),
        wait_us_max: u64::from(count(11)) * 1_000_003,
        idle_beside_us: count(12).into(),
        counters: Counters {
            transactions: count(100).into(),
            queries: count(210).into(),
            received: count(3_300).into(),
            sent: count(4_400).into(),
            transaction_us: count(55_000).into(),
            query_us: count(66_000).into(),
            wait_us: count(7_700).into(),
            assignments: count(88).into(),
        },
    }
}

fn client(core: u16, address: &str, server_process_id: i32) -> ClientReport {
    ClientReport {
        worker: WorkerId(core),
        key: key("app"),
        state: "waiting",
        address: address.to_owned(),
        local_address: address.replace("50000", "6432"),
        connected_us: 1_000_000,
        request_us: 2_000_000,
        wait_us: 3_000_004,
        id: format!("{core}:1:2"),
        server_process_id,
        process_id: 1 << 30,
        application_name: "psql".to_owned(),
        pinned: "LISTEN",
    }
}

fn server(core: u16, address: &str) -> ServerReport {
    ServerReport {
        key: key("app"),
        state: "active",
        node: "p".to_owned(),
        address: address.to_owned(),
        connected_us: 1_000_000,
        request_us: 2_000_000,
        id: format!("{core}:3:4"),
        process_id: 4711,
    }
}

/// The report of one core.
fn report(kind: ReportKind, core: u16) -> Report {
    let unit = u64::from(core) + 1;
    match kind {
        ReportKind::Pools => {
            Report::Pools(vec![pool(core, "app"), pool(core, &format!("db{core}"))])
        }
        ReportKind::Clients => Report::Clients(vec![
            client(core, "127.0.0.1:50000", 0),
            client(core, "[::1]:50000", 4711),
            client(core, "unix", -1),
        ]),
        ReportKind::Servers => Report::Servers(vec![
            server(core, "127.0.0.1:5432"),
            server(core, "/run/postgresql/.s.PGSQL.5432"),
            server(core, "/run/a:b/.s.PGSQL.5432"),
        ]),
        ReportKind::Cancels => Report::Cancels(
            WorkerId(core),
            CancelReport {
                active: 1,
                forwarded: 2 * unit,
                coalesced: 3 * unit,
                dequeued: 4 * unit,
                dropped: u64::MAX / 2,
            },
        ),
        ReportKind::Transactions => Report::Transactions(vec![None, Some(unit)]),
        ReportKind::Nodes => {
            let counts = |node: u64| NodeCounters {
                counts: [1, 2, 3, 4, 5, 6, 7, 8, 9].map(|count| (count + 10 * node) * unit),
            };
            Report::Nodes((0..3).map(counts).collect())
        }
        ReportKind::Pins => Report::Pins(vec![
            PinReport {
                reason: "LISTEN",
                sessions: 1,
                total: 2 * unit,
                refused: 3 * unit,
            },
            PinReport {
                reason: "PREPARE",
                sessions: 4,
                total: 5 * unit,
                refused: 6 * unit,
            },
        ]),
        ReportKind::Timeouts => Report::Timeouts(vec![TimeoutReport {
            setting: "query_timeout",
            total: unit,
        }]),
    }
}

fn route() -> Route {
    Route {
        class: "read".to_owned(),
        reason: "it only reads".to_owned(),
        chosen: Some(NodeId(1)),
        objections: vec!["not drawn".to_owned(), "never shown".to_owned()],
    }
}

/// `INSTA_UPDATE=always cargo test --test admin` writes the tables anew; read them before you commit.
#[test]
fn tables_are_as_operators_know_them() {
    let snapshot = nodes([1, 1, 2], "");
    snapshot.nodes[2].live.set_position(100, 77, 8_000_000);
    let mut text = String::new();
    for listing in &LISTINGS {
        let reports = (0..2).filter_map(|core| Some(report(listing.wants?, core)));
        let table = listing.table(&Sources {
            snapshot: &snapshot,
            reports: &reports.collect::<Vec<_>>(),
            seconds_up: 10,
            reads: Some(P),
            route: Some(route()),
        });
        writeln!(
            text,
            "{} ({:?}): {}",
            listing.name, listing.dialect, listing.doc
        )
        .unwrap();
        for column in listing.columns {
            let (name, doc) = (column.name, column.doc);
            writeln!(text, "  {name} {:?}: {doc}", column.column_type).unwrap();
        }
        for row in &table.rows {
            let values: Vec<_> = row.iter().map(Value::to_string).collect();
            writeln!(text, "  = {}", values.join(" | ")).unwrap();
        }
    }
    let text = text.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("golden/admin");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("tables", text));
}

#[test]
fn values_have_the_types_of_their_columns() {
    let snapshot = nodes([1, 1, 2], "");
    for listing in &LISTINGS {
        let reports = listing.wants.map(|kind| report(kind, 0));
        let table = listing.table(&Sources {
            snapshot: &snapshot,
            reports: reports.as_slice(),
            seconds_up: 1,
            reads: None,
            route: Some(route()),
        });
        for (column, value) in table
            .rows
            .iter()
            .flat_map(|row| listing.columns.iter().zip(row))
        {
            let is_odd_port = column.name == "port" && value.to_string().starts_with("b/");
            let is_number = matches!(value, Value::Int8(_));
            let wants_number = column.column_type == ColumnType::Int8;
            let says = (listing.name, column.name, value);
            assert!(is_number == wants_number || is_odd_port, "{says:?}");
        }
    }
}

#[test]
fn every_table_has_a_name_of_its_own() {
    for known in &LISTINGS {
        let found = listing(known.name).unwrap();
        assert!(std::ptr::eq(found, known), "{}", known.name);
        assert!(known.doc.ends_with('.'), "{}", known.name);
    }
    assert!(listing("nothing").is_none());
}
