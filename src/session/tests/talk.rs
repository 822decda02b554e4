//! Transcripts: a conversation whose client and server are the test.

use crate::session::{
    context::OwnedContext,
    conversation::{AfterLoss, Answer, Conversation, Verdict},
};
use crate::{
    cluster::settings::PoolMode,
    protocol::{
        ErrorReport, Frames, Header, ProtocolError, SqlState, Tag, Writer,
        backend::{ErrorFields, TransactionStatus},
        frontend::Target,
        tag::{backend, frontend},
    },
    session::prepared::server::Prepared,
};

/// One message on the wire.
pub(crate) fn message(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Writer::new(&mut out));
    out
}

pub(crate) fn query(text: &str) -> Vec<u8> {
    message(|writer| writer.query(text).unwrap())
}

pub(crate) fn parse(name: &str, text: &str) -> Vec<u8> {
    message(|writer| writer.parse(name, text, [23]).unwrap())
}

pub(crate) fn bind(portal: &str, statement: &str) -> Vec<u8> {
    message(|writer| {
        writer.bind(portal, statement, [None::<&[u8]>]).unwrap();
    })
}

/// A Parse without parameter types, and a Bind without parameters.
pub(crate) fn plain_parse(name: &str, text: &str) -> Vec<u8> {
    message(|writer| writer.parse(name, text, []).unwrap())
}

pub(crate) fn plain_bind(portal: &str, statement: &str) -> Vec<u8> {
    message(|writer| {
        writer.bind(portal, statement, [None::<&[u8]>; 0]).unwrap();
    })
}

pub(crate) fn describe(target: Target) -> Vec<u8> {
    message(|writer| writer.describe(target, "").unwrap())
}

pub(crate) fn execute() -> Vec<u8> {
    message(|writer| writer.execute("", 0).unwrap())
}

pub(crate) fn sync() -> Vec<u8> {
    message(|writer| {
        writer.sync();
    })
}

pub(crate) fn flush() -> Vec<u8> {
    message(|writer| {
        writer.flush();
    })
}

/// Of a function that leaves no session state behind: `lo_unlink`.
pub(crate) fn function_call() -> Vec<u8> {
    message(|writer| writer.function_call(964, [None::<&[u8]>]).unwrap())
}

pub(crate) fn raw(tag: u8) -> Vec<u8> {
    message(|writer| {
        writer.message(Tag(tag), b"");
    })
}

/// Parse, Bind, Describe, Execute and Sync of one unnamed statement.
pub(crate) fn unnamed(text: &str) -> Vec<u8> {
    let parts = [
        parse("", text),
        bind("", ""),
        describe(Target::Portal),
        execute(),
        sync(),
    ];
    parts.concat()
}

/// Body of an ErrorResponse.
pub(crate) fn error_body(report: &ErrorReport) -> Vec<u8> {
    let whole = message(|writer| {
        writer.error(report);
    });
    whole[Header::BYTES..].to_vec()
}

/// An ordinary error of a server.
pub(crate) fn ordinary_error() -> ErrorReport {
    ErrorReport::error(SqlState::SYNTAX_ERROR, "no")
}

/// Messages on one line: `1 2 n C(ROLLBACK) E(25P02) Z(T)`; of rows and their descriptions what can be read.
pub(crate) fn read(bytes: &[u8]) -> String {
    let mut words = Vec::new();
    for frame in Frames::new(bytes) {
        let frame = frame.unwrap();
        let tag = char::from(frame.tag.0);
        words.push(match frame.tag {
            backend::ERROR_RESPONSE => {
                let fields = ErrorFields::read(frame.body).unwrap();
                let fatal = if fields.field(b'S') == Some(b"FATAL") {
                    "FATAL "
                } else {
                    ""
                };
                format!("E({fatal}{})", fields.sqlstate().unwrap().as_str())
            }
            backend::READY_FOR_QUERY | backend::COMMAND_COMPLETE => {
                let text = String::from_utf8_lossy(frame.body);
                format!("{tag}({})", text.trim_end_matches('\0'))
            }
            backend::DATA_ROW | backend::ROW_DESCRIPTION if !frame.body.is_empty() => {
                let plain = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
                let text: Vec<_> = frame.body.iter().copied().filter(plain).collect();
                format!("{tag}({})", String::from_utf8(text).unwrap())
            }
            _ => tag.to_string(),
        });
    }
    words.join(" ")
}

/// Messages of a client on one line, with what they name: `P(s: SELECT 1) B(p: s) D(Ss) E C(Ss) S Q(BEGIN)`.
pub(crate) fn asks(bytes: &[u8]) -> String {
    let words = Frames::new(bytes).map(|frame| {
        let frame = frame.unwrap();
        let strings: Vec<_> = frame.body.split(|byte| *byte == 0).collect();
        let string = |at: usize| String::from_utf8_lossy(strings[at]);
        let tag = char::from(frame.tag.0);
        match frame.tag {
            frontend::PARSE | frontend::BIND => format!("{tag}({}: {})", string(0), string(1)),
            frontend::QUERY | frontend::DESCRIBE | frontend::CLOSE => {
                format!("{tag}({})", string(0))
            }
            _ => tag.to_string(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A conversation, with what it told its client.
pub(crate) struct Talk {
    pub(crate) rules: Conversation,
    pub(crate) linked: bool,
    pub(crate) tools: OwnedContext,
    /// Bytes that went to the server.
    sent: Vec<u8>,
}

impl Talk {
    pub(crate) fn new(mode: PoolMode) -> Self {
        Self {
            rules: Conversation::new(mode),
            linked: false,
            tools: OwnedContext::default(),
            sent: Vec::new(),
        }
    }

    /// In transaction mode, with a server, inside a transaction.
    pub(crate) fn in_transaction() -> Self {
        let mut talk = Self::new(PoolMode::Transaction);
        assert_eq!(
            talk.client(&query("BEGIN; SELECT 1")),
            [Verdict::NeedServer, Verdict::Forward]
        );
        talk.server("C C ZT");
        talk
    }

    /// In transaction mode, inside a transaction whose server connection was lost while nothing was asked.
    pub(crate) fn in_failed_block() -> Self {
        let mut talk = Self::in_transaction();
        assert_eq!(talk.lose(), AfterLoss::GoesOn);
        assert_eq!(talk.told(), "");
        talk
    }

    /// The client sends messages; what becomes of them. A server is at hand when one is needed.
    pub(crate) fn client(&mut self, messages: &[u8]) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        let mut rest = messages;
        while let Some(header) = Header::read(rest).unwrap() {
            let (message, after) = rest.split_at(header.frame_bytes());
            let body = &message[Header::BYTES..];
            let verdict = self.part(header, body);
            verdicts.push(verdict);
            assert_ne!(verdict, Verdict::Wait, "{}", asks(message));
            if verdict == Verdict::NeedServer {
                self.linked = true;
            } else {
                rest = after;
            }
        }
        verdicts
    }

    /// The client sends messages up to the first that waits for answers of the server; what becomes of them.
    pub(crate) fn client_until_it_waits(&mut self, messages: &[u8]) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for frame in Frames::new(messages) {
            let frame = frame.unwrap();
            let length = u32::try_from(frame.body.len() + 4).unwrap();
            let header = Header {
                tag: frame.tag,
                length,
            };
            let verdict = self.part(header, frame.body);
            verdicts.push(verdict);
            if verdict == Verdict::Wait {
                break;
            }
        }
        verdicts
    }

    /// The client sends the beginning of a message.
    pub(crate) fn part(&mut self, header: Header, body: &[u8]) -> Verdict {
        let mut context = self.tools.context(self.linked);
        let verdict = self
            .rules
            .client_message(header, body, &mut context)
            .unwrap();
        self.sent.append(&mut self.tools.ahead);
        let replaced = match verdict {
            Verdict::Forward => 0,
            Verdict::Instead(replaced) => replaced,
            _ => return verdict,
        };
        let [a, b, c, d] = header.length.to_be_bytes();
        let whole = [&[header.tag.0, a, b, c, d], body].concat();
        self.sent.extend_from_slice(&whole[replaced..]);
        verdict
    }

    /// The server says messages: `C` has no body, `ZT` is ReadyForQuery, `E` is an ordinary error. What pgring
    /// asked for itself has a minus before it. What pgring says in between is told in its turn.
    pub(crate) fn server(&mut self, words: &str) {
        for word in words.split_whitespace() {
            self.say();
            let (own, message) = match word.strip_prefix('-') {
                Some(message) => (true, message),
                None => (false, word),
            };
            let (tag, body) = match message.as_bytes() {
                [b'Z', status] => (backend::READY_FOR_QUERY, vec![*status]),
                [b'E'] => (backend::ERROR_RESPONSE, error_body(&ordinary_error())),
                [tag] => (Tag(*tag), Vec::new()),
                _ => panic!("not a message: {word}"),
            };
            let expected = match tag {
                _ if own => Answer::Swallow,
                backend::READY_FOR_QUERY => Answer::Ready,
                _ => Answer::Forward,
            };
            assert_eq!(self.hear(tag, &body), Ok(expected), "{word}");
        }
        self.say();
        assert!(!self.rules.is_lost(), "{words}");
    }

    /// The server says one message; what becomes of it.
    pub(crate) fn hear(&mut self, tag: Tag, body: &[u8]) -> Result<Answer, ProtocolError> {
        self.rules.server_message(tag, body, &mut self.tools.server)
    }

    /// The server says that a command is complete.
    pub(crate) fn complete(&mut self, tag: &str) {
        let whole = message(|writer| {
            writer.command_complete(tag);
        });
        let answer = self.hear(backend::COMMAND_COMPLETE, &whole[Header::BYTES..]);
        assert_eq!(answer, Ok(Answer::Forward), "{tag}");
    }

    /// Gives the answers of pgring's own that are due at this point.
    fn say(&mut self) {
        while let Some(said) = self.rules.said(Some(&mut self.tools.server)) {
            self.tools.out.extend_from_slice(said);
        }
    }

    /// The server connection is lost between two messages.
    pub(crate) fn lose(&mut self) -> AfterLoss {
        self.linked = false;
        self.tools.server.forget();
        self.rules
            .server_lost("it fell", None, false, false, &mut self.tools.out)
    }

    /// The server connection goes back, and the next one has prepared nothing.
    pub(crate) fn another_server(&mut self) {
        assert!(self.rules.is_releasable());
        self.linked = false;
        self.tools.server = Prepared::default();
    }

    /// The server connection goes back, and one that has prepared nothing is at hand.
    pub(crate) fn move_to_another_server(&mut self) {
        self.another_server();
        self.linked = true;
    }

    /// Messages that the client was told since this was asked last, as [`read`] writes them.
    pub(crate) fn told(&mut self) -> String {
        read(&std::mem::take(&mut self.tools.out))
    }

    /// Bytes that the client was told since this was asked last.
    pub(crate) fn told_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.tools.out)
    }

    /// Messages that the server was sent since this was asked last, as [`asks`] writes them.
    pub(crate) fn sent(&mut self) -> String {
        asks(&std::mem::take(&mut self.sent))
    }

    /// Bytes that the server was sent since this was asked last.
    pub(crate) fn sent_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.sent)
    }

    /// The client asks, and is answered without a server.
    pub(crate) fn ask(&mut self, messages: &[u8]) -> String {
        let verdicts = self.client(messages);
        let alone = verdicts.iter().all(|verdict| *verdict == Verdict::Discard);
        assert!(alone, "{verdicts:?}");
        self.told()
    }

    /// True when the client's next statement is an ordinary one.
    pub(crate) fn is_ordinary(&mut self) -> bool {
        let verdicts = self.client(&query("SELECT 1"));
        self.rules.status() == TransactionStatus::Idle
            && verdicts == [Verdict::NeedServer, Verdict::Forward]
    }
}

/// Compares a table with the golden one of this name.
#[track_caller]
pub(super) fn assert_golden(name: &str, table: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/session"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, table));
}
