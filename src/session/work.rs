//! What a cancel request would hit. Pure.

/// What a client's server connection does, as far as a cancel request is concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Work {
    /// Nothing of the client's.
    #[default]
    Nothing,
    /// What pgring asked before the client's request, which will be next.
    Own,
    /// The client's request.
    Request,
}
