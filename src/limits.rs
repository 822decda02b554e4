//! Every bound of the program that is not a setting: its name, its unit, its reason.

/// Longest startup packet accepted, in bytes (PostgreSQL: `MAX_STARTUP_PACKET_LENGTH`).
pub const STARTUP_BYTES_MAX: usize = 10_000;

/// Longest password or SASL message of a client, in bytes (PostgreSQL: `PG_MAX_AUTH_TOKEN_LENGTH`).
pub const AUTHENTICATION_BYTES_MAX: usize = 65_535;

/// Longest message the protocol can name: the length field is a signed 32-bit number.
pub const MESSAGE_BYTES_MAX: usize = i32::MAX as usize;

/// Longest message that is held whole because its content must be understood, in bytes. A longer one streams
/// through and goes to the primary.
pub const HELD_MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Longest Parse that is kept, to be parsed again on another connection, in bytes; and where the names in a
/// message must end. A session with a longer one keeps its connection.
pub const STATEMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of long messages that one core holds until they are whole, or until there is a server connection for them. Beyond
/// that one streams to the server as it comes, as if it were longer than [`STATEMENT_BYTES_MAX`].
pub const HELD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Longest text that may be found to be a read, in bytes: less than a millisecond's work of one core. What is longer
/// goes to the primary.
pub const ROUTED_TEXT_BYTES_MAX: usize = 256 * 1024;

/// Shared statements one core remembers before it forgets those that no client and no connection has: so many at least,
/// and as many as are in use.
pub const STATEMENTS_KEPT_MAX: usize = 16 * 1024;

/// Bytes of the statements that one server connection has: what was not used for longest is closed there first.
pub const PREPARED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of the shared statements that one core remembers before it forgets those that no client and no connection has: so
/// many at least, and as many as are in use.
pub const STATEMENTS_KEPT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Invented settings (those with a dot in their names) one session may touch in one transaction; one that
/// touches more keeps its connection.
pub const CUSTOM_SETTINGS_MAX: usize = 64;

/// Longest pipeline that is kept to be run again when the server refuses a stale statement, in bytes.
pub const RECORDED_BYTES_MAX: usize = 4 * 1024;

/// Bytes of a page that short pieces of our own are written into.
pub const SCRAP_PAGE_BYTES: usize = 16 * 1024;

/// Longest ErrorResponse or ParameterStatus of a server that is held whole, in bytes.
pub const SERVER_MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Longest description of a prepared statement that is held whole, in bytes: PostgreSQL has at most 65535 parameters of
/// four bytes, and 1664 columns of 82.
pub const DESCRIPTION_BYTES_MAX: usize = 260 * 1024;

/// Operations one worker may queue between two system calls; more are submitted early.
pub const RING_ENTRIES: u32 = 4096;

/// Completions one worker's ring holds; the kernel keeps what overflows, at a cost.
pub const RING_COMPLETIONS: u32 = 4 * RING_ENTRIES;

/// Bytes of one receive buffer for clients: most statements fit, and idle ones hold none.
pub const CLIENT_BUFFER_BYTES: usize = 4 * 1024;

/// Bytes of one receive buffer for servers: results are larger than statements.
pub const SERVER_BUFFER_BYTES: usize = 16 * 1024;

/// Buffers one socket may have received and not yet handed to its task; then receiving pauses.
pub const INBOUND_BUFFERS_MAX: usize = 8;

/// Pieces gathered into one send.
pub const SEND_PIECES_MAX: usize = 16;

/// Longest send of several pieces that are copied to lie one behind the other, in bytes.
pub const UNITED_SEND_BYTES_MAX: usize = 1024;

/// Bytes that are copied for that in one turn.
pub const UNITED_BYTES: usize = 128 * 1024;

/// Gathered sends in one turn; what is beyond goes out piece by piece.
pub const GATHERED_SENDS_MAX: usize = 512;

/// How long a closed connection may take to drain its last bytes, in milliseconds.
pub const LINGER_MS_MAX: u64 = 5_000;

/// How long accepting rests when the process is out of descriptors or memory, in milliseconds.
pub const ACCEPT_REST_MS: u64 = 100;

/// Rounds in which tasks may run between two turns of the reactor.
pub const TASK_ROUNDS_MAX: u32 = 4;

/// Longest body of a client message that never carries data, in bytes (PostgreSQL: `PQ_SMALL_MESSAGE_LIMIT`).
pub const SMALL_MESSAGE_BYTES_MAX: usize = 10_000;

/// Shortest cancel key, in bytes: the only length protocol 3.0 knows.
pub const CANCEL_KEY_BYTES_MIN: usize = 4;

/// Longest cancel key, in bytes: the bound of protocol 3.2.
pub const CANCEL_KEY_BYTES_MAX: usize = 256;

/// Messages of one client whose answers may be outstanding; then it must wait. Far above what fills the
/// server's output buffer, so that the server always has something to send when a client waits.
pub const OUTSTANDING_MESSAGES_MAX: usize = 16 * 1024;

/// Most PBKDF2 rounds a verifier or a server may ask for: about a fifth of a second of one CPU.
pub const SCRAM_ITERATIONS_MAX: u32 = 1_000_000;

/// Longest salt of a verifier or a server, in bytes. PostgreSQL makes salts of 16.
pub const SCRAM_SALT_BYTES_MAX: usize = 1024;

/// Different sets of session settings one core remembers before it forgets the unused ones.
pub const PARAMETER_SETS_MAX: usize = 1024;

/// Budgets of pools remembered before those of forgotten pools are looked for.
pub const BUDGETS_KEPT_MAX: usize = 1024;

/// Messages that may wait in one core's mailbox.
pub const MAILBOX_MESSAGES_MAX: usize = 4096;

/// Longest message of a server during its login, in bytes.
pub const LOGIN_MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Longest message that the control core reads in answer to its own questions, in bytes: longer than any row
/// of a catalog.
pub const LINE_MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// Most bytes of one such answer: the catalog of a database with a million functions.
pub const LINE_ROWS_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Receive buffers of the control core, in bytes. It reads few bytes at a time, from each node.
pub const CONTROL_BUFFERS_BYTES: usize = 1024 * 1024;

/// Samples of how far the primary had written: enough for hours at the usual pace, since they are thinned out
/// as they get older.
pub const LAG_SAMPLES_MAX: usize = 1024;

/// Databases whose catalogs are kept.
pub const CATALOGS_MAX: usize = 1000;

/// Databases that are asked for their catalogs at a time: each takes a connection to the primary.
pub const CATALOG_LOADS_MAX: usize = 4;

/// How long the catalog of one database may take, even if `[health] timeout` is shorter.
pub const CATALOG_MS_MAX: u64 = 60_000;

/// Pause between two looks at the catalog of one database, at least.
pub const CATALOG_PAUSE_MS: u64 = 10;

/// How long what is known of a database is relied on after nothing was seen to have changed: so long may a change that did
/// not pass through pgring go unnoticed. At least; more where it takes long to look.
pub const CATALOG_AGE_MS_MAX: u64 = 1_000;

/// How often it is looked whether anything has changed, at most.
pub const CATALOG_CHECK_MS: u64 = 300;

/// Looks for changes may take so much of the time, as one part in so many.
pub const CATALOG_CHECK_SHARE: u64 = 20;

/// A database that nobody has used for so long is not looked at, and its connection is closed.
pub const CATALOG_UNUSED_MS: u64 = 5_000;

/// How long a session waits until something is known of its database after it has changed the schema itself, or where the
/// catalogs could not be read.
pub const FACTS_WAIT_MS_MAX: u64 = 1_000;

/// How long it waits at first, while the catalogs are being read: of whom nothing is known anything is feared, for life.
pub const FIRST_FACTS_WAIT_MS_MAX: u64 = 10_000;

/// How often a statement that no node takes is judged anew, in milliseconds.
pub const HOLD_LOOK_MS: u64 = 100;

/// How often a read looks again whether the standby that has to take it has come far enough.
pub const POSITION_WAIT_MS: u64 = 2;

/// How long it waits for a standby that has to be asked, before another node takes it.
pub const POSITION_ASK_MS_MAX: u64 = 20;

/// How long a read waits for that, at most.
pub const POSITION_WAIT_MS_MAX: u64 = 1_000;

/// A primary that could not tell how far it has written is left alone with that question for so long.
pub const POSITION_REST_MS: u64 = 1_000;

/// Pause after a look at the catalog of a database that failed.
pub const CATALOG_RETRY_MS: u64 = 1_000;

/// How often the control core asks the nodes what seldom changes: who follows whom.
pub const FACTS_MS: u64 = 1_000;

/// Memory glommio may register for file I/O on a worker, in bytes: workers do none.
pub const WORKER_IO_MEMORY_BYTES: usize = 64 * 1024;

/// How often glommio looks at its own reactor, which has nothing to do on a worker.
pub const PREEMPT_TIMER: std::time::Duration = std::time::Duration::from_secs(60);

/// Clients above `max_clients` that may be told so at the same time; what is beyond is closed unheard.
pub const REFUSED_CLIENTS_MAX: u32 = 256;

/// How long a cancel request to a server may take, in seconds.
pub const CANCEL_SECONDS_MAX: u64 = 10;

/// Cancel requests to servers under way at the same time, per worker; those beyond are dropped.
pub const CANCELS_MAX: u32 = 64;

/// How long a server may take to end a query that pgring cancelled for its length, in milliseconds.
pub const CANCEL_GRACE_MS: u64 = 5_000;

/// How long a console waits for the other cores' reports, in seconds; then it shows what it has.
pub const REPORT_SECONDS_MAX: u64 = 2;

/// Descriptors beside those of clients: server connections, rings, files.
pub const DESCRIPTORS_SPARE: u64 = 256;

/// Descriptors one ring knows by number; sockets beyond are named by their descriptor, a little more slowly.
pub const REGISTERED_DESCRIPTORS_MAX: u32 = 32 * 1024;

/// How long a server may take to end a connection that pgring has closed, in milliseconds; until then the connection
/// counts. One that is busy with a long statement notices later.
pub const FAREWELL_MS_MAX: u64 = 1_000;

/// Bytes that a server may still send in [`FAREWELL_MS_MAX`]; one that sends more is cut off.
pub const FAREWELL_BYTES_MAX: usize = 64 * 1024;

/// By how much longer another core's first client must have waited than one's own before a connection changes
/// cores, in microseconds; many times what the change itself takes.
pub const HAND_OVER_ORDER_US: u64 = 1_000;

/// By how much longer a client of another pool must have waited before a connection is closed for it that clients
/// of its own pool wait for, in microseconds; many times what a login takes.
pub const EVICTION_ORDER_US: u64 = 100_000;

/// By how much longer that client must have waited besides, as a part of one's own wait: where all wait for long, an
/// eighth more or less is no difference.
pub const ORDER_PART_OF_WAIT: u64 = 8;

/// Questions to pgring itself (`SHOW POOL_NODES`) that one client may have prepared and bound: nobody needs more than
/// a handful.
pub const QUESTIONS_MAX: usize = 100;

/// A statement for which a database must be left runs for so long before it is, in milliseconds: the server refuses it
/// sooner to those who may not.
pub const VACATE_AFTER_MS: u64 = 50;

/// How long nobody connects to a database by himself once a statement has asked for it to be left, in milliseconds: as
/// long as PostgreSQL waits for it (its `CountOtherDBBackends`), and a little.
pub const VACANT_MS: u64 = 6_000;
