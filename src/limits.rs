//! Every bound of the program that is not a setting: its name, its unit, its reason.

/// Longest startup packet accepted, in bytes (PostgreSQL: `MAX_STARTUP_PACKET_LENGTH`).
pub const STARTUP_BYTES_MAX: usize = 10_000;

/// Longest password or SASL message of a client, in bytes (PostgreSQL: `PG_MAX_AUTH_TOKEN_LENGTH`).
pub const AUTHENTICATION_BYTES_MAX: usize = 65_535;

/// Longest message the protocol can name: the length field is a signed 32-bit number.
pub const MESSAGE_BYTES_MAX: usize = i32::MAX as usize;

/// Longest message that is held whole because its content must be understood, in bytes.
/// What is longer streams through and goes to the primary.
pub const HELD_MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Longest ErrorResponse or ParameterStatus of a server that is held whole, in bytes.
pub const SERVER_MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Longest body of a client message that never carries data, in bytes (PostgreSQL: `PQ_SMALL_MESSAGE_LIMIT`).
pub const SMALL_MESSAGE_BYTES_MAX: usize = 10_000;

/// Shortest cancel key, in bytes: the only length protocol 3.0 knows.
pub const CANCEL_KEY_BYTES_MIN: usize = 4;

/// Longest cancel key, in bytes: the bound of protocol 3.2.
pub const CANCEL_KEY_BYTES_MAX: usize = 256;

/// Most PBKDF2 rounds a verifier or a server may ask for: about a fifth of a second of one CPU.
pub const SCRAM_ITERATIONS_MAX: u32 = 1_000_000;

/// Longest salt of a verifier or a server, in bytes. PostgreSQL makes salts of 16.
pub const SCRAM_SALT_BYTES_MAX: usize = 1024;
