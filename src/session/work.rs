//! Work at a server that a cancel request would hit. Pure.

/// Work of a client's server connection, as far as a cancel request is concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Work {
    /// Nothing of the client's.
    #[default]
    Nothing,
    /// A query of pgring's own; the client's request is next.
    Own,
    /// The client's request.
    Request,
}
