//! Views over the bodies of messages that a client sends. Names and texts are bytes in the client's encoding.
//! Never copies, never checks what the server checks anyway (a Bind's parameters pass as they are).

use super::error::ProtocolError;
use super::reader::Reader;
use super::tag::{Tag, frontend};

/// Simple query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// One or more statements, or the beginning of them.
    pub text: &'a [u8],
    /// The text has its end.
    pub is_whole: bool,
}

impl<'a> Query<'a> {
    /// Reads the body of a Query, or the beginning of one. A text with a NUL in it, which a server refuses, is left as it is.
    #[inline]
    #[must_use]
    pub const fn read(body: &'a [u8]) -> Query<'a> {
        match body.split_last() {
            Some((0, text)) => Query {
                text,
                is_whole: true,
            },
            _ => Query {
                text: body,
                is_whole: false,
            },
        }
    }

    /// The text, when it has its end, and no NUL in front of that.
    #[inline]
    pub fn whole(self) -> Result<&'a [u8], ProtocolError> {
        let left = self.text.len();
        match memchr::memchr(0, self.text) {
            Some(at) => Err(ProtocolError::TrailingBytes { count: left - at }),
            None if self.is_whole => Ok(self.text),
            None => Err(ProtocolError::MissingTerminator { left }),
        }
    }
}

/// Parse: prepares a statement.
#[derive(Clone, Copy, Debug)]
pub struct Parse<'a> {
    /// Name of the statement, empty for the unnamed one.
    pub name: &'a [u8],
    /// Everything behind the name: the text, its NUL, and the types of parameters; or the beginning of it.
    pub content: &'a [u8],
}

impl<'a> Parse<'a> {
    /// Reads the body of a Parse as far as its name, which must have its end.
    #[inline]
    pub fn read(body: &'a [u8]) -> Result<Parse<'a>, ProtocolError> {
        let mut reader = Reader::new(body);
        let name = reader.cstr()?;
        Ok(Parse {
            name,
            content: reader.rest(),
        })
    }

    /// The statement, when it has its end.
    #[inline]
    pub fn text(self) -> Result<&'a [u8], ProtocolError> {
        Reader::new(self.content).cstr()
    }

    /// The statement, or the beginning of it.
    #[inline]
    #[must_use]
    pub fn beginning(self) -> &'a [u8] {
        self.text().unwrap_or(self.content)
    }

    /// Types of the first parameters, 0 where the server shall find out.
    pub fn parameter_types(self) -> Result<Oids<'a>, ProtocolError> {
        let mut reader = Reader::new(self.content);
        reader.cstr()?;
        let types = Oids::read(&mut reader)?;
        reader.finish()?;
        Ok(types)
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

/// Name of a prepared statement where a Bind uses it, or a Describe or Close of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatementUse<'a> {
    /// Bytes in front of the name: a Bind's portal without its NUL, else the kind of object.
    pub before: &'a [u8],
    /// The name, empty for the unnamed statement.
    pub name: &'a [u8],
    /// Length of the body up to and with the name's NUL.
    pub bytes: usize,
}

impl<'a> StatementUse<'a> {
    /// Reads the body of a Bind, Describe or Close, or the beginning of one. `None` when it names no statement, or
    /// cannot be read.
    #[inline]
    #[must_use]
    pub fn read(tag: Tag, body: &'a [u8]) -> Option<StatementUse<'a>> {
        if tag == frontend::BIND {
            let bind = Bind::read(body).ok()?;
            return Some(StatementUse {
                before: bind.portal,
                name: bind.statement,
                bytes: body.len() - bind.rest.len(),
            });
        }
        let named = Named::read(body).ok()?;
        (named.target == Target::Statement).then_some(StatementUse {
            before: body.get(..1).unwrap_or_default(),
            name: named.name,
            bytes: body.len(),
        })
    }
}

/// Portal that a Describe or Close names. `None` when it names none, or cannot be read.
#[must_use]
pub fn named_portal(body: &[u8]) -> Option<&[u8]> {
    let named = Named::read(body).ok()?;
    (named.target == Target::Portal).then_some(named.name)
}

/// True for messages in which a prepared statement may be named.
#[inline]
#[must_use]
pub const fn may_name_statement(tag: Tag) -> bool {
    matches!(
        tag,
        frontend::PARSE | frontend::BIND | frontend::DESCRIBE | frontend::CLOSE
    )
}

/// True when the names in the body of a message that is not whole yet have their ends.
#[must_use]
pub fn has_names(tag: Tag, body: &[u8]) -> bool {
    let names = match tag {
        frontend::BIND => 2,
        _ => 1,
    };
    memchr::memchr_iter(0, body).take(names).count() == names
}

/// True for messages that get an answer.
#[must_use]
pub const fn is_request(tag: Tag) -> bool {
    matches!(
        tag,
        frontend::QUERY
            | frontend::PARSE
            | frontend::BIND
            | frontend::DESCRIBE
            | frontend::EXECUTE
            | frontend::CLOSE
            | frontend::SYNC
            | frontend::FUNCTION_CALL
    )
}

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
