//! SIGTERM, SIGINT and SIGHUP.

use std::{fs, net::TcpStream, process::Command};

use pgring::cli::postgres::{Signal, Workplace};
use pgring::protocol::startup::Initial;

use super::{bystander::Stage, pools::console};
use crate::support::{
    eventually,
    message::*,
    mock::{Backend, MockServer},
    peer::Client,
    proxy::{Config, Proxy},
};

fn expect_orderly_end(stage: &Stage) {
    let status = stage.proxy.process().wait().expect("it should have ended");
    assert!(status.success(), "it ended with {status}");
}

fn commit(client: &mut Client, backend: &mut Backend) {
    client.send(query("COMMIT"));
    backend.expect_message(query("COMMIT"));
    backend.answer(all([command_complete("COMMIT"), ready()]));
    client.expect("C Z");
}

fn expect_shutdown(client: &mut Client) {
    client.expect_error("57P01");
    client.expect_end();
}

#[test]
fn sigterm_waits_for_transactions_and_for_nothing_else() {
    let stage = Stage::set();
    let mut idle = stage.client();
    let mut console = console(&stage.proxy);
    let (mut working, mut backend) = stage.in_transaction();
    let _stalled = Client::connect(stage.proxy.address());
    let mut half_way = Client::connect(stage.proxy.address());
    half_way
        .send(&startup(&[("user", "app")])[..9])
        .wait_until_taken();
    stage.proxy.process().signal(Signal::Terminate);
    expect_shutdown(&mut idle);
    expect_shutdown(&mut console);
    half_way.send(&startup(&[("user", "app")])[9..]);
    half_way.expect_error("57P03");
    eventually("nobody new was let in", || {
        TcpStream::connect(stage.proxy.address()).is_err()
    });
    working.send(query("SELECT 1"));
    backend.expect_message(query("SELECT 1"));
    backend.answer(all([command_complete("SELECT 0"), ready_in_transaction()]));
    working.expect("C Z");
    commit(&mut working, &mut backend);
    expect_shutdown(&mut working);
    expect_orderly_end(&stage);
}

#[test]
fn sigterm_waits_for_clients_when_told_so() {
    let stage = Stage::set_with(|config| config.set("listen", "drain = \"clients\""));
    let mut idle = stage.client();
    let mut backend = stage.server_of(&mut idle);
    stage.proxy.process().signal(Signal::Terminate);
    eventually("nobody new was let in", || {
        TcpStream::connect(stage.proxy.address()).is_err()
    });
    idle.send(query("SELECT 1"));
    backend.expect_message(query("SELECT 1"));
    backend.answer(one_value("1"));
    idle.expect("T D C Z");
    assert!(stage.proxy.process().is_running());
    drop(idle);
    expect_orderly_end(&stage);
}

#[test]
fn sigterm_finishes_what_is_queued() {
    let stage = Stage::set_with(|config| config.set("pool", "size = 1"));
    let mut console = console(&stage.proxy);
    let (mut working, mut backend) = stage.in_transaction();
    let mut queued = stage.client();
    queued.send(query("SELECT 1"));
    eventually("a client waited", || {
        console.rows("SHOW POOLS")[0].split('|').nth(3) == Some("1")
    });
    stage.proxy.process().signal(Signal::Terminate);
    expect_shutdown(&mut console);
    commit(&mut working, &mut backend);
    backend.expect_message(query("SELECT 1"));
    backend.answer(one_value("1"));
    queued.expect("T D C Z");
    expect_shutdown(&mut queued);
    expect_orderly_end(&stage);
}

#[test]
fn a_failed_transaction_is_waited_for_as_well() {
    let stage = Stage::set();
    let (mut client, mut backend) = stage.in_transaction();
    client.send(query("SELECT 1/0"));
    backend.expect_message(query("SELECT 1/0"));
    backend.reset();
    client.expect("E Z");
    let mut idle = stage.client();
    stage.proxy.process().signal(Signal::Terminate);
    expect_shutdown(&mut idle);
    client.send(query("ROLLBACK"));
    client.expect("C Z");
    expect_shutdown(&mut client);
    expect_orderly_end(&stage);
}

/// A client in a transaction, one that waits, one that has nothing to do, an operator, one that logs in.
fn all_sorts(stage: &Stage) -> (Vec<Client>, Backend, Client) {
    let mut console = console(&stage.proxy);
    let (working, backend) = stage.in_transaction();
    let mut queued = stage.client();
    queued.send(query("SELECT 1"));
    eventually("a client waited", || {
        console.rows("SHOW POOLS")[0].split('|').nth(3) == Some("1")
    });
    let stalled = Client::connect(stage.proxy.address());
    (
        vec![working, queued, stage.client(), console],
        backend,
        stalled,
    )
}

#[test]
fn sigint_ends_everything_now() {
    let stage = Stage::set_with(|config| config.set("pool", "size = 1"));
    let (mut clients, _backend, _stalled) = all_sorts(&stage);
    stage.proxy.process().signal(Signal::Interrupt);
    clients.iter_mut().for_each(expect_shutdown);
    expect_orderly_end(&stage);
}

#[test]
fn a_second_sigterm_ends_everything_now() {
    let stage = Stage::set_with(|config| config.set("pool", "size = 1"));
    let (mut clients, _backend, _stalled) = all_sorts(&stage);
    stage.proxy.process().signal(Signal::Terminate);
    clients
        .drain(2..)
        .for_each(|mut client| expect_shutdown(&mut client));
    stage.proxy.process().signal(Signal::Terminate);
    clients.iter_mut().for_each(expect_shutdown);
    expect_orderly_end(&stage);
}

#[test]
fn draining_ends_at_drain_timeout() {
    for limit in ["100ms", "0"] {
        let line = format!("drain_timeout = \"{limit}\"");
        let stage = Stage::set_with(|config| config.set("pool", "size = 1").set("listen", &line));
        let (mut clients, _backend, _stalled) = all_sorts(&stage);
        stage.proxy.process().signal(Signal::Terminate);
        clients.iter_mut().for_each(expect_shutdown);
        expect_orderly_end(&stage);
    }
}

#[test]
fn every_core_ends() {
    let stage = Stage::set_with(|config| config.workers(2));
    let mut clients: Vec<_> = (0..8).map(|_| stage.client()).collect();
    stage.proxy.process().signal(Signal::Terminate);
    clients.iter_mut().for_each(expect_shutdown);
    expect_orderly_end(&stage);
}

/// What a reload is done with.
struct Reloadable {
    stage: Stage,
    config: Config,
}

impl Reloadable {
    fn start(config: impl FnOnce(Config) -> Config) -> Self {
        let server = MockServer::bind().log_in_everyone();
        let config = config(Config::trust(server.address()));
        let proxy = Proxy::start(&config);
        Self {
            stage: Stage { proxy, server },
            config,
        }
    }

    /// Reloads a changed configuration and waits until the log says `said`; that line.
    fn reload(&self, config: &Config, said: &str) -> String {
        let mark = self.stage.proxy.process().mark();
        self.stage.proxy.reload(config);
        self.stage
            .proxy
            .process()
            .wait_for_since(mark, said)
            .unwrap()
    }
}

const RELOADED: &str = "configuration reloaded";

#[test]
fn a_larger_pool_serves_those_who_wait() {
    let it = Reloadable::start(|config| config);
    let single = it.config.clone().set("pool", "size = 1");
    it.reload(&single, RELOADED);
    let (_working, _backend) = it.stage.in_transaction();
    let mut waiting = it.stage.client();
    waiting.send(query("SELECT 'waiting'"));
    let mut console = console(&it.stage.proxy);
    eventually("a client waited", || {
        console.rows("SHOW POOLS")[0].split('|').nth(3) == Some("1")
    });
    let line = it.reload(&it.config.clone().set("pool", "size = 2"), RELOADED);
    assert!(line.contains("[pool] size"), "{line}");
    it.stage
        .server
        .expect(query("SELECT 'waiting'"))
        .answer(one_value("waiting"));
    waiting.expect("T D C Z");
}

#[test]
fn a_smaller_pool_shrinks_as_connections_come_back() {
    let it = Reloadable::start(|config| config);
    let mut console = console(&it.stage.proxy);
    let mut busy: Vec<_> = (0..3).map(|_| it.stage.in_transaction()).collect();
    it.reload(&it.config.clone().set("pool", "size = 1"), RELOADED);
    for (client, backend) in &mut busy {
        commit(client, backend);
    }
    eventually("it shrank", || console.rows("SHOW SERVERS").len() == 1);
}

#[test]
fn a_new_mode_holds_for_new_sessions_and_min_size_at_once() {
    let it = Reloadable::start(|config| config);
    let mut console = console(&it.stage.proxy);
    let _client = it.stage.client();
    it.reload(
        &it.config
            .clone()
            .set("pool", "mode = \"session\"")
            .set("pool", "min_size = 3"),
        RELOADED,
    );
    eventually("the pool was filled", || {
        console.rows("SHOW SERVERS").len() == 3
    });
    assert!(console.rows("SHOW POOLS")[0].contains("|session|"));
}

#[test]
fn users_come_and_go() {
    let server = MockServer::bind().log_in_everyone();
    let base = || Config::scram(server.address());
    let proxy = Proxy::start(&base());
    let asked = |user: &str| {
        let mut client = Client::connect(proxy.address());
        client.send(startup(&[("user", user)]));
        client.expect("R");
        client
    };
    asked("app");
    let mark = proxy.process().mark();
    proxy.reload(&base().user("joe", "secret"));
    let line = proxy.process().wait_for_since(mark, RELOADED).unwrap();
    assert!(line.contains("[[user]] joe"), "{line}");
    asked("joe");
}

#[test]
fn databases_move_and_go() {
    let it = Reloadable::start(|config| {
        config.table("database", "name = \"app\"\nserver_name = \"old\"")
    });
    let mut client = it.stage.client();
    client.send(query("SELECT 1"));
    let mut backend = it.stage.server.expect(query("SELECT 1"));
    backend.answer(one_value("1"));
    client.expect("T D C Z");
    let server = MockServer::bind();
    let moved = Config::trust(it.stage.server.address())
        .table("database", "name = \"app\"\nserver_name = \"new\"");
    it.reload(&moved, RELOADED);
    backend.expect_end();
    drop(server);
    client.send(query("SELECT 1"));
    it.stage
        .server
        .expect(query("SELECT 1"))
        .answer(one_value("1"));
    client.expect("T D C Z");
    let other = Config::trust(it.stage.server.address()).table("database", "name = \"other\"");
    it.reload(&other, RELOADED);
    let mut late = Client::connect(it.stage.proxy.address());
    late.send(startup(&[("user", "app"), ("database", "app")]));
    late.expect("R");
    late.expect_error("3D000");
}

#[test]
fn new_connections_go_to_the_database_under_its_new_name() {
    let server = MockServer::bind();
    let named = |name: &str| {
        let table = format!("name = \"app\"\nserver_name = \"{name}\"");
        Config::trust(server.address()).table("database", &table)
    };
    let proxy = Proxy::start(&named("old"));
    let mut client = Client::connect(proxy.address());
    client.send(startup(&[("user", "app")]));
    let mut backend = server.accept();
    assert_eq!(database_of(&backend.expect_login()), "old");
    client.expect_login();
    proxy.reload(&named("new"));
    backend.expect_end();
    client.send(query("SELECT 1"));
    assert_eq!(database_of(&server.accept().expect_login()), "new");
}

fn database_of(packet: &[u8]) -> String {
    match Initial::read(packet).unwrap() {
        Some((Initial::Startup(packet), _)) => {
            String::from_utf8_lossy(packet.database()).into_owned()
        }
        _ => panic!("expected a startup packet"),
    }
}

#[test]
fn a_wrong_file_changes_nothing() {
    let it = Reloadable::start(|config| config.set("pool", "size = 1"));
    let line = it.reload(
        &it.config.clone().set("pool", "sizes = 3"),
        "was not reloaded",
    );
    assert!(line.contains("ERROR"), "{line}");
    it.stage.proxy.process().wait_for("sizes").unwrap();
    let mut bystander = it.stage.bystander();
    bystander.works_on();
    let mut waiting = it.stage.client();
    waiting.send(query("SELECT 1"));
    let mut console = console(&it.stage.proxy);
    eventually("the size is still 1", || {
        console.rows("SHOW POOLS")[0].split('|').nth(3) == Some("1")
    });
}

#[test]
fn what_needs_a_restart_is_said() {
    let it = Reloadable::start(|config| config);
    let changed = it
        .config
        .clone()
        .set("listen", "max_clients = 1")
        .set("log", "format = \"json\"");
    let mark = it.stage.proxy.process().mark();
    it.stage.proxy.reload(&changed);
    for key in ["[listen] max_clients", "[log] format"] {
        let line = it.stage.proxy.process().wait_for_since(mark, key).unwrap();
        assert!(line.contains("restart"), "{line}");
    }
    let _more_than_one = (it.stage.client(), it.stage.client());
}

/// Two pgrings on one address would share its clients without a word.
#[test]
fn a_second_one_starts_on_the_same_address_only_when_told_so() {
    let stage = Stage::set();
    let file = stage.proxy.folder().join("pgring.toml");
    let mut second = Command::new(env!("CARGO_BIN_EXE_pgring"));
    let ended = second.arg("run").arg("-c").arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success());
    let address = stage.proxy.address().to_string();
    assert!(
        said.contains(&address) && said.contains("share_addresses"),
        "{said}"
    );
    drop(stage.client());
    let workplace = Workplace::create("pgring-test").unwrap();
    let text = fs::read_to_string(&file).unwrap();
    let shared = workplace.path().join("shared.toml");
    fs::write(
        &shared,
        text.replace("[listen]", "[listen]\nshare_addresses = true"),
    )
    .unwrap();
    let mut second = Command::new(env!("CARGO_BIN_EXE_pgring"));
    second.arg("run").arg("-c").arg(&shared);
    let second = workplace.spawn("pgring", second, Signal::Kill).unwrap();
    second.wait_for(" ready").unwrap();
}
