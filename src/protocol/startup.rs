//! The first packet of a connection, which has no tag: startup, TLS or GSS request, or cancel request.
//! Valid here is what PostgreSQL 18 finds valid. Never decides who may connect.

use super::error::ProtocolError;
use super::reader::Reader;
pub use super::version::ProtocolVersion;
use crate::limits::{CANCEL_KEY_BYTES_MAX, CANCEL_KEY_BYTES_MIN, STARTUP_BYTES_MAX};

/// Bytes of the length field, which counts itself.
const LENGTH_BYTES: usize = 4;

/// Shortest packet: its length and a version or request code.
const PACKET_BYTES_MIN: usize = 8;

/// Longest packet: PostgreSQL's bound does not count the length field.
const PACKET_BYTES_MAX: usize = STARTUP_BYTES_MAX + LENGTH_BYTES;

/// First byte of a TLS handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

/// Beginning of the names of protocol options; all other parameters are settings.
const PROTOCOL_OPTION_PREFIX: &[u8] = b"_pq_.";

/// The first packet of a connection.
#[derive(Clone, Copy, Debug)]
pub enum Initial<'a> {
    /// The client wants a session.
    Startup(StartupPacket<'a>),
    /// The client asks for TLS; it waits for one byte, `S` or `N`, and then starts over.
    Ssl,
    /// The client asks for GSSAPI encryption; it waits for one byte, `G` or `N`, and then starts over.
    Gss,
    /// The client wants another session's query stopped. It gets no answer.
    Cancel {
        /// From BackendKeyData.
        process_id: i32,
        /// From BackendKeyData: 4 to 256 bytes.
        key: &'a [u8],
    },
}

impl<'a> Initial<'a> {
    /// Reads the packet at the start of `bytes` and says how many bytes it takes; `None` when it is not whole yet.
    ///
    /// An impossible length is refused as soon as its four bytes are there.
    pub fn read(bytes: &'a [u8]) -> Result<Option<(Initial<'a>, usize)>, ProtocolError> {
        let Some(first) = bytes.first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let packet_bytes = packet_bytes(*first)?;
        let Some((packet, _)) = bytes.split_at_checked(packet_bytes) else {
            return Ok(None);
        };
        let mut reader = Reader::new(packet);
        reader.array::<LENGTH_BYTES>()?;
        Initial::parse(reader).map(|initial| Some((initial, packet_bytes)))
    }

    fn parse(mut reader: Reader<'a>) -> Result<Initial<'a>, ProtocolError> {
        match ProtocolVersion::from_u32(reader.u32()?) {
            ProtocolVersion::SSL => reader.finish().map(|()| Initial::Ssl),
            ProtocolVersion::GSS => reader.finish().map(|()| Initial::Gss),
            ProtocolVersion::CANCEL => cancel(reader),
            version => StartupPacket::parse(version, reader).map(Initial::Startup),
        }
    }
}

/// Checks the length of a first packet and recognizes the strangers that often knock on this port.
fn packet_bytes(first: [u8; LENGTH_BYTES]) -> Result<usize, ProtocolError> {
    let length = u32::from_be_bytes(first);
    if (PACKET_BYTES_MIN..=PACKET_BYTES_MAX).contains(&(length as usize)) {
        return Ok(length as usize);
    }
    Err(match &first {
        [TLS_HANDSHAKE, ..] => ProtocolError::TlsWithoutRequest,
        b"GET " | b"POST" | b"HEAD" | b"PUT " | b"OPTI" | b"CONN" | b"DELE" | b"PRI " => {
            ProtocolError::HttpRequest
        }
        _ => ProtocolError::StartupLength {
            length,
            min: PACKET_BYTES_MIN,
            max: PACKET_BYTES_MAX,
        },
    })
}

fn cancel(mut reader: Reader<'_>) -> Result<Initial<'_>, ProtocolError> {
    let process_id = reader.i32()?;
    let key = checked_cancel_key(reader.rest())?;
    Ok(Initial::Cancel { process_id, key })
}

/// Refuses a cancel key whose length no protocol version allows.
pub(super) fn checked_cancel_key(key: &[u8]) -> Result<&[u8], ProtocolError> {
    let (min, max) = (CANCEL_KEY_BYTES_MIN, CANCEL_KEY_BYTES_MAX);
    if (min..=max).contains(&key.len()) {
        return Ok(key);
    }
    Err(ProtocolError::CancelKeyLength {
        length: key.len(),
        min,
        max,
    })
}

/// A StartupMessage whose layout is valid and that names a user.
#[derive(Clone, Copy, Debug)]
pub struct StartupPacket<'a> {
    version: ProtocolVersion,
    parameters: Parameters<'a>,
    user: &'a [u8],
    database: &'a [u8],
}

impl<'a> StartupPacket<'a> {
    fn parse(
        version: ProtocolVersion,
        reader: Reader<'a>,
    ) -> Result<StartupPacket<'a>, ProtocolError> {
        if version.major != ProtocolVersion::V3_0.major {
            return Err(ProtocolError::UnsupportedVersion { requested: version });
        }
        let parameters = Parameters { reader };
        parameters.check_layout()?;
        let mut packet = StartupPacket {
            version,
            parameters,
            user: b"",
            database: b"",
        };
        packet.user = packet.parameter(b"user").unwrap_or_default();
        packet.database = packet.parameter(b"database").unwrap_or_default();
        match packet.user {
            b"" => Err(ProtocolError::MissingUser),
            _ => Ok(packet),
        }
    }

    /// The version the client asks for: 3 and any minor version.
    #[must_use]
    pub const fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// User that connects: the last `user` of the packet; never empty.
    #[must_use]
    pub const fn user(&self) -> &'a [u8] {
        self.user
    }

    /// Where to: the database, or the user's name when it is absent or empty.
    #[must_use]
    pub const fn database(&self) -> &'a [u8] {
        if self.database.is_empty() {
            self.user
        } else {
            self.database
        }
    }

    /// Every parameter in the order of the packet, user and database and protocol options included.
    #[must_use]
    pub const fn parameters(&self) -> Parameters<'a> {
        self.parameters
    }

    /// Value of one parameter; the last one counts when it is given twice, as in PostgreSQL.
    #[must_use]
    pub fn parameter(&self, name: &[u8]) -> Option<&'a [u8]> {
        let same = |(given, value)| (given == name).then_some(value);
        self.parameters().filter_map(same).last()
    }

    /// Settings that the session starts with: all parameters but user, database and protocol options.
    /// `options` and `replication` are among them.
    pub fn settings(&self) -> impl Iterator<Item = Pair<'a>> + Clone + use<'a> {
        let setting =
            |name: &[u8]| !matches!(name, b"user" | b"database") && !is_protocol_option(name);
        self.parameters().filter(move |(name, _)| setting(name))
    }

    /// Names and values of the protocol options (`_pq_.*`), prefix included.
    pub fn protocol_options(&self) -> impl Iterator<Item = Pair<'a>> + Clone + use<'a> {
        self.parameters()
            .filter(|(name, _)| is_protocol_option(name))
    }

    /// Which version is spoken, and what to answer before authentication when it, or an option, is not what was asked for.
    ///
    /// `newest` is what is offered instead of later ones. With 3.2 it is as PostgreSQL 18: 3.1 was never released and is
    /// accepted in silence (it means 3.0). With 3.0 it is as those before.
    #[must_use]
    pub fn negotiate(&self, newest: ProtocolVersion) -> (ProtocolVersion, Option<Negotiation<'a>>) {
        let accepted = self.version.min(newest);
        let differs = accepted != self.version || self.protocol_options().next().is_some();
        (
            accepted,
            differs.then_some(Negotiation {
                newest: accepted,
                packet: *self,
            }),
        )
    }
}

fn is_protocol_option(name: &[u8]) -> bool {
    name.starts_with(PROTOCOL_OPTION_PREFIX)
}

/// Content of the NegotiateProtocolVersion that a startup packet calls for.
#[derive(Clone, Copy, Debug)]
pub struct Negotiation<'a> {
    newest: ProtocolVersion,
    packet: StartupPacket<'a>,
}

impl<'a> Negotiation<'a> {
    /// The version that is spoken from now on.
    #[must_use]
    pub const fn version(&self) -> ProtocolVersion {
        self.newest
    }

    /// Names of the protocol options we do not know, which today are all of them.
    pub fn unknown_options(&self) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        self.packet.protocol_options().map(|(name, _)| name)
    }
}

/// Name and value of a startup parameter.
pub type Pair<'a> = (&'a [u8], &'a [u8]);

/// Names and values of a startup packet, in order.
#[derive(Clone, Copy, Debug)]
pub struct Parameters<'a> {
    reader: Reader<'a>,
}

impl<'a> Parameters<'a> {
    fn pair(&mut self) -> Result<Option<Pair<'a>>, ProtocolError> {
        match self.reader.cstr()? {
            b"" => Ok(None),
            name => self.reader.cstr().map(|value| Some((name, value))),
        }
    }

    /// The empty name that ends the list must be the last byte of the packet.
    fn check_layout(mut self) -> Result<(), ProtocolError> {
        while let Some(_pair) = self.pair().map_err(|_| ProtocolError::StartupLayout)? {}
        self.reader
            .finish()
            .map_err(|_| ProtocolError::StartupLayout)
    }
}

impl<'a> Iterator for Parameters<'a> {
    type Item = Pair<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.pair().ok().flatten()
    }
}

#[cfg(test)]
mod tests;
