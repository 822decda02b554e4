//! The state of a pipeline that may have to run again, because the server has dropped a statement that it needs. Pure.
//!
//! ```text
//!                 its first message                is sent                the server lacks a statement
//!   Impossible ─────────────────────▶ Record ─────────────▶ Possible ─────────────────────────────────▶ Refused
//!       ▲                                                      │                                           │ its end
//!       ├──────────────── any other answer, or more is sent ───┘                                           ▼
//!       └──────────────── any answer ───────────── Last ◀──────────── it is sent again ───────────────── Again
//! ```
//!
//! The client hears nothing of it. `replan.rs` says when these events happen; all transitions are here.

/// Chances of a pipeline to run again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Replan {
    /// The pipeline under way cannot run again.
    #[default]
    Impossible,
    /// The client's messages are to be recorded from here on.
    Record,
    /// The pipeline under way has been recorded, and the server has not answered.
    Possible,
    /// It was refused; the end of its pipeline is to come.
    Refused,
    /// It is to run again.
    Again,
    /// It runs again, and will not a second time.
    Last,
}

impl Replan {
    /// A pipeline begins that could run again.
    #[inline]
    pub(crate) fn begin(&mut self) {
        *self = match *self {
            Self::Again | Self::Last => Self::Last,
            Self::Impossible | Self::Record | Self::Possible | Self::Refused => Self::Record,
        };
    }

    /// Once: its messages are recorded.
    #[inline]
    pub(crate) fn take_recording(&mut self) -> bool {
        self.go(Self::Record, Self::Possible)
    }

    /// The client has sent more than was recorded.
    pub(crate) fn outgrow(&mut self) {
        self.go(Self::Possible, Self::Impossible);
    }

    /// The server lacks a statement. False when the client has to hear of that.
    pub(crate) fn refuse(&mut self) -> bool {
        self.go(Self::Possible, Self::Refused)
    }

    /// ReadyForQuery comes. True when that is the end of a pipeline that was refused.
    #[inline]
    pub(crate) fn end(&mut self) -> bool {
        self.go(Self::Refused, Self::Again)
    }

    /// Once: what was recorded is sent again.
    #[inline]
    pub(crate) fn take_again(&mut self) -> bool {
        self.go(Self::Again, Self::Last)
    }

    /// The client gets an answer, or the connection is lost.
    #[inline]
    pub(crate) fn give_up(&mut self) {
        *self = Self::Impossible;
    }

    #[inline]
    fn go(&mut self, from: Self, to: Self) -> bool {
        let goes = *self == from;
        if goes {
            *self = to;
        }
        goes
    }
}
