//! One method per message that a client sends: for our logins at servers, the control plane and tests.
//! Each appends a whole message or, when it is refused, nothing. A zero byte in a string is refused.

use super::error::ProtocolError;
use super::frontend::Target;
use super::startup::checked_cancel_key;
use super::tag::frontend;
use super::version::ProtocolVersion;
use super::writer::Writer;
use crate::limits::STARTUP_BYTES_MAX;

type Written = Result<(), ProtocolError>;

impl Writer<'_> {
    /// StartupMessage. `user` must be among the parameters; nothing is added.
    pub fn startup<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        version: ProtocolVersion,
        parameters: impl IntoIterator<Item = (N, V)>,
    ) -> Written {
        self.framed(None, |body| {
            body.u32(version.to_u32());
            let mut bytes = 5;
            for (name, value) in parameters {
                let (name, value) = (name.as_ref(), value.as_ref());
                if name.is_empty() {
                    return Err(ProtocolError::EmptyParameterName);
                }
                body.exact(name)?;
                body.exact(value)?;
                bytes += name.len() + value.len() + 2;
            }
            body.u8(0);
            check_startup_bytes(bytes)
        })
    }

    /// SSLRequest: the server answers with one byte, `S` or `N`.
    pub fn ssl_request(&mut self) -> &mut Self {
        self.request(ProtocolVersion::SSL, &[])
    }

    /// GSSENCRequest: the server answers with one byte, `G` or `N`.
    pub fn gss_request(&mut self) -> &mut Self {
        self.request(ProtocolVersion::GSS, &[])
    }

    /// CancelRequest; the key must have 4 to 256 bytes. The server closes without an answer.
    pub fn cancel_request(&mut self, process_id: i32, key: &[u8]) -> Written {
        let key = checked_cancel_key(key)?;
        self.request(ProtocolVersion::CANCEL, &[&process_id.to_be_bytes(), key]);
        Ok(())
    }

    fn request(&mut self, code: ProtocolVersion, parts: &[&[u8]]) -> &mut Self {
        let fill = |body: &mut super::writer::Body<'_>| {
            body.u32(code.to_u32());
            parts.iter().for_each(|part| body.bytes(part));
            Ok(())
        };
        self.framed(None, fill)
            .expect("a request packet is a few hundred bytes at most");
        self
    }

    /// Query.
    pub fn query(&mut self, text: impl AsRef<[u8]>) -> Written {
        self.try_put(frontend::QUERY, |body| body.exact(text.as_ref()))
    }

    /// Parse; takes the parameter types of a received Parse as they are.
    pub fn parse(
        &mut self,
        name: impl AsRef<[u8]>,
        text: impl AsRef<[u8]>,
        parameter_types: impl IntoIterator<Item = u32>,
    ) -> Written {
        self.try_put(frontend::PARSE, |body| {
            body.exact(name.as_ref())?;
            body.exact(text.as_ref())?;
            body.counted(parameter_types, |body, oid| {
                body.u32(oid);
                Ok(())
            })
        })
    }

    /// Bind with all parameters and all results in text format.
    pub fn bind<V: AsRef<[u8]>>(
        &mut self,
        portal: impl AsRef<[u8]>,
        statement: impl AsRef<[u8]>,
        parameters: impl IntoIterator<Item = Option<V>>,
    ) -> Written {
        self.try_put(frontend::BIND, |body| {
            body.exact(portal.as_ref())?;
            body.exact(statement.as_ref())?;
            body.i16(0);
            body.counted(parameters, |body, value| {
                body.value(value.as_ref().map(AsRef::as_ref))
            })?;
            body.i16(0);
            Ok(())
        })
    }

    /// Bind with everything behind the two names as it was received ([`super::frontend::Bind::rest`]).
    pub fn bind_raw(
        &mut self,
        portal: impl AsRef<[u8]>,
        statement: impl AsRef<[u8]>,
        rest: &[u8],
    ) -> Written {
        self.try_put(frontend::BIND, |body| {
            body.exact(portal.as_ref())?;
            body.exact(statement.as_ref())?;
            body.bytes(rest);
            Ok(())
        })
    }

    /// Describe.
    pub fn describe(&mut self, target: Target, name: impl AsRef<[u8]>) -> Written {
        self.named(frontend::DESCRIBE, target, name.as_ref())
    }

    /// Close.
    pub fn close_object(&mut self, target: Target, name: impl AsRef<[u8]>) -> Written {
        self.named(frontend::CLOSE, target, name.as_ref())
    }

    fn named(&mut self, tag: super::tag::Tag, target: Target, name: &[u8]) -> Written {
        self.try_put(tag, |body| {
            body.u8(target.byte());
            body.exact(name)
        })
    }

    /// Execute; `max_rows` of 0 means all.
    pub fn execute(&mut self, portal: impl AsRef<[u8]>, max_rows: i32) -> Written {
        self.try_put(frontend::EXECUTE, |body| {
            body.exact(portal.as_ref())?;
            body.i32(max_rows);
            Ok(())
        })
    }

    /// Flush.
    pub fn flush(&mut self) -> &mut Self {
        self.message(frontend::FLUSH, &[])
    }

    /// Sync.
    pub fn sync(&mut self) -> &mut Self {
        self.message(frontend::SYNC, &[])
    }

    /// Terminate.
    pub fn terminate(&mut self) -> &mut Self {
        self.message(frontend::TERMINATE, &[])
    }

    /// FunctionCall with arguments and result in text format.
    pub fn function_call<V: AsRef<[u8]>>(
        &mut self,
        function: u32,
        arguments: impl IntoIterator<Item = Option<V>>,
    ) -> Written {
        self.try_put(frontend::FUNCTION_CALL, |body| {
            body.u32(function);
            body.i16(0);
            body.counted(arguments, |body, value| {
                body.value(value.as_ref().map(AsRef::as_ref))
            })?;
            body.i16(0);
            Ok(())
        })
    }

    /// CopyFail.
    pub fn copy_fail(&mut self, message: impl AsRef<[u8]>) -> Written {
        self.try_put(frontend::COPY_FAIL, |body| body.exact(message.as_ref()))
    }

    /// PasswordMessage: a clear-text password or an md5 answer.
    pub fn password(&mut self, password: impl AsRef<[u8]>) -> Written {
        self.try_put(frontend::PASSWORD, |body| body.exact(password.as_ref()))
    }

    /// SASLInitialResponse.
    pub fn sasl_initial_response(
        &mut self,
        mechanism: impl AsRef<[u8]>,
        data: Option<&[u8]>,
    ) -> Written {
        self.try_put(frontend::PASSWORD, |body| {
            body.exact(mechanism.as_ref())?;
            body.value(data)
        })
    }

    /// SASLResponse.
    pub fn sasl_response(&mut self, data: &[u8]) -> &mut Self {
        self.message(frontend::PASSWORD, data)
    }
}

/// PostgreSQL refuses a longer packet without a word, so it is better not to send it.
fn check_startup_bytes(bytes: usize) -> Written {
    if bytes <= STARTUP_BYTES_MAX {
        return Ok(());
    }
    let length = u32::try_from(bytes + 4).unwrap_or(u32::MAX);
    Err(ProtocolError::StartupLength {
        length,
        min: 8,
        max: STARTUP_BYTES_MAX + 4,
    })
}
