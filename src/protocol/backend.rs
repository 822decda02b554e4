//! Views over the bodies of messages that a server sends. Names and texts are bytes in the server's encoding.
//! Never copies; lists are checked once when read, so that walking them cannot fail.

use super::error::{ErrorReport, ProtocolError, Severity};
pub use super::frontend::Oids;
use super::reader::Reader;
use super::sqlstate::SqlState;
use super::startup::checked_cancel_key;
use super::tag::Tag;
use super::version::ProtocolVersion;

/// Proof that the server wants before it lets us in, or its word that we are in.
#[derive(Clone, Copy, Debug)]
pub enum Authentication<'a> {
    /// We are in.
    Ok,
    /// It wants the password as it is.
    Cleartext,
    /// It wants md5(md5(password, user), salt).
    Md5 {
        /// Four random bytes.
        salt: [u8; 4],
    },
    /// It wants a SASL exchange.
    Sasl {
        /// Names of the mechanisms it offers.
        mechanisms: Strings<'a>,
    },
    /// A step of the SASL exchange.
    SaslContinue {
        /// The mechanism's message.
        data: &'a [u8],
    },
    /// The last step of the SASL exchange.
    SaslFinal {
        /// The mechanism's message.
        data: &'a [u8],
    },
    /// A method we do not speak: Kerberos, GSSAPI, SSPI or one yet to be invented.
    Other {
        /// Its number.
        code: i32,
    },
}

impl<'a> Authentication<'a> {
    /// Reads the body of an Authentication message.
    pub fn read(body: &'a [u8]) -> Result<Authentication<'a>, ProtocolError> {
        let mut reader = Reader::new(body);
        let request = match reader.i32()? {
            0 => Authentication::Ok,
            3 => Authentication::Cleartext,
            5 => Authentication::Md5 {
                salt: reader.array()?,
            },
            10 => Authentication::Sasl {
                mechanisms: Strings::read_to_empty(&mut reader)?,
            },
            11 => Authentication::SaslContinue {
                data: reader.rest(),
            },
            12 => Authentication::SaslFinal {
                data: reader.rest(),
            },
            code => return Ok(Authentication::Other { code }),
        };
        reader.finish()?;
        Ok(request)
    }
}

/// A list of strings, whole.
#[derive(Clone, Copy, Debug)]
pub struct Strings<'a> {
    reader: Reader<'a>,
}

impl<'a> Strings<'a> {
    /// Reads strings up to the empty one that ends the list.
    fn read_to_empty(reader: &mut Reader<'a>) -> Result<Strings<'a>, ProtocolError> {
        let start = *reader;
        let mut bytes = 0;
        loop {
            match reader.cstr()? {
                b"" => break,
                text => bytes += text.len() + 1,
            }
        }
        Strings::over(start, bytes)
    }

    /// Reads `count` strings. A count beyond what the message can hold fails at its end.
    fn read_counted(reader: &mut Reader<'a>, count: u32) -> Result<Strings<'a>, ProtocolError> {
        let start = *reader;
        let mut bytes = 0;
        for _ in 0..count {
            bytes += reader.cstr()?.len() + 1;
        }
        Strings::over(start, bytes)
    }

    fn over(mut start: Reader<'a>, bytes: usize) -> Result<Strings<'a>, ProtocolError> {
        let strings = start.bytes(bytes)?;
        Ok(Strings {
            reader: Reader::new(strings),
        })
    }
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.reader.cstr().ok()
    }
}

/// A setting the server reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParameterStatus<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its value now.
    pub value: &'a [u8],
}

impl<'a> ParameterStatus<'a> {
    /// Reads the body of a ParameterStatus.
    pub fn read(body: &'a [u8]) -> Result<ParameterStatus<'a>, ProtocolError> {
        let mut reader = Reader::new(body);
        let name = reader.cstr()?;
        let value = reader.cstr()?;
        reader.finish()?;
        Ok(ParameterStatus { name, value })
    }
}

/// Numbers that a CancelRequest for this session must show.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BackendKeyData<'a> {
    /// Process id of the server's session.
    pub process_id: i32,
    /// The secret: 4 bytes in protocol 3.0, up to 256 since 3.2.
    pub key: &'a [u8],
}

impl<'a> BackendKeyData<'a> {
    /// Reads the body of a BackendKeyData.
    pub fn read(body: &'a [u8]) -> Result<BackendKeyData<'a>, ProtocolError> {
        let mut reader = Reader::new(body);
        let process_id = reader.i32()?;
        let key = checked_cancel_key(reader.rest())?;
        Ok(BackendKeyData { process_id, key })
    }
}

/// Where the session stands when the server is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum TransactionStatus {
    /// No transaction is open.
    #[default]
    Idle,
    /// A transaction is open.
    InTransaction,
    /// A transaction has failed and waits for its end.
    Failed,
}

impl TransactionStatus {
    /// Reads the body of a ReadyForQuery.
    #[inline]
    pub const fn read(body: &[u8]) -> Result<TransactionStatus, ProtocolError> {
        match body {
            b"I" => Ok(TransactionStatus::Idle),
            b"T" => Ok(TransactionStatus::InTransaction),
            b"E" => Ok(TransactionStatus::Failed),
            [] => Err(ProtocolError::Truncated { needed: 1, left: 0 }),
            [other] => Err(ProtocolError::UnknownTransactionStatus {
                status: Tag(*other),
            }),
            [_, more @ ..] => Err(ProtocolError::TrailingBytes { count: more.len() }),
        }
    }

    /// The letter on the wire.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            TransactionStatus::Idle => b'I',
            TransactionStatus::InTransaction => b'T',
            TransactionStatus::Failed => b'E',
        }
    }
}

/// Fields of an ErrorResponse or NoticeResponse, whole.
#[derive(Clone, Copy, Debug)]
pub struct ErrorFields<'a> {
    reader: Reader<'a>,
}

impl<'a> ErrorFields<'a> {
    /// Reads the body of an ErrorResponse or NoticeResponse.
    pub fn read(body: &'a [u8]) -> Result<ErrorFields<'a>, ProtocolError> {
        let mut reader = Reader::new(body);
        while reader.u8()? != 0 {
            reader.cstr()?;
        }
        reader.finish()?;
        Ok(ErrorFields {
            reader: Reader::new(body),
        })
    }

    /// Text of the field with this letter.
    #[must_use]
    pub fn field(&self, code: u8) -> Option<&'a [u8]> {
        let mut fields = *self;
        fields.find_map(|(given, text)| (given == code).then_some(text))
    }

    /// How bad it is, from the untranslated word, or from the translated one where that happens to be English.
    #[must_use]
    pub fn severity(&self) -> Option<Severity> {
        let word = self.field(b'V').or_else(|| self.field(b'S'))?;
        Severity::from_bytes(word)
    }

    /// The error code in the body of an error or a notice that is not looked at otherwise; `None` too for a body that cannot
    /// be read.
    #[must_use]
    pub fn sqlstate_in(body: &'a [u8]) -> Option<SqlState> {
        Self::read(body).ok()?.sqlstate()
    }

    /// The error code.
    #[must_use]
    pub fn sqlstate(&self) -> Option<SqlState> {
        self.field(b'C').and_then(SqlState::from_bytes)
    }

    /// Primary message (field `M`); empty when the server sent none.
    #[must_use]
    pub fn message(&self) -> &'a [u8] {
        self.field(b'M').unwrap_or_default()
    }

    /// An error of ours in the server's words: message, detail and hint. `unnamed`: its code when the server gave none.
    #[must_use]
    pub fn to_report(&self, severity: Severity, unnamed: SqlState) -> ErrorReport {
        let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
        let sqlstate = self.sqlstate().unwrap_or(unnamed);
        let mut report = ErrorReport::error(sqlstate, text(self.message()));
        report.severity = severity;
        report.detail = self.field(b'D').map(|detail| text(detail).into());
        report.hint = self.field(b'H').map(|hint| text(hint).into());
        report
    }
}

impl<'a> Iterator for ErrorFields<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        match self.reader.u8() {
            Ok(0) | Err(_) => None,
            Ok(code) => self.reader.cstr().ok().map(|text| (code, text)),
        }
    }
}

/// A command is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandComplete<'a> {
    /// The command and, for some, the number of rows: `INSERT 0 1`.
    pub command: &'a [u8],
}

impl<'a> CommandComplete<'a> {
    /// Reads the body of a CommandComplete.
    pub fn read(body: &'a [u8]) -> Result<CommandComplete<'a>, ProtocolError> {
        let mut reader = Reader::new(body);
        let command = reader.cstr()?;
        reader.finish()?;
        Ok(CommandComplete { command })
    }
}

/// Types of a statement's parameters.
#[derive(Clone, Copy, Debug)]
pub struct ParameterDescription<'a> {
    /// One oid for each parameter.
    pub types: Oids<'a>,
}

impl<'a> ParameterDescription<'a> {
    /// Reads the body of a ParameterDescription.
    pub fn read(body: &'a [u8]) -> Result<ParameterDescription<'a>, ProtocolError> {
        let mut reader = Reader::new(body);
        let types = Oids::read(&mut reader)?;
        reader.finish()?;
        Ok(ParameterDescription { types })
    }
}

/// One column of a RowDescription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// The table it comes from, or 0.
    pub table: u32,
    /// Its number in that table, or 0.
    pub column: i16,
    /// Its type.
    pub type_oid: u32,
    /// Bytes of a value; negative for types of varying width.
    pub type_bytes: i16,
    /// Modifier of the type, -1 for none.
    pub type_modifier: i32,
    /// 0 for text, 1 for binary.
    pub format: i16,
}

impl<'a> Field<'a> {
    /// A column of type text in text format, from no table.
    #[must_use]
    pub const fn text(name: &'a [u8]) -> Field<'a> {
        Field {
            name,
            table: 0,
            column: 0,
            type_oid: 25,
            type_bytes: -1,
            type_modifier: -1,
            format: 0,
        }
    }

    /// A column of type int8 in text format, from no table.
    #[must_use]
    pub const fn int8(name: &'a [u8]) -> Field<'a> {
        Field {
            type_oid: 20,
            type_bytes: 8,
            ..Field::text(name)
        }
    }

    fn read(reader: &mut Reader<'a>) -> Result<Field<'a>, ProtocolError> {
        Ok(Field {
            name: reader.cstr()?,
            table: reader.u32()?,
            column: reader.i16()?,
            type_oid: reader.u32()?,
            type_bytes: reader.i16()?,
            type_modifier: reader.i32()?,
            format: reader.i16()?,
        })
    }
}

/// Shape of the rows to come: iterates over its fields.
#[derive(Clone, Copy, Debug)]
pub struct RowDescription<'a> {
    reader: Reader<'a>,
    left: u16,
}

impl<'a> RowDescription<'a> {
    /// Reads the body of a RowDescription.
    pub fn read(body: &'a [u8]) -> Result<RowDescription<'a>, ProtocolError> {
        let mut reader = Reader::new(body);
        let left = reader.u16()?;
        let description = RowDescription { reader, left };
        for _ in 0..left {
            Field::read(&mut reader)?;
        }
        reader.finish()?;
        Ok(description)
    }
}

impl<'a> Iterator for RowDescription<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        self.left = self.left.checked_sub(1)?;
        Field::read(&mut self.reader).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left), Some(usize::from(self.left)))
    }
}

impl ExactSizeIterator for RowDescription<'_> {}

/// One row: iterates over its columns, `None` for null.
#[derive(Clone, Copy, Debug)]
pub struct DataRow<'a> {
    reader: Reader<'a>,
    left: u16,
}

impl<'a> DataRow<'a> {
    /// Reads the body of a DataRow.
    pub fn read(body: &'a [u8]) -> Result<DataRow<'a>, ProtocolError> {
        let mut reader = Reader::new(body);
        let left = reader.u16()?;
        let row = DataRow { reader, left };
        for _ in 0..left {
            reader.value()?;
        }
        reader.finish()?;
        Ok(row)
    }
}

impl<'a> Iterator for DataRow<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Option<&'a [u8]>> {
        self.left = self.left.checked_sub(1)?;
        self.reader.value().ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left), Some(usize::from(self.left)))
    }
}

impl ExactSizeIterator for DataRow<'_> {}

/// A NOTIFY that this session listens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotificationResponse<'a> {
    /// Process id of the session that notified.
    pub process_id: i32,
    /// The channel.
    pub channel: &'a [u8],
    /// Text given to NOTIFY; empty when there was none.
    pub payload: &'a [u8],
}

impl<'a> NotificationResponse<'a> {
    /// Reads the body of a NotificationResponse.
    pub fn read(body: &'a [u8]) -> Result<NotificationResponse<'a>, ProtocolError> {
        let mut reader = Reader::new(body);
        let process_id = reader.i32()?;
        let channel = reader.cstr()?;
        let payload = reader.cstr()?;
        reader.finish()?;
        Ok(NotificationResponse {
            process_id,
            channel,
            payload,
        })
    }
}

/// The server speaks an older minor version, or does not know some options.
#[derive(Clone, Copy, Debug)]
pub struct NegotiateProtocolVersion<'a> {
    /// Version that is spoken from now on.
    pub version: ProtocolVersion,
    /// Protocol options it does not know.
    pub unknown_options: Strings<'a>,
}

impl<'a> NegotiateProtocolVersion<'a> {
    /// Reads the body of a NegotiateProtocolVersion.
    pub fn read(body: &'a [u8]) -> Result<NegotiateProtocolVersion<'a>, ProtocolError> {
        let mut reader = Reader::new(body);
        let version = ProtocolVersion::from_u32(reader.u32()?);
        let count = reader.i32()?;
        let count = u32::try_from(count).map_err(|_| ProtocolError::NegativeCount { count })?;
        let unknown_options = Strings::read_counted(&mut reader, count)?;
        reader.finish()?;
        Ok(NegotiateProtocolVersion {
            version,
            unknown_options,
        })
    }
}

/// Body of CopyInResponse, CopyOutResponse and CopyBothResponse, which are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyResponse<'a> {
    /// 0 for text, 1 for binary.
    pub format: u8,
    /// Number of columns.
    pub columns: u16,
    formats: &'a [u8],
}

impl<'a> CopyResponse<'a> {
    /// Reads the body of a CopyInResponse, CopyOutResponse or CopyBothResponse.
    pub fn read(body: &'a [u8]) -> Result<CopyResponse<'a>, ProtocolError> {
        let mut reader = Reader::new(body);
        let format = reader.u8()?;
        let columns = reader.u16()?;
        let formats = reader.bytes(usize::from(columns) * size_of::<i16>())?;
        reader.finish()?;
        Ok(CopyResponse {
            format,
            columns,
            formats,
        })
    }

    /// Format of each column: 0 for text, 1 for binary.
    pub fn column_formats(&self) -> impl Iterator<Item = i16> + use<'a> {
        let mut reader = Reader::new(self.formats);
        std::iter::from_fn(move || reader.i16().ok())
    }
}

/// Result of a FunctionCall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionCallResponse<'a> {
    /// The value, `None` for null.
    pub value: Option<&'a [u8]>,
}

impl<'a> FunctionCallResponse<'a> {
    /// Reads the body of a FunctionCallResponse.
    pub fn read(body: &'a [u8]) -> Result<FunctionCallResponse<'a>, ProtocolError> {
        let mut reader = Reader::new(body);
        let value = reader.value()?;
        reader.finish()?;
        Ok(FunctionCallResponse { value })
    }
}
