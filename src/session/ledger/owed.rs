//! Kinds of answers that a session is owed, by a server or by pgring. Pure.

/// One answer that the server owes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owed {
    /// ReadyForQuery after a Query.
    Query,
    /// ReadyForQuery after a FunctionCall.
    Function,
    /// ReadyForQuery after a Sync.
    Sync,
    /// ParseComplete.
    Parse,
    /// BindComplete.
    Bind,
    /// RowDescription or NoData.
    Describe,
    /// CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute,
    /// CloseComplete.
    Close,
    /// Nothing: the place of a CopyDone or CopyFail that was sent before the server asked for data.
    CopyEnd,
    /// ParseComplete, to a Parse of ours.
    OwnParse,
    /// BindComplete, to a Bind of ours.
    OwnBind,
    /// CommandComplete, to an Execute of ours.
    OwnExecute,
    /// CloseComplete, to a Close of ours.
    OwnClose,
    /// The description of a statement that we asked for.
    OwnDescribe,
    /// ParseComplete, by us: the server has not been asked.
    SaidParse,
    /// CloseComplete, by us.
    SaidClose,
    /// BindComplete, by us.
    SaidBind,
    /// ParameterDescription of no parameters and NoData, by us.
    SaidNothing,
    /// NoData of a portal, by us.
    SaidNoData,
    /// CommandComplete of a BEGIN, by us.
    SaidBegin(&'static [u8]),
}

impl Owed {
    /// True when the answer ends with ReadyForQuery.
    pub(crate) fn ends_with_ready(self) -> bool {
        matches!(self, Self::Query | Self::Function | Self::Sync)
    }

    /// True when it is to a request that a server which skips to the next Sync does not answer.
    pub(crate) fn is_request(self) -> bool {
        matches!(self, Self::Query | Self::Function)
    }

    /// True when the client must not see the answer.
    pub(crate) fn is_own(self) -> bool {
        matches!(
            self,
            Self::OwnParse | Self::OwnBind | Self::OwnExecute | Self::OwnClose | Self::OwnDescribe
        )
    }

    /// True when the answer is ours to give.
    pub(crate) fn is_said(self) -> bool {
        matches!(
            self,
            Self::SaidParse
                | Self::SaidClose
                | Self::SaidBind
                | Self::SaidNothing
                | Self::SaidNoData
                | Self::SaidBegin(_)
        )
    }
}
