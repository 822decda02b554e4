//! The messages that are measured, as pgbench sends them and as a server answers.

use pgring::protocol::{Writer, backend::TransactionStatus};

/// Whatever the library's writer writes.
pub(crate) fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut Writer::new(&mut bytes));
    bytes
}

/// `SELECT` by key.
pub(crate) fn simple_query() -> Vec<u8> {
    written(|to| {
        to.query("SELECT abalance FROM pgbench_accounts WHERE aid = 48213;")
            .expect("no zero byte")
    })
}

/// Bind, Execute, Sync of a named statement.
pub(crate) fn prepared_query() -> Vec<u8> {
    written(|to| {
        to.bind("", "P_1", [Some("48213")]).expect("no zero byte");
        to.execute("", 0).expect("no zero byte");
        to.sync();
    })
}

/// The end of an answer with rows.
pub(crate) fn complete(to: &mut Writer<'_>) {
    to.command_complete("SELECT 1")
        .ready_for_query(TransactionStatus::Idle);
}
