//! The flags of a text of statements. Says what each means; never looks at a text.

use super::set::Effects;

/// Flags of the text of a Query or Parse, over all its statements.
///
/// StatementFlags are of two kinds. Most say what a statement *may* do: when unsure, they hold. A few promise something
/// ([`rolls_back`](Self::rolls_back), [`begins`](Self::begins), [`is_empty`](Self::is_empty),
/// [`is_single`](Self::is_single), [`is_shareable`](Self::is_shareable), and those that [`leaves`](Self::leaves)
/// tells): when unsure, they do not hold. The default has none of either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatementFlags(u32);

/// Session state that lives at one server connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// By LISTEN.
    Listening,
    /// By CREATE TEMPORARY and its like, without ON COMMIT DROP.
    TemporaryObject,
    /// By DECLARE ... WITH HOLD.
    HeldCursor,
    /// By LOAD.
    Library,
    /// By a query that calls `pg_advisory_lock` or its like.
    AdvisoryLock,
    /// By PREPARE.
    PreparedStatement,
}

/// Defines the bits, in the order in which they are listed.
macro_rules! bits {
    ($($name:ident = $bit:literal),* $(,)?) => {
        $(pub(in crate::sql) const $name: Self = Self(1 << $bit);)*
    };
}

impl StatementFlags {
    bits! {
        COMMITS = 0,
        GAINS_STATE = 1,
        LOSES_STATE = 2,
        CHANGES_MEANING = 3,
        CHANGES_SCHEMA = 4,
        LOADS = 5,
        DEALLOCATES = 6,
        EXECUTES = 7,
        PREPARES = 8,
        ASKS_SEQUENCES = 9,
        USES_SEQUENCES = 10,
        RUNS_TEXTS = 11,
        LASTS = 12,
        CALLS = 13,
        ROLLS_BACK = 16,
        BEGINS = 17,
        EMPTY = 18,
        SINGLE = 19,
        SHAREABLE = 20,
        LISTENS = 21,
        MAKES_TEMPORARY = 22,
        HOLDS_CURSOR = 23,
        LEAVES_LIBRARY = 24,
        TAKES_LOCK = 25,
        LEAVES_PREPARED = 26,
        FETCHES = 27,
        // Of use while reading only.
        MANY = 31,
    }

    pub(in crate::sql) const NONE: Self = Self(0);

    /// Bits that hold when unsure.
    const FEARED: u32 = 0xffff;

    /// The most that can be feared of a statement that nobody knows.
    pub(in crate::sql) const UNKNOWN: Self = Self::GAINS_STATE
        .and(Self::LOSES_STATE)
        .and(Self::CHANGES_MEANING)
        .and(Self::CHANGES_SCHEMA);

    /// Flags of the part of a text that was not seen. LOAD and PREPARE gain state, and are feared as such.
    pub(in crate::sql) const UNSEEN: Self = Self::UNKNOWN
        .and(Self::COMMITS)
        .and(Self::DEALLOCATES)
        .and(Self::EXECUTES)
        .and(Self::ASKS_SEQUENCES)
        .and(Self::USES_SEQUENCES)
        .and(Self::RUNS_TEXTS)
        .and(Self::CALLS);

    /// Flags of statements that leave something behind, whatever it is.
    pub(in crate::sql) const LEAVES: Self = Self::LISTENS
        .and(Self::MAKES_TEMPORARY)
        .and(Self::HOLDS_CURSOR)
        .and(Self::LEAVES_LIBRARY)
        .and(Self::TAKES_LOCK)
        .and(Self::LEAVES_PREPARED);

    /// Flags that [`effects`](Self::effects) tells of.
    const OF_FUNCTIONS: Self = Self::ASKS_SEQUENCES
        .and(Self::USES_SEQUENCES)
        .and(Self::RUNS_TEXTS)
        .and(Self::LASTS);

    /// All bits of both.
    pub(in crate::sql) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The bits that `other` does not have.
    pub(in crate::sql) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(in crate::sql) const fn has(self, bits: Self) -> bool {
        self.0 & bits.0 != 0
    }

    /// Flags of two texts, or of two readings of one: all that either may do, and what both promise.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self((self.0 | other.0) & Self::FEARED | self.0 & other.0)
    }

    /// Some statement may make a transaction permanent: COMMIT, END, PREPARE TRANSACTION, COMMIT PREPARED.
    pub const fn commits(self) -> bool {
        self.has(Self::COMMITS)
    }

    /// Some statement may leave session state behind. (A function of the user's may do so unseen.)
    pub const fn gains_state(self) -> bool {
        self.has(Self::GAINS_STATE)
    }

    /// Some statement may end session state.
    pub const fn loses_state(self) -> bool {
        self.has(Self::LOSES_STATE)
    }

    /// After it, in the same transaction, the same text may mean something else.
    pub const fn changes_meaning(self) -> bool {
        self.has(Self::CHANGES_MEANING)
    }

    /// Some statement may change what there is in the database, or who may use it.
    pub const fn changes_schema(self) -> bool {
        self.has(Self::CHANGES_SCHEMA)
    }

    /// Some statement is CALL or DO, which may change the schema as well.
    pub const fn calls(self) -> bool {
        self.has(Self::CALLS)
    }

    /// Some statement is LOAD.
    pub const fn loads(self) -> bool {
        self.has(Self::LOADS)
    }

    /// Some statement is DEALLOCATE, or DISCARD ALL.
    pub const fn deallocates(self) -> bool {
        self.has(Self::DEALLOCATES)
    }

    /// Some statement uses by name what PREPARE has prepared: EXECUTE, EXPLAIN EXECUTE, CREATE TABLE AS EXECUTE.
    pub const fn executes(self) -> bool {
        self.has(Self::EXECUTES)
    }

    /// Some statement is PREPARE (not PREPARE TRANSACTION).
    pub const fn prepares(self) -> bool {
        self.has(Self::PREPARES)
    }

    /// Effects of PostgreSQL's own functions in it, beside those that gain state.
    pub fn effects(self) -> Effects {
        if !self.has(Self::OF_FUNCTIONS) {
            return Effects::NONE;
        }
        let all = [
            (Self::ASKS_SEQUENCES, Effects::ASKS_SEQUENCES),
            (Self::USES_SEQUENCES, Effects::USES_SEQUENCES),
            (Self::RUNS_TEXTS, Effects::UNSEEN),
            (Self::LASTS, Effects::LASTING),
        ];
        let held = all.into_iter().filter(|(bit, _)| self.has(*bit));
        held.fold(Effects::NONE, |effects, (_, more)| effects.and(more))
    }

    /// Session state that some statement leaves at the server, if it succeeds, and that only a statement ends. The first of
    /// several.
    pub fn leaves(self) -> Option<Left> {
        let all = [
            (Self::LISTENS, Left::Listening),
            (Self::MAKES_TEMPORARY, Left::TemporaryObject),
            (Self::HOLDS_CURSOR, Left::HeldCursor),
            (Self::LEAVES_LIBRARY, Left::Library),
            (Self::TAKES_LOCK, Left::AdvisoryLock),
            (Self::LEAVES_PREPARED, Left::PreparedStatement),
        ];
        let mut left = all.into_iter().filter(|(bit, _)| self.has(*bit));
        left.next().map(|(_, left)| left)
    }

    /// The text is one statement, which undoes the whole transaction and begins no other.
    pub const fn rolls_back(self) -> bool {
        self.has(Self::ROLLS_BACK)
    }

    /// The text is one statement, a BEGIN or START TRANSACTION that the grammar accepts.
    pub const fn begins(self) -> bool {
        self.has(Self::BEGINS)
    }

    /// The text is one statement, FETCH or MOVE: what it returns is its cursor's.
    pub const fn fetches(self) -> bool {
        self.has(Self::FETCHES)
    }

    /// There is no statement.
    pub const fn is_empty(self) -> bool {
        self.has(Self::EMPTY)
    }

    /// There is at most one statement.
    pub const fn is_single(self) -> bool {
        self.has(Self::SINGLE)
    }

    /// The text is one statement whose plan is the same for every session with the same settings.
    pub const fn is_shareable(self) -> bool {
        self.has(Self::SHAREABLE)
    }
}
