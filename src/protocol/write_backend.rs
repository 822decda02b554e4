//! One method per message that a server sends: for our own answers to clients, the admin database and tests.
//! None can fail: texts are cut before a zero byte; more than 65,535 columns or 2 GiB would be a fault of ours.

use super::backend::{Field, TransactionStatus};
use super::error::ErrorReport;
use super::tag::{Tag, backend};
use super::version::ProtocolVersion;
use super::writer::{Body, Writer};

/// Why the calls below cannot fail.
const BOUNDED: &str = "a message of our own has fewer than 65,536 elements and 2 GiB";

impl Writer<'_> {
    /// AuthenticationOk.
    pub fn authentication_ok(&mut self) -> &mut Self {
        self.authentication(0, &[])
    }

    /// AuthenticationCleartextPassword.
    pub fn authentication_cleartext(&mut self) -> &mut Self {
        self.authentication(3, &[])
    }

    /// AuthenticationMD5Password.
    pub fn authentication_md5(&mut self, salt: [u8; 4]) -> &mut Self {
        self.authentication(5, &salt)
    }

    /// AuthenticationSASL.
    pub fn authentication_sasl<'s>(
        &mut self,
        mechanisms: impl IntoIterator<Item = &'s str>,
    ) -> &mut Self {
        self.put(backend::AUTHENTICATION, |body| {
            body.i32(10);
            mechanisms
                .into_iter()
                .for_each(|mechanism| body.cut(mechanism.as_bytes()));
            body.u8(0);
        })
    }

    /// AuthenticationSASLContinue.
    pub fn authentication_sasl_continue(&mut self, data: &[u8]) -> &mut Self {
        self.authentication(11, data)
    }

    /// AuthenticationSASLFinal.
    pub fn authentication_sasl_final(&mut self, data: &[u8]) -> &mut Self {
        self.authentication(12, data)
    }

    fn authentication(&mut self, code: i32, data: &[u8]) -> &mut Self {
        self.put(backend::AUTHENTICATION, |body| {
            body.i32(code);
            body.bytes(data);
        })
    }

    /// ParameterStatus.
    pub fn parameter_status(
        &mut self,
        name: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> &mut Self {
        self.put(backend::PARAMETER_STATUS, |body| {
            body.cut(name.as_ref());
            body.cut(value.as_ref());
        })
    }

    /// BackendKeyData; towards a client of protocol 3.0 the key must have 4 bytes.
    pub fn backend_key_data(&mut self, process_id: i32, key: &[u8]) -> &mut Self {
        self.put(backend::BACKEND_KEY_DATA, |body| {
            body.i32(process_id);
            body.bytes(key);
        })
    }

    /// ReadyForQuery.
    pub fn ready_for_query(&mut self, status: TransactionStatus) -> &mut Self {
        self.message(backend::READY_FOR_QUERY, &[status.byte()])
    }

    /// ErrorResponse with the fields S, V, C, M and, where given, D and H.
    pub fn error(&mut self, report: &ErrorReport) -> &mut Self {
        self.report(backend::ERROR_RESPONSE, report)
    }

    /// NoticeResponse with the same fields.
    pub fn notice(&mut self, report: &ErrorReport) -> &mut Self {
        self.report(backend::NOTICE_RESPONSE, report)
    }

    fn report(&mut self, tag: Tag, report: &ErrorReport) -> &mut Self {
        self.put(tag, |body| {
            let mut field = |code: u8, text: &str| {
                body.u8(code);
                body.cut(text.as_bytes());
            };
            field(b'S', report.severity.as_str());
            field(b'V', report.severity.as_str());
            field(b'C', report.sqlstate.as_str());
            field(b'M', &report.message);
            report.detail.iter().for_each(|detail| field(b'D', detail));
            report.hint.iter().for_each(|hint| field(b'H', hint));
            body.u8(0);
        })
    }

    /// NotificationResponse.
    pub fn notification(
        &mut self,
        process_id: i32,
        channel: impl AsRef<[u8]>,
        payload: impl AsRef<[u8]>,
    ) -> &mut Self {
        self.put(backend::NOTIFICATION, |body| {
            body.i32(process_id);
            body.cut(channel.as_ref());
            body.cut(payload.as_ref());
        })
    }

    /// CommandComplete.
    pub fn command_complete(&mut self, command: impl AsRef<[u8]>) -> &mut Self {
        self.put(backend::COMMAND_COMPLETE, |body| body.cut(command.as_ref()))
    }

    /// EmptyQueryResponse.
    pub fn empty_query(&mut self) -> &mut Self {
        self.message(backend::EMPTY_QUERY, &[])
    }

    /// RowDescription of columns of type text, from no table.
    pub fn row_description_text<N: AsRef<[u8]>>(
        &mut self,
        names: impl IntoIterator<Item = N>,
    ) -> &mut Self {
        self.put(backend::ROW_DESCRIPTION, |body| {
            let put = |body: &mut Body<'_>, name: N| {
                put_field(body, &Field::text(name.as_ref()));
                Ok(())
            };
            body.counted(names, put).expect(BOUNDED);
        })
    }

    /// RowDescription.
    pub fn row_description<'f>(
        &mut self,
        fields: impl IntoIterator<Item = Field<'f>>,
    ) -> &mut Self {
        self.put(backend::ROW_DESCRIPTION, |body| {
            let put = |body: &mut Body<'_>, field: Field<'f>| {
                put_field(body, &field);
                Ok(())
            };
            body.counted(fields, put).expect(BOUNDED);
        })
    }

    /// DataRow; `None` is null.
    pub fn data_row<V: AsRef<[u8]>>(
        &mut self,
        columns: impl IntoIterator<Item = Option<V>>,
    ) -> &mut Self {
        self.put(backend::DATA_ROW, |body| {
            body.counted(columns, |body, value| {
                body.value(value.as_ref().map(AsRef::as_ref))
            })
            .expect(BOUNDED);
        })
    }

    /// ParseComplete.
    pub fn parse_complete(&mut self) -> &mut Self {
        self.message(backend::PARSE_COMPLETE, &[])
    }

    /// BindComplete.
    pub fn bind_complete(&mut self) -> &mut Self {
        self.message(backend::BIND_COMPLETE, &[])
    }

    /// CloseComplete.
    pub fn close_complete(&mut self) -> &mut Self {
        self.message(backend::CLOSE_COMPLETE, &[])
    }

    /// NoData.
    pub fn no_data(&mut self) -> &mut Self {
        self.message(backend::NO_DATA, &[])
    }

    /// ParameterDescription.
    pub fn parameter_description(&mut self, types: impl IntoIterator<Item = u32>) -> &mut Self {
        self.put(backend::PARAMETER_DESCRIPTION, |body| {
            let put = |body: &mut Body<'_>, oid| {
                body.u32(oid);
                Ok(())
            };
            body.counted(types, put).expect(BOUNDED);
        })
    }

    /// PortalSuspended.
    pub fn portal_suspended(&mut self) -> &mut Self {
        self.message(backend::PORTAL_SUSPENDED, &[])
    }

    /// CopyInResponse: 0 is text, 1 is binary, for the whole and for each column.
    pub fn copy_in(
        &mut self,
        format: u8,
        column_formats: impl IntoIterator<Item = i16>,
    ) -> &mut Self {
        self.copy_response(backend::COPY_IN, format, column_formats)
    }

    /// CopyOutResponse: 0 is text, 1 is binary, for the whole and for each column.
    pub fn copy_out(
        &mut self,
        format: u8,
        column_formats: impl IntoIterator<Item = i16>,
    ) -> &mut Self {
        self.copy_response(backend::COPY_OUT, format, column_formats)
    }

    /// CopyBothResponse: 0 is text, 1 is binary, for the whole and for each column.
    pub fn copy_both(
        &mut self,
        format: u8,
        column_formats: impl IntoIterator<Item = i16>,
    ) -> &mut Self {
        self.copy_response(backend::COPY_BOTH, format, column_formats)
    }

    fn copy_response(
        &mut self,
        tag: Tag,
        format: u8,
        columns: impl IntoIterator<Item = i16>,
    ) -> &mut Self {
        self.put(tag, |body| {
            body.u8(format);
            let put = |body: &mut Body<'_>, format| {
                body.i16(format);
                Ok(())
            };
            body.counted(columns, put).expect(BOUNDED);
        })
    }

    /// CopyData, which is the same in both directions.
    pub fn copy_data(&mut self, data: &[u8]) -> &mut Self {
        self.message(backend::COPY_DATA, data)
    }

    /// CopyDone, which is the same in both directions.
    pub fn copy_done(&mut self) -> &mut Self {
        self.message(backend::COPY_DONE, &[])
    }

    /// FunctionCallResponse; `None` is null.
    pub fn function_call_response(&mut self, value: Option<&[u8]>) -> &mut Self {
        self.put(backend::FUNCTION_CALL_RESPONSE, |body| {
            body.value(value).expect(BOUNDED)
        })
    }

    /// NegotiateProtocolVersion.
    pub fn negotiate_version<'s>(
        &mut self,
        version: ProtocolVersion,
        unknown_options: impl IntoIterator<Item = &'s [u8]>,
    ) -> &mut Self {
        self.put(backend::NEGOTIATE_VERSION, |body| {
            body.u32(version.to_u32());
            body.counted_strings(unknown_options.into_iter());
        })
    }
}

fn put_field(body: &mut Body<'_>, field: &Field<'_>) {
    body.cut(field.name);
    body.u32(field.table);
    body.i16(field.column);
    body.u32(field.type_oid);
    body.i16(field.type_bytes);
    body.i32(field.type_modifier);
    body.i16(field.format);
}
