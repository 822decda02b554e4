//! Whole conversations, their bytes cut at every position in turn, in both directions, and merged. What
//! arrives must be what was sent, wherever the network cuts it.

use super::bystander::{Stage, round_trip};
use crate::support::{
    message::*,
    mock::{Backend, KEY, MockServer, PARAMETERS},
    peer::{Client, Wire},
    proxy::{Config, Proxy},
};

/// What one side says, and what arrives at the other.
struct Turn {
    said: Vec<u8>,
    heard: Vec<u8>,
    answered: Vec<u8>,
    told: Vec<u8>,
}

/// A conversation in turns, of one run: statements that are new in each run are nobody else's. The last answer
/// ends outside a transaction.
type Script = fn(run: usize) -> Vec<Turn>;

/// A turn of which everything arrives as it was sent.
fn unchanged(said: Vec<u8>, answered: Vec<u8>) -> Turn {
    Turn {
        heard: said.clone(),
        told: answered.clone(),
        said,
        answered,
    }
}

fn simple_query(_: usize) -> Vec<Turn> {
    vec![
        unchanged(query("SELECT 1"), one_value("1")),
        unchanged(query(""), all([empty_query(), ready()])),
    ]
}

/// A text of which each run has its own, of the same length.
fn own(text: &str, run: usize) -> String {
    format!("{text} -- {run:06}")
}

fn extended_query(run: usize) -> Vec<Turn> {
    vec![unchanged(
        all([
            parse("", &own("SELECT $1", run)),
            bind("", "", &["1"]),
            describe_portal(""),
            execute(""),
            sync(),
        ]),
        all([
            parse_complete(),
            bind_complete(),
            columns(&["value"]),
            row(&["1"]),
            command_complete("SELECT 1"),
            ready(),
        ]),
    )]
}

fn group(text: &str) -> Vec<u8> {
    all([parse("", text), bind("", "", &[]), execute(""), sync()])
}

fn group_answer() -> Vec<u8> {
    all([
        parse_complete(),
        bind_complete(),
        row(&["1"]),
        command_complete("SELECT 1"),
        ready(),
    ])
}

fn pipeline(run: usize) -> Vec<Turn> {
    vec![unchanged(
        all([
            group(&own("SELECT 1", run)),
            query("SELECT 2"),
            group(&own("SELECT 3", run)),
            sync(),
        ]),
        all([group_answer(), one_value("2"), group_answer(), ready()]),
    )]
}

fn flushed(run: usize) -> Vec<Turn> {
    vec![
        unchanged(
            all([
                parse("", &own("SELECT 1", run)),
                describe_statement(""),
                flush(),
            ]),
            all([parse_complete(), no_data()]),
        ),
        unchanged(
            all([bind("", "", &[]), execute(""), flush()]),
            all([bind_complete(), row(&["1"]), command_complete("SELECT 1")]),
        ),
        // The server keeps the statement; that the client has none any more is for pgring to know.
        Turn {
            said: all([close_portal(""), close_statement(""), sync()]),
            heard: all([close_portal(""), sync()]),
            answered: all([close_complete(), ready()]),
            told: all([close_complete(), close_complete(), ready()]),
        },
    ]
}

/// Statements with names of all lengths, in the messages that name them.
fn renamed(run: usize) -> Vec<Turn> {
    let (short, long) = (own("SELECT 1", run), own("SELECT 2", run));
    let name = "a name that is longer than one of ours".to_owned();
    let ours = |number: usize| format!("pgring_{:x}", 2 * run + number);
    let said = [
        parse("s", &short),
        parse(&name, &long),
        describe_statement("s"),
        bind("", &name, &["parameter"]),
        describe_portal(""),
        execute(""),
        bind("p", "s", &[]),
        execute("p"),
    ];
    let heard = [
        parse_and_describe(&ours(1), &short),
        parse_and_describe(&ours(2), &long),
        describe_statement(&ours(1)),
        bind("", &ours(2), &["parameter"]),
        describe_portal(""),
        execute(""),
        bind("p", &ours(1), &[]),
        execute("p"),
    ];
    let told = [
        parse_complete(),
        parse_complete(),
        no_data(),
        bind_complete(),
        no_data(),
        command_complete("SELECT 0"),
        bind_complete(),
        command_complete("SELECT 0"),
    ];
    let mut answered = told.clone();
    answered[0] = parsed_and_described();
    answered[1] = parsed_and_described();
    let close = || all([close_statement(&name), close_statement("s")]);
    let closed = || all([close_complete(), close_complete()]);
    vec![
        Turn {
            said: [said.concat(), close(), execute("p"), sync()].concat(),
            heard: [heard.concat(), execute("p"), sync()].concat(),
            answered: [answered.concat(), command_complete("SELECT 0"), ready()].concat(),
            told: [
                told.concat(),
                closed(),
                command_complete("SELECT 0"),
                ready(),
            ]
            .concat(),
        },
        // They are gone for the client; the server, too, must find nothing.
        Turn {
            said: all([bind("", "pgring_1", &[]), execute(""), sync()]),
            heard: all([bind("", "pgring_1?", &[]), execute(""), sync()]),
            answered: all([error("26000", "there is none"), ready()]),
            told: all([error("26000", "there is none"), ready()]),
        },
    ]
}

/// A name that is closed by pgring, in its turn, and the unnamed statement.
fn closed_here(run: usize) -> Vec<Turn> {
    let (text, ours) = (own("SELECT 1", run), format!("pgring_{:x}", run + 1));
    let messages = |name: &str| {
        all([
            bind("", name, &["parameter"]),
            execute(""),
            describe_statement(name),
            bind("p", name, &[]),
        ])
    };
    let answers = || {
        all([
            bind_complete(),
            command_complete("SELECT 0"),
            no_data(),
            bind_complete(),
        ])
    };
    vec![Turn {
        said: all([
            parse("x", &text),
            messages("x"),
            parse("", &text),
            messages(""),
            close_statement("x"),
            sync(),
        ]),
        heard: all([
            parse_and_describe(&ours, &text),
            messages(&ours),
            parse("", &text),
            messages(""),
            sync(),
        ]),
        answered: all([
            parsed_and_described(),
            answers(),
            parse_complete(),
            answers(),
            ready(),
        ]),
        told: all([
            parse_complete(),
            answers(),
            parse_complete(),
            answers(),
            close_complete(),
            ready(),
        ]),
    }]
}

fn copied_in(_: usize) -> Vec<Turn> {
    vec![
        unchanged(query("COPY t FROM STDIN"), copy_in()),
        unchanged(
            all([
                copy_data(b"1\n"),
                copy_data(b""),
                flush(),
                sync(),
                copy_data(b"2\n"),
                copy_done(),
            ]),
            all([command_complete("COPY 2"), ready()]),
        ),
        unchanged(query("COPY t FROM STDIN"), copy_in()),
        unchanged(
            all([copy_data(b"x"), copy_fail("no")]),
            all([error("57014", "COPY from stdin failed: no"), ready()]),
        ),
    ]
}

fn copied_out(_: usize) -> Vec<Turn> {
    let data = [
        copy_out(),
        copy_data(b"1\n"),
        copy_data(b""),
        copy_data(b"2\n"),
        copy_done(),
    ]
    .concat();
    vec![unchanged(
        query("COPY t TO STDOUT"),
        all([data, command_complete("COPY 2"), ready()]),
    )]
}

/// What a function does nobody knows; but those of large objects leave nothing behind.
fn called_for_a_large_object(_: usize) -> Vec<Turn> {
    const LO_UNLINK: u32 = 964;
    vec![unchanged(
        function_call(LO_UNLINK),
        all([function_result("1"), ready()]),
    )]
}

fn called(_: usize) -> Vec<Turn> {
    vec![unchanged(
        function_call(1598),
        all([function_result("0.5"), ready()]),
    )]
}

fn suspended(run: usize) -> Vec<Turn> {
    vec![
        unchanged(
            query("BEGIN;SELECT 1"),
            all([command_complete("BEGIN"), ready_in_transaction()]),
        ),
        unchanged(
            all([
                parse("", &own("SELECT 1", run)),
                bind("p", "", &[]),
                execute_rows("p", 1),
                flush(),
            ]),
            all([
                parse_complete(),
                bind_complete(),
                row(&["1"]),
                portal_suspended(),
            ]),
        ),
        unchanged(
            all([execute_rows("p", 1), sync()]),
            all([
                row(&["2"]),
                command_complete("SELECT 1"),
                ready_in_transaction(),
            ]),
        ),
        unchanged(query("COMMIT"), all([command_complete("COMMIT"), ready()])),
    ]
}

fn failed_pipeline(run: usize) -> Vec<Turn> {
    let wrong = all([
        parse("", &own("SELECT 1/0", run)),
        bind("", "", &[]),
        execute(""),
        bind("", "", &[]),
        execute(""),
        sync(),
    ]);
    vec![unchanged(
        all([wrong, group(&own("SELECT 1", run))]),
        all([
            parse_complete(),
            bind_complete(),
            error("22012", "division by zero"),
            ready(),
            group_answer(),
        ]),
    )]
}

fn asides() -> Vec<u8> {
    all([notice("by the way"), notification("channel")])
}

fn with_asides(_: usize) -> Vec<Turn> {
    vec![
        unchanged(
            query("BEGIN;SELECT 1"),
            all([
                asides(),
                command_complete("BEGIN"),
                asides(),
                ready_in_transaction(),
            ]),
        ),
        unchanged(vec![], asides()),
        unchanged(
            query("ROLLBACK"),
            all([asides(), command_complete("ROLLBACK"), ready()]),
        ),
    ]
}

/// A setting that the server reports: behind the last answer pgring asks what there is, and the client is told
/// nothing of that.
fn with_reports(_: usize) -> Vec<Turn> {
    let report = || parameter_status("TimeZone", "Asia/Tokyo");
    vec![
        unchanged(
            query("BEGIN;SELECT 1"),
            all([report(), command_complete("BEGIN"), ready_in_transaction()]),
        ),
        unchanged(vec![], report()),
        unchanged(
            query("ROLLBACK"),
            all([command_complete("ROLLBACK"), report(), ready()]),
        ),
    ]
}

/// Settings are asked for behind the answer, and what the client asks meanwhile waits for nothing.
fn set(_: usize) -> Vec<Turn> {
    vec![unchanged(
        query("SET search_path = a"),
        all([command_complete("SET"), ready()]),
    )]
}

/// Which of the two sides is cut.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

/// A script that is run again and again by one client after the other, over one server connection.
struct Runs {
    stage: Stage,
    backend: Backend,
    script: Script,
    /// pgring asks for the session's state behind each run.
    state_query: bool,
    /// How many there were.
    count: usize,
}

impl Runs {
    fn of(script: Script) -> Self {
        let stage = Stage::set_with(|config| {
            let config = config.set("pool", "size = 1");
            config.set("pool", "statements_per_connection = 10000")
        });
        let mut client = stage.client();
        let backend = stage.server_of(&mut client);
        Self {
            stage,
            backend,
            script,
            state_query: false,
            count: 0,
        }
    }

    fn length(&self, side: Side) -> usize {
        let bytes = |turn: &Turn| match side {
            Side::Client => turn.said.len(),
            Side::Server => turn.answered.len(),
        };
        (self.script)(0).iter().map(bytes).sum()
    }

    /// Once, one side's bytes cut at these positions, counted over all its turns.
    fn cut(&mut self, side: Side, cuts: &[usize]) {
        let turns = (self.script)(self.count);
        self.count += 1;
        self.run(&turns, side, cuts);
    }

    /// All turns in one piece.
    fn merged(&mut self) -> Turn {
        let turns = (self.script)(self.count);
        self.count += 1;
        let all = |part: fn(&Turn) -> &Vec<u8>| turns.iter().flat_map(part).copied().collect();
        Turn {
            said: all(|turn| &turn.said),
            heard: all(|turn| &turn.heard),
            answered: all(|turn| &turn.answered),
            told: all(|turn| &turn.told),
        }
    }

    fn run(&mut self, turns: &[Turn], side: Side, cuts: &[usize]) {
        let mut client = self.stage.client();
        let mut before = 0;
        for turn in turns {
            let cut = if side == Side::Client {
                &turn.said
            } else {
                &turn.answered
            };
            let inside = cuts
                .iter()
                .filter(|at| (before + 1..before + cut.len()).contains(at));
            let inside: Vec<_> = inside.map(|at| at - before).collect();
            before += cut.len();
            let at = |wanted: Side| if side == wanted { &inside[..] } else { &[] };
            send(&mut client, &turn.said, at(Side::Client));
            self.backend.expect_exactly(&turn.heard);
            send(&mut self.backend, &turn.answered, at(Side::Server));
            client.expect_exactly(&turn.told);
        }
        if self.state_query {
            self.backend.expect_state_query();
            let answer = state_query("app", &[], "");
            let all: Vec<_> = (1..answer.len()).collect();
            self.backend
                .send_cut_at(if cuts.len() > 1 { &all } else { &[] }, answer);
        }
    }

    /// At each byte in turn, each time with a client of its own; at all bytes at once; and nowhere, with all turns
    /// in one piece.
    fn everywhere(mut self) {
        for side in [Side::Client, Side::Server] {
            let length = self.length(side);
            for cut in 1..length {
                self.cut(side, &[cut]);
            }
            self.cut(side, &(1..length).collect::<Vec<_>>());
        }
        for count in 1..=2 {
            let turns: Vec<_> = (0..count).map(|_| self.merged()).collect();
            if count == 1 || !self.state_query {
                self.run(&turns, Side::Client, &[]);
            }
        }
        round_trip(&mut self.stage.client(), &mut self.backend);
    }
}

fn send(wire: &mut Wire, bytes: &[u8], cuts: &[usize]) {
    if !bytes.is_empty() {
        wire.send_cut_at(cuts, bytes);
    }
}

fn cut_everywhere(script: Script) {
    Runs::of(script).everywhere();
}

/// The same for scripts that make pgring ask for the session's state.
fn cut_everywhere_and_asked(script: Script) {
    let mut runs = Runs::of(script);
    runs.state_query = true;
    runs.everywhere();
}

#[test]
fn simple_queries() {
    cut_everywhere(simple_query);
}

#[test]
fn extended_queries() {
    cut_everywhere(extended_query);
}

#[test]
fn pipelines() {
    cut_everywhere(pipeline);
}

#[test]
fn flushes() {
    cut_everywhere(flushed);
}

#[test]
fn copies_in() {
    cut_everywhere(copied_in);
}

#[test]
fn copies_out() {
    cut_everywhere(copied_out);
}

#[test]
fn function_calls() {
    cut_everywhere_and_asked(called);
    cut_everywhere(called_for_a_large_object);
}

#[test]
fn suspended_portals() {
    cut_everywhere(suspended);
}

#[test]
fn pipelines_that_fail() {
    cut_everywhere(failed_pipeline);
}

#[test]
fn notices_and_notifications() {
    cut_everywhere(with_asides);
}

#[test]
fn reports_of_settings() {
    cut_everywhere_and_asked(with_reports);
}

#[test]
fn questions_for_settings() {
    cut_everywhere_and_asked(set);
}

#[test]
fn names_of_statements() {
    cut_everywhere(renamed);
}

#[test]
fn names_that_are_closed_here() {
    cut_everywhere(closed_here);
}

#[test]
fn a_login_of_a_client() {
    let stage = Stage::set();
    let packet = startup(&[("user", "app"), ("database", "app")]);
    for cut in 1..packet.len() {
        let mut client = Client::connect(stage.proxy.address());
        client.send_cut_at(&[cut], &packet);
        client.expect_login();
    }
    let both = all([ssl_request(), packet.clone()]);
    let mut client = Client::connect(stage.proxy.address());
    client.send_cut_at(&[1, 2, 3, 4, 5, 6, 7], &both[..8]);
    assert_eq!(client.receive_byte(), b'N');
    client.send_cut_at(&(1..packet.len()).collect::<Vec<_>>(), &packet);
    client.expect_login();
}

#[test]
fn a_login_at_the_server() {
    let server = MockServer::bind();
    let proxy = Proxy::start(&Config::trust(server.address()));
    let parameters = PARAMETERS
        .map(|(name, value)| parameter_status(name, value))
        .concat();
    let welcome = all([
        authentication_ok(),
        parameters,
        backend_key_data(9, &KEY),
        ready(),
    ]);
    let mut client = Client::connect(proxy.address());
    client.send(startup(&[("user", "app"), ("database", "app")]));
    for cut in 1..welcome.len() {
        let mut backend = server.accept();
        backend.receive_initial();
        backend.send_cut_at(&[cut], &welcome);
        if cut == 1 {
            client.expect_login();
            client.send(query("SELECT 1"));
        }
        backend.expect_message(query("SELECT 1"));
        backend.answer(fatal(
            "57P01",
            "the next statement needs another connection",
        ));
        client.expect("E Z");
        client.send(query("SELECT 1"));
    }
}

#[test]
fn goodbyes_of_a_client() {
    let stage = Stage::set_with(|config| config.set("pool", "size = 1"));
    for cut in 1..terminate().len() {
        let mut client = stage.client();
        client.send_cut_at(&[cut], terminate()).expect_end();
        let (mut client, mut backend) = stage.in_transaction();
        client.send_cut_at(&[cut], terminate()).expect_end();
        while backend.try_receive().is_some() {}
    }
}
