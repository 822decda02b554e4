//! Tables with a line for each connection: of clients, and to servers. PgBouncer's columns; those of its features that
//! pgring has not are empty or 0. Pure.

use super::table::{Column, Dialect, Listing, Row, Value, int8, joined, text};
use crate::{
    cluster::report::{ClientReport, Report, ReportKind, ServerReport},
    time,
};

const SHARED: [Column; 18] = [
    text("type", "C for a client, S for a server connection."),
    text("user", "User."),
    text("database", "Database, as clients name it."),
    text(
        "state",
        "active, waiting (for a server connection), idle or used (kept by its session, not at work).",
    ),
    text("addr", "Address of the other end; unix for a Unix socket."),
    int8("port", "Port of the other end; 0 for a Unix socket."),
    text("local_addr", "Address of pgring's end."),
    int8("local_port", "Port of pgring's end."),
    text("connect_time", "When it was logged in, in UTC."),
    text("request_time", "When its last request came, in UTC."),
    int8(
        "wait",
        "How long the client has waited for a server connection, whole seconds.",
    ),
    int8("wait_us", "The rest of that in microseconds."),
    int8("close_needed", "0; PgBouncer's."),
    text(
        "ptr",
        "Core, slot and generation: its name in pgring's log.",
    ),
    text(
        "link",
        "Process id of the server connection that the client holds; empty without one.",
    ),
    int8(
        "remote_pid",
        "Process id of the server, or the one that the client was given.",
    ),
    text("tls", "Empty; PgBouncer's."),
    text("application_name", "The client's application_name."),
];

const PREPARED: Column = int8("prepared_statements", "0; PgBouncer's.");

/// `SHOW CLIENTS`.
pub(super) const CLIENTS: Listing = Listing {
    name: "clients",
    doc: "A line for each client that is logged in.",
    dialect: Dialect::PgBouncer,
    columns: &joined::<21>(
        &SHARED,
        &[
            PREPARED,
            int8("worker", "Core that serves it."),
            text(
                "pinned",
                "Why it keeps its server connection between transactions; empty when it does not.",
            ),
        ],
    ),
    wants: Some(ReportKind::Clients),
    rows: |sources| {
        let clients = sources.reports.iter().flat_map(|report| match report {
            Report::Clients(clients) => &clients[..],
            _ => &[],
        });
        clients.map(client_row).collect()
    },
};

/// `SHOW SERVERS`.
pub(super) const SERVERS: Listing = Listing {
    name: "servers",
    doc: "A line for each server connection.",
    dialect: Dialect::PgBouncer,
    columns: &joined::<19>(&SHARED, &[PREPARED]),
    wants: Some(ReportKind::Servers),
    rows: |sources| {
        let servers = sources.reports.iter().flat_map(|report| match report {
            Report::Servers(servers) => &servers[..],
            _ => &[],
        });
        servers.map(server_row).collect()
    },
};

/// `address:port` in two.
fn split_address(address: &str) -> [Value; 2] {
    match address.rsplit_once(':') {
        Some((host, port)) => [host.trim_matches(['[', ']']).into(), port_value(port)],
        None => [address.into(), 0_u16.into()],
    }
}

/// The port as a number; as it is when a Unix socket's path has a colon, behind which anything may stand.
fn port_value(port: &str) -> Value {
    port.parse::<u16>()
        .map_or_else(|_| port.into(), Value::from)
}

fn client_row(client: &ClientReport) -> Row {
    let [address, port] = split_address(&client.address);
    let [local_address, local_port] = split_address(&client.local_address);
    vec![
        "C".into(),
        (*client.key.user).into(),
        (*client.key.database).into(),
        client.state.into(),
        address,
        port,
        local_address,
        local_port,
        time::utc(client.connected_us).into(),
        time::utc(client.request_us).into(),
        (client.wait_us / 1_000_000).into(),
        (client.wait_us % 1_000_000).into(),
        0_u16.into(),
        client.id.clone().into(),
        if client.server_process_id == 0 {
            "".into()
        } else {
            client.server_process_id.to_string().into()
        },
        client.process_id.into(),
        "".into(),
        client.application_name.clone().into(),
        0_u16.into(),
        client.worker.0.into(),
        client.pinned.into(),
    ]
}

fn server_row(server: &ServerReport) -> Row {
    let [address, port] = split_address(&server.address);
    vec![
        "S".into(),
        (*server.key.user).into(),
        (*server.key.database).into(),
        server.state.into(),
        address,
        port,
        "".into(),
        0_u16.into(),
        time::utc(server.connected_us).into(),
        time::utc(server.request_us).into(),
        0_u16.into(),
        0_u16.into(),
        0_u16.into(),
        server.id.clone().into(),
        "".into(),
        server.process_id.into(),
        "".into(),
        "".into(),
        0_u16.into(),
    ]
}
