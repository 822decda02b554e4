//! Messages as bytes, one short function each, so that a test reads like a transcript. Never sends.

use pgring::protocol::{
    ErrorReport, Frame, Severity, SqlState, Writer,
    backend::{DataRow, ErrorFields, TransactionStatus},
    frontend::Target,
    startup::ProtocolVersion,
    tag::backend::DATA_ROW,
};

/// Whatever the library's writer writes.
pub fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut Writer::new(&mut bytes));
    bytes
}

/// Several messages in one piece.
pub fn all<const N: usize>(messages: [Vec<u8>; N]) -> Vec<u8> {
    messages.concat()
}

// === From a client ===

pub fn startup(parameters: &[(&str, &str)]) -> Vec<u8> {
    startup_of(ProtocolVersion::V3_0, parameters)
}

pub fn startup_of(version: ProtocolVersion, parameters: &[(&str, &str)]) -> Vec<u8> {
    written(|to| to.startup(version, parameters.iter().copied()).unwrap())
}

pub fn ssl_request() -> Vec<u8> {
    written(|to| {
        to.ssl_request();
    })
}

pub fn cancel_request(process_id: i32, key: &[u8]) -> Vec<u8> {
    written(|to| to.cancel_request(process_id, key).unwrap())
}

pub fn query(text: &str) -> Vec<u8> {
    written(|to| to.query(text).unwrap())
}

pub fn parse(name: &str, text: &str) -> Vec<u8> {
    written(|to| to.parse(name, text, []).unwrap())
}

/// With these types of the parameters; 0 leaves one to the server.
pub fn parse_typed(name: &str, text: &str, types: &[u32]) -> Vec<u8> {
    written(|to| to.parse(name, text, types.iter().copied()).unwrap())
}

/// Parameters and results in the given formats: 0 is text, 1 is binary, as many of each as the protocol allows.
pub fn bind_formats(
    portal: &str,
    statement: &str,
    (parameters, formats): (&[Option<&[u8]>], &[i16]),
    results: &[i16],
) -> Vec<u8> {
    let mut rest = shorts(formats);
    rest.extend((parameters.len() as i16).to_be_bytes());
    for value in parameters {
        let length = value.map_or(-1, |value| value.len() as i32);
        rest.extend(length.to_be_bytes());
        rest.extend(value.unwrap_or_default());
    }
    rest.extend(shorts(results));
    written(|to| to.bind_raw(portal, statement, &rest).unwrap())
}

/// Their count and the numbers themselves.
fn shorts(numbers: &[i16]) -> Vec<u8> {
    let count = numbers.len() as i16;
    let all = std::iter::once(&count).chain(numbers);
    all.flat_map(|number| number.to_be_bytes()).collect()
}

/// Parameters and results as text.
pub fn bind(portal: &str, statement: &str, parameters: &[&str]) -> Vec<u8> {
    written(|to| {
        to.bind(
            portal,
            statement,
            parameters.iter().map(|&value| Some(value)),
        )
        .unwrap()
    })
}

pub fn describe_statement(name: &str) -> Vec<u8> {
    written(|to| to.describe(Target::Statement, name).unwrap())
}

pub fn describe_portal(name: &str) -> Vec<u8> {
    written(|to| to.describe(Target::Portal, name).unwrap())
}

pub fn close_statement(name: &str) -> Vec<u8> {
    written(|to| to.close_object(Target::Statement, name).unwrap())
}

pub fn close_portal(name: &str) -> Vec<u8> {
    written(|to| to.close_object(Target::Portal, name).unwrap())
}

/// All rows.
pub fn execute(portal: &str) -> Vec<u8> {
    execute_rows(portal, 0)
}

pub fn execute_rows(portal: &str, max_rows: i32) -> Vec<u8> {
    written(|to| to.execute(portal, max_rows).unwrap())
}

pub fn sync() -> Vec<u8> {
    written(|to| {
        to.sync();
    })
}

pub fn flush() -> Vec<u8> {
    written(|to| {
        to.flush();
    })
}

pub fn terminate() -> Vec<u8> {
    written(|to| {
        to.terminate();
    })
}

pub fn password(text: &str) -> Vec<u8> {
    written(|to| to.password(text).unwrap())
}

pub fn copy_fail(message: &str) -> Vec<u8> {
    written(|to| to.copy_fail(message).unwrap())
}

/// The function with this object id, no arguments.
pub fn function_call(function: u32) -> Vec<u8> {
    function_call_with(function, &[])
}

/// The function with this object id, arguments and result as text.
pub fn function_call_with(function: u32, arguments: &[&str]) -> Vec<u8> {
    let arguments = arguments.iter().map(|&value| Some(value));
    written(|to| to.function_call(function, arguments).unwrap())
}

// === From either side ===

pub fn copy_data(data: &[u8]) -> Vec<u8> {
    written(|to| {
        to.copy_data(data);
    })
}

pub fn copy_done() -> Vec<u8> {
    written(|to| {
        to.copy_done();
    })
}

// === From a server ===

pub fn authentication_ok() -> Vec<u8> {
    written(|to| {
        to.authentication_ok();
    })
}

pub fn parameter_status(name: &str, value: &str) -> Vec<u8> {
    written(|to| {
        to.parameter_status(name, value);
    })
}

pub fn backend_key_data(process_id: i32, key: &[u8]) -> Vec<u8> {
    written(|to| {
        to.backend_key_data(process_id, key);
    })
}

/// ReadyForQuery outside a transaction.
pub fn ready() -> Vec<u8> {
    written(|to| {
        to.ready_for_query(TransactionStatus::Idle);
    })
}

/// ReadyForQuery inside a transaction.
pub fn ready_in_transaction() -> Vec<u8> {
    written(|to| {
        to.ready_for_query(TransactionStatus::InTransaction);
    })
}

/// ReadyForQuery inside a transaction that has failed.
pub fn ready_failed() -> Vec<u8> {
    written(|to| {
        to.ready_for_query(TransactionStatus::Failed);
    })
}

/// RowDescription of text columns.
pub fn columns(names: &[&str]) -> Vec<u8> {
    written(|to| {
        to.row_description_text(names);
    })
}

/// DataRow of texts.
pub fn row(values: &[&str]) -> Vec<u8> {
    written(|to| {
        to.data_row(values.iter().map(|&value| Some(value)));
    })
}

/// DataRow of texts; `None` is NULL.
pub fn row_with_nulls(values: &[Option<&str>]) -> Vec<u8> {
    written(|to| {
        to.data_row(values.iter().copied());
    })
}

pub fn command_complete(command: &str) -> Vec<u8> {
    written(|to| {
        to.command_complete(command);
    })
}

/// ErrorResponse with severity ERROR.
pub fn error(sqlstate: &str, message: &'static str) -> Vec<u8> {
    written(|to| {
        to.error(&ErrorReport::error(code(sqlstate), message));
    })
}

/// ErrorResponse with severity FATAL.
pub fn fatal(sqlstate: &str, message: &'static str) -> Vec<u8> {
    written(|to| {
        to.error(&ErrorReport::fatal(code(sqlstate), message));
    })
}

/// A named Parse as pgring sends it on: it asks what the statement is.
pub fn parse_and_describe(name: &str, text: &str) -> Vec<u8> {
    all([parse(name, text), describe_statement(name)])
}

/// What a server answers to that, when there are neither parameters nor rows.
pub fn parsed_and_described() -> Vec<u8> {
    all([parse_complete(), no_parameters(), no_data()])
}

/// What a server says when the result of a prepared statement has other columns than it had.
pub fn stale_plan() -> Vec<u8> {
    let fields = [
        "SERROR",
        "VERROR",
        "C0A000",
        "Mcached plan must not change result type",
        "RRevalidateCachedQuery",
    ];
    let body = fields.join("\0") + "\0\0";
    let length = 4 + body.len() as u32;
    [b"E", &length.to_be_bytes()[..], body.as_bytes()].concat()
}

fn code(sqlstate: &str) -> SqlState {
    SqlState::from_bytes(sqlstate.as_bytes()).expect("five digits or capital letters")
}

pub fn parse_complete() -> Vec<u8> {
    written(|to| {
        to.parse_complete();
    })
}

pub fn bind_complete() -> Vec<u8> {
    written(|to| {
        to.bind_complete();
    })
}

pub fn close_complete() -> Vec<u8> {
    written(|to| {
        to.close_complete();
    })
}

/// ParameterDescription of a statement without parameters.
pub fn no_parameters() -> Vec<u8> {
    written(|to| {
        to.parameter_description([]);
    })
}

pub fn no_data() -> Vec<u8> {
    written(|to| {
        to.no_data();
    })
}

pub fn portal_suspended() -> Vec<u8> {
    written(|to| {
        to.portal_suspended();
    })
}

/// CopyInResponse: text, one column.
pub fn copy_in() -> Vec<u8> {
    written(|to| {
        to.copy_in(0, [0]);
    })
}

/// CopyOutResponse: text, one column.
pub fn copy_out() -> Vec<u8> {
    written(|to| {
        to.copy_out(0, [0]);
    })
}

pub fn function_result(value: &str) -> Vec<u8> {
    written(|to| {
        to.function_call_response(Some(value.as_bytes()));
    })
}

pub fn empty_query() -> Vec<u8> {
    written(|to| {
        to.empty_query();
    })
}

pub fn notification(channel: &str) -> Vec<u8> {
    written(|to| {
        to.notification(7, channel, "payload");
    })
}

/// What a backend says when its server is shut down immediately.
pub fn farewell() -> Vec<u8> {
    written(|to| {
        to.notice(&ErrorReport::new(Severity::Warning, code("57P01"), "bye"));
    })
}

pub fn notice(message: &'static str) -> Vec<u8> {
    written(|to| {
        to.notice(&ErrorReport::new(Severity::Notice, code("00000"), message));
    })
}

/// The whole answer to `SELECT value` as simple query, outside a transaction.
pub fn one_value(value: &str) -> Vec<u8> {
    all([
        columns(&["value"]),
        row(&[value]),
        command_complete("SELECT 1"),
        ready(),
    ])
}

/// What the question for a session's state contains.
const CENSUS: &str = "SELECT 'b', 'statement_timeout'";

/// True for the body of the Query with which pgring asks for a session's state.
pub fn is_state_query(body: &[u8]) -> bool {
    String::from_utf8_lossy(body).contains(CENSUS)
}

/// The whole answer to it: who the session user is, settings, and a letter for each thing that cannot be carried.
pub fn state_query(user: &str, settings: &[(&str, &str)], letters: &str) -> Vec<u8> {
    let setting = |(name, value): &(&str, &str)| row(&["s", &hex(name), &hex(value)]);
    let letter = |letter: char| row_with_nulls(&[Some(&letter.to_string()), None, None]);
    let mut answer = columns(&["?column?", "name", "setting"]);
    answer.extend(settings.iter().flat_map(setting));
    answer.extend(row_with_nulls(&[Some("u"), None, Some(&hex(user))]));
    answer.extend(letters.chars().flat_map(letter));
    answer.extend(all([command_complete("SELECT 1"), ready()]));
    answer
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// The Query with which a connection is given these settings, by name and literal; without a value one is reset.
/// Should that fail, the server is to end the connection.
pub fn give(settings: &[(&str, Option<&str>)]) -> Vec<u8> {
    let guard = "pg_catalog.set_config(E'exit_on_error',E'on',true), ";
    query(&format!("SELECT {guard}{}", calls(settings)))
}

/// The same within somebody's transaction.
pub fn give_inside(settings: &[(&str, Option<&str>)]) -> Vec<u8> {
    query(&format!("SELECT {}", calls(settings)))
}

fn calls(settings: &[(&str, Option<&str>)]) -> String {
    let value =
        |value: Option<&str>| value.map_or("NULL".to_owned(), |value| format!("E'{value}'"));
    let calls: Vec<_> = settings
        .iter()
        .map(|(name, given)| format!("pg_catalog.set_config(E'{name}',{},false)", value(*given)))
        .collect();
    calls.join(", ")
}

// === Reading ===

/// The columns of a DataRow as text; NULL is `None`.
pub fn values(frame: Frame<'_>) -> Vec<Option<String>> {
    assert_eq!(frame.tag, DATA_ROW);
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let columns = DataRow::read(frame.body).unwrap();
    columns.map(|value| value.map(text)).collect()
}

/// SQLSTATE and message of an ErrorResponse or NoticeResponse.
pub fn error_fields(body: &[u8]) -> (String, String) {
    let fields = ErrorFields::read(body).unwrap();
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    (
        fields.field(b'C').map(text).unwrap_or_default(),
        text(fields.message()),
    )
}
