//! The version number that a first packet carries, and the request codes that stand in its place.
//! Never decides which version is spoken.

use std::fmt;

/// A protocol version, or the request code that stands in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProtocolVersion {
    /// 3 since PostgreSQL 7.4; 1234 for request codes.
    pub major: u16,
    /// 0 until PostgreSQL 17, 2 since 18.
    pub minor: u16,
}

impl ProtocolVersion {
    /// The version that every server and client speaks.
    pub const V3_0: ProtocolVersion = ProtocolVersion { major: 3, minor: 0 };
    /// Adds cancel keys of up to 256 bytes. The newest version we speak.
    pub const V3_2: ProtocolVersion = ProtocolVersion { major: 3, minor: 2 };
    /// Code of a CancelRequest.
    pub(super) const CANCEL: ProtocolVersion = ProtocolVersion {
        major: 1234,
        minor: 5678,
    };
    /// Code of an SSLRequest.
    pub(super) const SSL: ProtocolVersion = ProtocolVersion {
        major: 1234,
        minor: 5679,
    };
    /// Code of a GSSENCRequest.
    pub(super) const GSS: ProtocolVersion = ProtocolVersion {
        major: 1234,
        minor: 5680,
    };

    /// As on the wire: the major version in the high 16 bits.
    #[must_use]
    pub const fn from_u32(wire: u32) -> ProtocolVersion {
        ProtocolVersion {
            major: (wire >> 16) as u16,
            minor: (wire & 0xffff) as u16,
        }
    }

    /// As on the wire: the major version in the high 16 bits.
    #[must_use]
    pub const fn to_u32(self) -> u32 {
        ((self.major as u32) << 16) | self.minor as u32
    }

    /// Whether cancel keys may be longer than 4 bytes.
    #[must_use]
    pub fn has_long_cancel_keys(self) -> bool {
        self >= ProtocolVersion::V3_2
    }
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}
