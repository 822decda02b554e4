//! Effects of running SQL, besides rows, on a server connection or its database: a set of few bits. Never looks at a text.

/// Effects that may be left behind. Empty: nothing, for sure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Effects(u8);

impl Effects {
    /// Nothing at all.
    pub const NONE: Self = Self(0);
    /// Settings, roles, temporary objects, locks and the like: the server can be asked for all of it, once the names of
    /// settings with a dot are known.
    pub const STATE: Self = Self(1);
    /// A setting with a dot in its name, of a name that nobody can tell, so that no question finds it.
    pub const UNNAMED: Self = Self(2);
    /// SQL that is made while it runs, or code that is no SQL: whatever there is, most likely nothing.
    pub const UNSEEN: Self = Self(4);
    /// Tables, functions and so on.
    pub const SCHEMA: Self = Self(8);
    /// Something that no reset takes off the connection: it must be closed.
    pub const LASTING: Self = Self(16);
    /// It asks for what sequences gave to the session: `currval`, `lastval`.
    pub const ASKS_SEQUENCES: Self = Self(32);
    /// It takes a number of a sequence.
    pub const USES_SEQUENCES: Self = Self(64);

    /// All of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Without any of `others`.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// True when it has any of `others`.
    #[inline]
    pub const fn has(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    /// True when there are none.
    #[inline]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// True when the server must be asked what there is before anybody else has the connection.
    #[inline]
    pub const fn leaves_state(self) -> bool {
        self.has(
            Self::STATE
                .and(Self::UNNAMED)
                .and(Self::UNSEEN)
                .and(Self::LASTING),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_state_is_asked_for() {
        assert!(Effects::UNSEEN.leaves_state() && Effects::LASTING.leaves_state());
        assert!(!Effects::SCHEMA.and(Effects::ASKS_SEQUENCES).leaves_state());
        assert!(Effects::NONE.is_none() && !Effects::NONE.leaves_state());
    }
}
