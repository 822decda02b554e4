//! Views over the bodies of messages that a client sends. Names and texts are bytes in the client's encoding.
//! Never copies, never checks what the server checks anyway (a Bind's parameters pass as they are).

use super::error::ProtocolError;
use super::reader::Reader;
use super::tag::Tag;

/// Simple query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// One or more statements.
    pub text: &'a [u8],
}

impl<'a> Query<'a> {
    /// Reads the body of a Query.
    pub fn read(body: &'a [u8]) -> Result<Query<'a>, ProtocolError> {
        let mut reader = Reader::new(body);
        let text = reader.cstr()?;
        reader.finish()?;
        Ok(Query { text })
    }
}

/// Parse: prepares a statement.
#[derive(Clone, Copy, Debug)]
pub struct Parse<'a> {
    /// Name of the statement, empty for the unnamed one.
    pub name: &'a [u8],
    /// One statement.
    pub text: &'a [u8],
    /// Types of its first parameters, 0 where the server shall find out.
    pub parameter_types: Oids<'a>,
}

impl<'a> Parse<'a> {
    /// Reads the body of a Parse.
    pub fn read(body: &'a [u8]) -> Result<Parse<'a>, ProtocolError> {
        let mut reader = Reader::new(body);
        let name = reader.cstr()?;
        let text = reader.cstr()?;
        let parameter_types = Oids::read(&mut reader)?;
        reader.finish()?;
        Ok(Parse {
            name,
            text,
            parameter_types,
        })
    }
}

/// A counted list of oids, whole.
#[derive(Clone, Copy, Debug)]
pub struct Oids<'a> {
    reader: Reader<'a>,
}

impl<'a> Oids<'a> {
    /// Reads the 16-bit count and as many oids.
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Oids<'a>, ProtocolError> {
        let count = usize::from(reader.u16()?);
        let oids = reader.bytes(count * size_of::<u32>())?;
        Ok(Oids {
            reader: Reader::new(oids),
        })
    }
}

impl Iterator for Oids<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        self.reader.u32().ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = self.reader.remaining() / size_of::<u32>();
        (count, Some(count))
    }
}

impl ExactSizeIterator for Oids<'_> {}

/// Bind: makes a portal of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind<'a> {
    /// Name of the portal, empty for the unnamed one.
    pub portal: &'a [u8],
    /// Name of the statement, empty for the unnamed one.
    pub statement: &'a [u8],
    /// Formats and parameters and result formats, unread: they pass to the server, which checks them.
    pub rest: &'a [u8],
}

impl<'a> Bind<'a> {
    /// Reads the two names of a Bind. They may be complete before the rest of the message has arrived.
    pub fn read(body: &'a [u8]) -> Result<Bind<'a>, ProtocolError> {
        let mut reader = Reader::new(body);
        let portal = reader.cstr()?;
        let statement = reader.cstr()?;
        Ok(Bind {
            portal,
            statement,
            rest: reader.rest(),
        })
    }
}

/// Kind of object that Describe and Close name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A prepared statement.
    Statement,
    /// A portal.
    Portal,
}

impl Target {
    /// The letter on the wire.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Target::Statement => b'S',
            Target::Portal => b'P',
        }
    }

    fn from_byte(byte: u8) -> Result<Target, ProtocolError> {
        match byte {
            b'S' => Ok(Target::Statement),
            b'P' => Ok(Target::Portal),
            other => Err(ProtocolError::UnknownTarget { kind: Tag(other) }),
        }
    }
}

/// Body of Describe and of Close, which are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named<'a> {
    /// Statement or portal.
    pub target: Target,
    /// Its name, empty for the unnamed one.
    pub name: &'a [u8],
}

impl<'a> Named<'a> {
    /// Reads the body of a Describe or Close.
    pub fn read(body: &'a [u8]) -> Result<Named<'a>, ProtocolError> {
        let mut reader = Reader::new(body);
        let target = Target::from_byte(reader.u8()?)?;
        let name = reader.cstr()?;
        reader.finish()?;
        Ok(Named { target, name })
    }
}

/// The shape of a statement or portal is asked for.
pub type Describe<'a> = Named<'a>;

/// A statement or portal is given up.
pub type Close<'a> = Named<'a>;

/// Execute: runs a portal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Execute<'a> {
    /// Name of the portal, empty for the unnamed one.
    pub portal: &'a [u8],
    /// Rows after which to suspend; 0 or below means all.
    pub max_rows: i32,
}

impl<'a> Execute<'a> {
    /// Reads the body of an Execute.
    pub fn read(body: &'a [u8]) -> Result<Execute<'a>, ProtocolError> {
        let mut reader = Reader::new(body);
        let portal = reader.cstr()?;
        let max_rows = reader.i32()?;
        reader.finish()?;
        Ok(Execute { portal, max_rows })
    }
}

/// FunctionCall: runs a function by its oid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionCall<'a> {
    /// The function.
    pub function: u32,
    /// Formats and arguments, unread: they pass to the server, which checks them.
    pub rest: &'a [u8],
}

impl<'a> FunctionCall<'a> {
    /// Reads the oid of a FunctionCall.
    pub fn read(body: &'a [u8]) -> Result<FunctionCall<'a>, ProtocolError> {
        let mut reader = Reader::new(body);
        let function = reader.u32()?;
        Ok(FunctionCall {
            function,
            rest: reader.rest(),
        })
    }
}

/// CopyFail: the client gives up a COPY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyFail<'a> {
    /// Why.
    pub message: &'a [u8],
}

impl<'a> CopyFail<'a> {
    /// Reads the body of a CopyFail.
    pub fn read(body: &'a [u8]) -> Result<CopyFail<'a>, ProtocolError> {
        let mut reader = Reader::new(body);
        let message = reader.cstr()?;
        reader.finish()?;
        Ok(CopyFail { message })
    }
}

/// Answer to a request for a clear-text or md5 password.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Password<'a> {
    /// The password, or `md5` and 32 hexadecimal digits.
    pub password: &'a [u8],
}

impl<'a> Password<'a> {
    /// Reads the body of a PasswordMessage.
    pub fn read(body: &'a [u8]) -> Result<Password<'a>, ProtocolError> {
        let mut reader = Reader::new(body);
        let password = reader.cstr()?;
        reader.finish()?;
        Ok(Password { password })
    }
}

/// First message of a SASL exchange.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SaslInitialResponse<'a> {
    /// The mechanism the client chose.
    pub mechanism: &'a [u8],
    /// Its first message, when it sends one at once.
    pub data: Option<&'a [u8]>,
}

impl<'a> SaslInitialResponse<'a> {
    /// Reads the body of a SASLInitialResponse.
    pub fn read(body: &'a [u8]) -> Result<SaslInitialResponse<'a>, ProtocolError> {
        let mut reader = Reader::new(body);
        let mechanism = reader.cstr()?;
        let data = reader.value()?;
        reader.finish()?;
        Ok(SaslInitialResponse { mechanism, data })
    }
}

/// Later message of a SASL exchange.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SaslResponse<'a> {
    /// Whatever the mechanism wants said.
    pub data: &'a [u8],
}

impl<'a> SaslResponse<'a> {
    /// Takes the body of a SASLResponse; it has no inner structure.
    #[must_use]
    pub const fn read(body: &'a [u8]) -> SaslResponse<'a> {
        SaslResponse { data: body }
    }
}
