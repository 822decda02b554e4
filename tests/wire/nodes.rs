//! Nodes that answer garbage, hang, close at any byte or flap: none harms the control core, or the clients of the
//! others.

use pgring::protocol::tag::backend::DATA_ROW;

use super::{console, pools};
use crate::support::{
    actor::{Actor, Part, Role},
    eventually,
    message::*,
    peer::Client,
    proxy::{Config, Proxy},
};

/// A good primary, another node, and pgring, which looks all the time.
struct Stage {
    proxy: Proxy,
    _primary: Actor,
    other: Actor,
}

impl Stage {
    fn new(part: Part) -> Self {
        Self::set_with(part, |config| {
            config
                .set("routing", "read_write_split = false")
                .set("health", "timeout = \"300ms\"")
                .set("health", "retries = 1")
                .set("health", "retry_delay = \"5ms\"")
        })
    }

    fn set_with(part: Part, configure: impl FnOnce(Config) -> Config) -> Self {
        let primary = Actor::new(Part::Plays(Role::primary()));
        let other = Actor::new(part);
        let config = Config::trust(primary.address())
            .node("other", other.address())
            .set("routing", "replay_poll = \"5ms\"")
            .set("health", "user = \"watcher\"")
            .set("health", "period = \"5ms\"");
        Self {
            proxy: Proxy::start(&configure(config)),
            _primary: primary,
            other,
        }
    }

    /// Status and own word of both nodes.
    fn wait_for(&self, expected: [&str; 2]) {
        let mut console = pools::console(&self.proxy);
        eventually(&format!("the nodes were {expected:?}"), || {
            let rows = console::records(&mut console, "POOL_NODES");
            let found = rows.iter().map(|row| {
                let [status, role] =
                    ["status", "pg_role"].map(|column| console::value(row, column));
                // Used or not used is what matters here.
                let status = if status == "up" { "waiting" } else { status };
                format!("{status} {role}")
            });
            found.collect::<Vec<_>>() == expected
        });
    }

    fn works(&self, client: &mut Client) {
        client.send(query("UPDATE t SET a = 1"));
        let answered = client.receive_until_ready();
        assert_eq!(answered.len(), 3, "{answered:?}");
    }

    /// A node that is bad is down, and when it is good it is used; all the time the other one is.
    fn survives(&self, bad: Part) {
        let mut client = self.proxy.client();
        self.other.play(bad);
        self.works(&mut client);
        self.wait_for(["waiting primary", "down unknown"]);
        self.works(&mut client);
        self.other.play(Part::Plays(Role::standby()));
        self.wait_for(["waiting primary", "waiting standby"]);
        self.works(&mut client);
    }
}

/// A body of this length that never comes.
fn endless(tag: u8, length: u32) -> Vec<u8> {
    [&[tag][..], &length.to_be_bytes(), b"abc"].concat()
}

#[test]
fn a_node_that_speaks_another_language_is_down() {
    let stage = Stage::new(Part::Plays(Role::standby()));
    let login = |rest: Vec<u8>| [authentication_ok(), rest].concat();
    for bytes in [
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        vec![0; 1000],
        vec![0xff; 1000],
        endless(b'R', 0),
        endless(b'R', u32::MAX),
        endless(b'R', 0x7fff_ffff),
        login(endless(b'S', 0x7fff_ffff)),
        login(data_row_that_lies()),
        login(row(&["a"])),
    ] {
        stage.survives(Part::Says(bytes));
    }
}

/// More columns than there are bytes.
fn data_row_that_lies() -> Vec<u8> {
    [
        &b"D"[..],
        &10_u32.to_be_bytes(),
        &0xffff_u16.to_be_bytes(),
        &[0; 4],
    ]
    .concat()
}

#[test]
fn a_node_that_answers_nonsense_is_down() {
    let stage = Stage::new(Part::Plays(Role::standby()));
    let done = || [command_complete("SELECT 1"), ready()].concat();
    for bytes in [
        ready(),
        done(),
        [data_row_that_lies(), done()].concat(),
        [copy_in(), done()].concat(),
        [endless(b'D', 0x7fff_ffff), done()].concat(),
        [row(&["a"]), row(&["b"]), done()].concat(),
        [row(&[]), row(&["", "", "", ""]), done()].concat(),
        b"ZZZZZZZZZZZZZZZZZZZ".to_vec(),
    ] {
        stage.survives(Part::Answers(bytes));
    }
    stage.survives(Part::Raves);
}

#[test]
fn a_node_that_hangs_is_down() {
    let stage = Stage::new(Part::Plays(Role::standby()));
    // At the login, after it, in the middle of an answer.
    stage.survives(Part::Says(vec![]));
    stage.survives(Part::Answers(vec![]));
    stage.survives(Part::Answers(row(&["1"])));
}

#[test]
fn a_node_that_closes_at_any_byte_harms_nobody() {
    let stage = Stage::new(Part::EndsEarly(Role::standby()));
    let mut client = stage.proxy.client();
    // All that a good server says to one question has fewer bytes.
    for connections in [100, 300, 600] {
        eventually("it had closed often", || {
            stage.other.connections() > connections
        });
        stage.works(&mut client);
    }
    stage.other.play(Part::Plays(Role::standby()));
    stage.wait_for(["waiting primary", "waiting standby"]);
}

#[test]
fn a_node_that_flaps_harms_nobody() {
    let stage = Stage::new(Part::Flaps(Role::standby()));
    let mut client = stage.proxy.client();
    for connections in [50, 100, 150] {
        eventually("it had flapped often", || {
            stage.other.connections() > connections
        });
        stage.works(&mut client);
    }
    stage.survives(Part::Says(vec![]));
}

#[test]
fn a_second_primary_is_never_served() {
    let stage = Stage::new(Part::Plays(Role::primary()));
    stage.wait_for(["waiting primary", "quarantine primary"]);
    let mut client = stage.proxy.client();
    stage.works(&mut client);
    let newer = Role {
        timeline: 2,
        ..Role::primary()
    };
    stage.other.play(Part::Says(vec![]));
    stage.wait_for(["waiting primary", "down unknown"]);
    // It was fenced, and it still is, whatever timeline it says it is on.
    stage.other.play(Part::Plays(newer));
    stage.wait_for(["waiting primary", "quarantine primary"]);
    stage.works(&mut client);
}

/// Pgpool-II, 2.4: an error of reading while a session's connection logs in always made the node a dead one.
#[test]
fn quirk_a_connection_that_ends_at_its_login_is_no_dead_node() {
    let stage = Stage::set_with(Part::Deserts(Role::standby()), |config| {
        config
            .set("pool", "login_backoff = \"1ms\"")
            .set("pool", "login_backoff_max = \"5ms\"")
            .set("health", "retries = 0")
    });
    stage.wait_for(["waiting primary", "waiting standby"]);
    let mut client = stage.proxy.client();
    let said = |text: &str| {
        let log = stage.proxy.process().log();
        log.iter().filter(|line| line.contains(text)).count()
    };
    let mut read = || {
        client.send(query("SELECT 1"));
        // The other node answers.
        client.expect("D C Z");
    };
    eventually("reads had tried it", || {
        read();
        said("cannot open a server connection") > 0
    });
    (0..300).for_each(|_| read());
    assert_eq!(said("node other is down"), 0);
    stage.wait_for(["waiting primary", "waiting standby"]);
}

/// What was ready of an answer comes in front of the farewell, in one piece: nothing of it is shown, and another node
/// answers.
#[test]
fn a_read_that_a_farewell_cuts_short_is_answered_once() {
    let stage = Stage::set_with(Part::TakesLeave(Role::standby()), |config| {
        let config = config.set("pool", "login_backoff = \"1ms\"");
        config.set("pool", "login_backoff_max = \"5ms\"")
    });
    stage.wait_for(["waiting primary", "waiting standby"]);
    let mut client = stage.proxy.client();
    let before = stage.other.connections();
    let mut reads = 0;
    eventually("reads had gone there often", || {
        client.send(query("SELECT 1"));
        for message in client.expect("D C Z") {
            if message.tag == DATA_ROW {
                assert_eq!(values(message.frame()), [Some("1".to_owned())]);
            }
        }
        reads += 1;
        reads > 100 && stage.other.connections() > before + 10
    });
}
