//! What it costs a client that its own commits are not missed: nothing. The primary is asked how far it has written
//! after the client has had its answer, and nobody else gets the connection before that is known.

use std::sync::Arc;

use super::{console, pools};
use crate::support::{
    actor::{Actor, Latch, Part, Role},
    eventually,
    message::*,
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
        .set("health", "user = \"watcher\"");
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
