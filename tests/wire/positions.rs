//! What it costs a client that its own commits are not missed: nothing. The primary is asked how far it has written
//! after the client has had its answer, and nobody else gets the connection before that is known.

use std::sync::Arc;

use super::{console, pools};
use crate::support::{
    actor::{Actor, Latch, Part, Role},
    eventually,
    message::*,
    peer::Client,
    proxy::{Config, Proxy},
};

/// A primary that keeps its position to itself for now, a standby, and one connection to each.
fn stage(latch: &Arc<Latch>, consistency: &str) -> (Proxy, [Actor; 2]) {
    let primary = Actor::new(Part::Hesitates(Role::primary(), Arc::clone(latch)));
    let standby = Actor::new(Part::Plays(Role::standby()));
    let config = Config::trust(primary.address())
        .node("standby", standby.address())
        .set("pool", "size = 1")
        .set("routing", &format!("consistency = \"{consistency}\""))
        .set("health", "user = \"watcher\"")
        .set("health", "timeout = \"500ms\"");
    (Proxy::start(&config), [primary, standby])
}

#[test]
fn a_write_is_answered_before_its_position_is_known_and_its_connection_stays_until_then() {
    for consistency in ["session", "global"] {
        let latch = Arc::new(Latch::default());
        let (proxy, _servers) = stage(&latch, consistency);
        let (mut writer, mut other) = (proxy.client(), proxy.client());
        writer.send(query("UPDATE t SET a = 1"));
        // It has everything, up to ReadyForQuery, while the primary is silent about its position.
        writer.expect("C Z");
        eventually("the primary was asked", || {
            latch.asked() == ["UPDATE t SET a = 1", "position"]
        });
        other.send(query("UPDATE t SET a = 2"));
        let mut console = pools::console(&proxy);
        eventually("the other one waited for the connection", || {
            let pools = console::records(&mut console, "POOLS");
            pools
                .iter()
                .any(|row| console::value(row, "cl_waiting") == "1")
        });
        assert_eq!(latch.asked().len(), 2, "nothing went behind the question");
        latch.open();
        other.expect("C Z");
        eventually("it was asked after the other one, too", || {
            let expected = [
                "UPDATE t SET a = 1",
                "position",
                "UPDATE t SET a = 2",
                "position",
            ];
            latch.asked() == expected
        });
    }
}

#[test]
fn with_eventual_nobody_asks() {
    let latch = Arc::new(Latch::default());
    let (proxy, _servers) = stage(&latch, "eventual");
    let (mut writer, mut other) = (proxy.client(), proxy.client());
    for client in [&mut writer, &mut other] {
        client.send(query("UPDATE t SET a = 1"));
        client.expect("C Z");
    }
    assert_eq!(latch.asked(), ["UPDATE t SET a = 1"; 2]);
}

/// What the session's reads are told about the standby.
fn objection(client: &mut Client) -> String {
    let routes = console::records(client, "ROUTE SELECT 1");
    console::value(&routes[1], "why_not").to_owned()
}

/// The connection ends between the commit's answer and its position: with `global` no standby is read, by anybody,
/// until the control core has asked the primary, and then by what the primary says.
#[test]
fn a_position_that_was_lost_is_asked_for_by_the_control_core() {
    let latch = Arc::new(Latch::default());
    let (proxy, [primary, _standby]) = stage(&latch, "global");
    let (mut writer, mut reader) = (proxy.client(), proxy.client());
    eventually("the standby could be read", || {
        objection(&mut reader).is_empty()
    });
    writer.send(query("UPDATE t SET a = 1"));
    writer.expect("C Z");
    let unknown = "what this must not miss is known to the primary only";
    assert_eq!(objection(&mut reader), unknown);
    // It does not say anything for now.
    primary.play(Part::Says(vec![]));
    latch.cut();
    eventually("the connection was gone", || {
        let log = proxy.process().log();
        log.iter()
            .any(|line| line.contains("server connection lost"))
    });
    assert_eq!(objection(&mut reader), unknown);
    primary.play(Part::Plays(Role {
        lsn: "0/1000300",
        ..Role::primary()
    }));
    let found = "it has replayed up to 0/1000100, and this must not miss 0/1000300";
    eventually("it was found", || objection(&mut reader) == found);
    // What the primary has told since is no less than what the session has committed.
    eventually("the session knew, too", || objection(&mut writer) == found);
}
