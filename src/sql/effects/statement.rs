//! Flags of one statement: told by its first words, and by the names and words further on that matter wherever they stand.
//! Errs on the side that `flags.rs` says. Never looks into what functions and operators do, but for those that are known to
//! keep session state.

use super::{flags::StatementFlags, literal, settings};
use crate::sql::{
    token::{Kind, Token, Tokens, unquoted},
    word::{
        ABORT, ALL, ALTER, ANALYSE, ANALYZE, AS, ATOMIC, BEGIN, CALL, CASE, CHECKPOINT, CLOSE,
        CLUSTER, COMMENT, COMMIT, CONSTRAINTS, COPY, CREATE, DEALLOCATE, DECLARE, DELETE, DISCARD,
        DO, DROP, END, EXECUTE, EXPLAIN, FETCH, FUNCTION, Folded, GLOBAL, GRANT, HOLD, IMPORT,
        INSERT, INTO, LISTEN, LOAD, LOCAL, LOCK, MERGE, MOVE, NOTIFY, ON, OR, PREPARE, PROCEDURE,
        REASSIGN, REFRESH, REINDEX, RELEASE, REPLACE, RESET, RETURN, REVOKE, ROLLBACK, SAVEPOINT,
        SECURITY, SELECT, SESSION, SET, SHOW, START, TABLE, TEMP, TEMPORARY, TO, TRANSACTION,
        TRUNCATE, UESCAPE, UNLISTEN, UPDATE, VACUUM, VALUES, VERBOSE, WITH, fold, folded,
    },
};

const DDL: StatementFlags = StatementFlags::CHANGES_SCHEMA.and(StatementFlags::CHANGES_MEANING);
const EXECUTION: StatementFlags = StatementFlags::EXECUTES
    .and(StatementFlags::GAINS_STATE)
    .and(StatementFlags::LOSES_STATE)
    .and(StatementFlags::CHANGES_MEANING);

/// Flags of one statement by the slow way alone: what the quick way is compared with.
#[cfg(test)]
pub(in crate::sql) fn read_slowly<'a>(first: Token<'a>, tokens: &mut Tokens<'a>) -> StatementFlags {
    let mut reader = Reader::new(first, *tokens);
    reader.slowly(first, tokens);
    reader.flags
}

/// Flags that the first words of a statement tell. `rest` follows the first.
fn head(first: Token<'_>, rest: Tokens<'_>) -> StatementFlags {
    match first.kind {
        Kind::Word => command(fold(first.text), rest),
        Kind::Open => parenthesis(rest),
        _ => StatementFlags::UNKNOWN,
    }
}

/// A query in parentheses.
fn parenthesis(mut rest: Tokens<'_>) -> StatementFlags {
    match folded(rest.find(|token| token.kind != Kind::Open)) {
        SELECT | VALUES | TABLE | WITH => StatementFlags::SHAREABLE,
        _ => StatementFlags::UNKNOWN,
    }
}

fn command(first: Folded, rest: Tokens<'_>) -> StatementFlags {
    match first {
        SELECT | INSERT | UPDATE | DELETE | MERGE | WITH | VALUES | TABLE => {
            StatementFlags::SHAREABLE
        }
        COMMIT | END => StatementFlags::COMMITS,
        ROLLBACK | ABORT | CLOSE | UNLISTEN => StatementFlags::LOSES_STATE,
        BEGIN | START | SAVEPOINT | RELEASE => StatementFlags::NONE,
        FETCH | MOVE | COPY | SHOW | NOTIFY | LOCK | COMMENT | TRUNCATE => StatementFlags::NONE,
        ANALYZE | ANALYSE | VACUUM | CHECKPOINT | CLUSTER | REINDEX | REFRESH => {
            StatementFlags::NONE
        }
        DECLARE => StatementFlags::NONE,
        SET => set(rest),
        RESET => StatementFlags::GAINS_STATE
            .and(StatementFlags::LOSES_STATE)
            .and(StatementFlags::CHANGES_MEANING),
        DISCARD => discard(rest),
        LISTEN => StatementFlags::GAINS_STATE.and(StatementFlags::LISTENS),
        LOAD => StatementFlags::GAINS_STATE
            .and(StatementFlags::LOADS)
            .and(StatementFlags::LEAVES_LIBRARY)
            .and(StatementFlags::CHANGES_MEANING),
        PREPARE => prepare(rest),
        EXECUTE => EXECUTION,
        DEALLOCATE => StatementFlags::DEALLOCATES.and(StatementFlags::LOSES_STATE),
        EXPLAIN => explain(rest),
        CREATE | ALTER | GRANT | REVOKE | IMPORT | REASSIGN | SECURITY => DDL,
        DROP => DDL.and(StatementFlags::LOSES_STATE),
        DO | CALL => StatementFlags::UNKNOWN
            .without(StatementFlags::CHANGES_SCHEMA)
            .and(StatementFlags::CALLS),
        _ => StatementFlags::UNKNOWN,
    }
}

/// SET. A name of settings may be one of the words that pass: `SET local.x = 1` is for the session.
fn set(mut rest: Tokens<'_>) -> StatementFlags {
    let mut name = rest.next();
    if folded(name) == SESSION {
        name = rest.next();
    }
    let mut behind = rest;
    let next = behind.next();
    let names_setting = next.is_none_or(|next| {
        matches!(next.kind, Kind::Dot | Kind::Operator | Kind::Semicolon)
            || folded(Some(next)) == TO
    });
    match folded(name) {
        LOCAL if !names_setting => meaning_after(next, behind),
        TRANSACTION | CONSTRAINTS if !names_setting => StatementFlags::NONE,
        _ => StatementFlags::GAINS_STATE.and(meaning_after(name, rest)),
    }
}

/// Whether texts may mean something else after this setting was set.
fn meaning_after(name: Option<Token<'_>>, mut rest: Tokens<'_>) -> StatementFlags {
    let is_readable = |name: &Token<'_>| matches!(name.kind, Kind::Word | Kind::Quoted);
    let is_dotted = rest.next().is_some_and(|next| next.kind == Kind::Dot);
    let is_harmless = |name: Token<'_>| is_dotted || settings::is_harmless(unquoted(name));
    match name.filter(is_readable).is_some_and(is_harmless) {
        true => StatementFlags::NONE,
        false => StatementFlags::CHANGES_MEANING,
    }
}

/// Whether texts may mean something else after a call of `set_config`; `rest` follows its name.
fn meaning_after_call(mut rest: Tokens<'_>) -> StatementFlags {
    let is_open = rest.next().is_some_and(|next| next.kind == Kind::Open);
    let name = rest.next().filter(|_| is_open);
    let is_alone = rest.next().is_some_and(|next| next.kind == Kind::Comma);
    let text = name
        .filter(|name| is_alone && name.kind == Kind::Literal)
        .and_then(|name| name.text.strip_prefix(b"'")?.strip_suffix(b"'"));
    match text.is_some_and(settings::is_harmless) {
        true => StatementFlags::NONE,
        false => StatementFlags::CHANGES_MEANING,
    }
}

fn discard(mut rest: Tokens<'_>) -> StatementFlags {
    let flags = StatementFlags::GAINS_STATE
        .and(StatementFlags::LOSES_STATE)
        .and(StatementFlags::CHANGES_MEANING);
    if folded(rest.next()) == ALL {
        return flags.and(StatementFlags::DEALLOCATES);
    }
    flags
}

/// PREPARE; TRANSACTION may be the name of what it prepares.
fn prepare(mut rest: Tokens<'_>) -> StatementFlags {
    let transaction = folded(rest.next()) == TRANSACTION;
    let name_only = rest
        .next()
        .is_some_and(|next| next.kind == Kind::Open || folded(Some(next)) == AS);
    if transaction && !name_only {
        return StatementFlags::COMMITS;
    }
    StatementFlags::PREPARES
        .and(StatementFlags::GAINS_STATE)
        .and(StatementFlags::LEAVES_PREPARED)
}

/// EXPLAIN does what it explains, when it has ANALYZE.
fn explain(rest: Tokens<'_>) -> StatementFlags {
    let mut inner = explained(rest);
    match inner.next() {
        Some(first) if first.kind == Kind::Semicolon => StatementFlags::NONE,
        Some(first) if folded(Some(first)) == EXPLAIN => StatementFlags::UNKNOWN,
        Some(first) => {
            head(first, inner).without(StatementFlags::SHAREABLE.and(StatementFlags::LEAVES))
        }
        None => StatementFlags::NONE,
    }
}

/// The statement behind EXPLAIN and its options.
pub(in crate::sql) fn explained(mut rest: Tokens<'_>) -> Tokens<'_> {
    let mut inner = rest;
    match inner.next() {
        Some(open) if open.kind == Kind::Open => {
            if parenthesis(inner) == StatementFlags::SHAREABLE {
                return rest;
            }
            skip_parenthesis(&mut inner);
            return inner;
        }
        _ => inner = rest,
    }
    for options in [[ANALYZE, ANALYSE], [VERBOSE, VERBOSE]] {
        if options.contains(&folded(inner.next())) {
            rest = inner;
        } else {
            inner = rest;
        }
    }
    rest
}

/// Skips what an open parenthesis encloses.
fn skip_parenthesis(tokens: &mut Tokens<'_>) {
    let mut depth = 1_usize;
    for token in tokens {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
}

/// True when CREATE makes a function or procedure, whose body may have semicolons. `rest` follows CREATE.
fn makes_routine(mut rest: Tokens<'_>) -> bool {
    let mut word = folded(rest.next());
    while matches!(word, OR | REPLACE) {
        word = folded(rest.next());
    }
    matches!(word, FUNCTION | PROCEDURE)
}

/// Names that matter wherever they stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    SetConfig,
    AdvisoryLock,
    AdvisoryUnlock,
    TemporarySchema,
    /// The view whose UPDATE is a SET.
    Settings,
    /// `currval` or `lastval`: the value that a sequence gave to the session.
    SequenceValue,
    NextValue,
    /// SQL in its arguments is run.
    RunsText,
    /// A function whose effect no reset takes off a connection.
    Lasts,
}

const NAMES: [(&[u8], Name); 32] = [
    (b"currval", Name::SequenceValue),
    (b"lastval", Name::SequenceValue),
    (b"nextval", Name::NextValue),
    (b"setval", Name::NextValue),
    (b"setseed", Name::Lasts),
    (b"ts_stat", Name::RunsText),
    (b"ts_rewrite", Name::RunsText),
    (b"query_to_xml", Name::RunsText),
    (b"query_to_xmlschema", Name::RunsText),
    (b"query_to_xml_and_xmlschema", Name::RunsText),
    (b"table_to_xml", Name::RunsText),
    (b"table_to_xml_and_xmlschema", Name::RunsText),
    (b"schema_to_xml", Name::RunsText),
    (b"schema_to_xml_and_xmlschema", Name::RunsText),
    (b"database_to_xml", Name::RunsText),
    (b"database_to_xml_and_xmlschema", Name::RunsText),
    (b"pg_create_physical_replication_slot", Name::Lasts),
    (b"pg_create_logical_replication_slot", Name::Lasts),
    (b"pg_copy_physical_replication_slot", Name::Lasts),
    (b"pg_copy_logical_replication_slot", Name::Lasts),
    (b"pg_replication_origin_session_setup", Name::Lasts),
    (b"pg_replication_origin_session_reset", Name::Lasts),
    (b"pg_settings", Name::Settings),
    (b"set_config", Name::SetConfig),
    (b"pg_temp", Name::TemporarySchema),
    (b"pg_advisory_lock", Name::AdvisoryLock),
    (b"pg_advisory_lock_shared", Name::AdvisoryLock),
    (b"pg_try_advisory_lock", Name::AdvisoryLock),
    (b"pg_try_advisory_lock_shared", Name::AdvisoryLock),
    (b"pg_advisory_unlock", Name::AdvisoryUnlock),
    (b"pg_advisory_unlock_shared", Name::AdvisoryUnlock),
    (b"pg_advisory_unlock_all", Name::AdvisoryUnlock),
];

/// The schema of temporary objects has a number behind this when it is named in full.
const TEMPORARY_SCHEMA: &[u8] = b"pg_temp_";

/// By first letter, the lengths of the names and keywords that matter behind the first word. The longest has
/// less than 64 letters.
static LENGTHS: [u64; 256] = lengths();

const fn lengths() -> [u64; 256] {
    let mut lengths = [0; 256];
    // All lengths from that of `pg_temp`.
    let names = u64::MAX << 7;
    // Behind a first word of its own: `x_to_xml`, `x_to_xmlschema`, `x_to_xml_and_xmlschema`.
    let (query, table) = (1 << 12 | 1 << 18 | 1 << 26, 1 << 12 | 1 << 26);
    let known: [(u8, u64); 11] = [
        (b's', 1 << 6 | 1 << 7 | 1 << 10 | 1 << 13 | 1 << 27),
        (b'p', names),
        (b'i', 1 << 4),
        (b't', 1 << 4 | 1 << 7 | 1 << 9 | 1 << 10 | table),
        (b'e', 1 << 7),
        (b'h', 1 << 4),
        (b'c', 1 << 7),
        (b'l', 1 << 7),
        (b'n', 1 << 7),
        (b'q', query),
        (b'd', 1 << 15 | 1 << 29),
    ];
    let mut at = 0;
    while at < known.len() {
        let (letter, bits) = known[at];
        lengths[letter as usize] = bits;
        lengths[letter.to_ascii_uppercase() as usize] = bits;
        at += 1;
    }
    lengths
}

#[inline]
pub(super) fn may_matter(word: &[u8]) -> bool {
    let first = word.first().copied().unwrap_or_default();
    word.len() < 64 && LENGTHS[usize::from(first)] >> word.len() & 1 != 0
}

pub(super) fn name_of(name: &[u8]) -> Option<Name> {
    let prefix = name.get(..TEMPORARY_SCHEMA.len()).unwrap_or_default();
    if prefix.eq_ignore_ascii_case(TEMPORARY_SCHEMA) {
        return Some(Name::TemporarySchema);
    }
    let known = NAMES
        .iter()
        .find(|(known, _)| name.eq_ignore_ascii_case(known));
    known.map(|(_, name)| *name)
}

/// Reads a statement token by token.
pub(super) struct Reader<'a> {
    /// The first word.
    command: Folded,
    pub(super) flags: StatementFlags,
    /// The token before, as it is written.
    pub(super) previous: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(super) fn new(first: Token<'a>, rest: Tokens<'a>) -> Self {
        Self {
            command: folded(Some(first)),
            flags: head(first, rest),
            previous: first.text,
        }
    }

    /// Reads the whole statement token by token, up to its semicolon.
    pub(super) fn slowly(&mut self, first: Token<'a>, tokens: &mut Tokens<'a>) {
        self.look(first, tokens);
        if self.command == CREATE && makes_routine(*tokens) {
            self.routine(tokens);
        }
        self.tail(tokens);
    }

    /// Reads on, up to the semicolon.
    #[inline]
    fn tail(&mut self, tokens: &mut Tokens<'a>) {
        while let Some(token) = tokens.next() {
            if token.kind == Kind::Semicolon {
                return;
            }
            self.look(token, tokens);
            self.previous = token.text;
        }
    }

    /// One token; `rest` follows it.
    #[inline]
    pub(super) fn look(&mut self, token: Token<'a>, rest: &Tokens<'a>) {
        match token.kind {
            Kind::Word if may_matter(token.text) => self.word(token.text, *rest),
            Kind::Quoted => self.quoted(token.text, *rest),
            Kind::UnicodeQuoted => self.unreadable_name(token.text, *rest),
            Kind::Broken => self.flags = self.flags.without(StatementFlags::SHAREABLE),
            Kind::Literal
            | Kind::EscapeLiteral
            | Kind::UnicodeLiteral
            | Kind::BitLiteral
            | Kind::DollarLiteral
                if self.flags.has(StatementFlags::SHAREABLE) && !literal::is_constant(token) =>
            {
                self.flags = self.flags.without(StatementFlags::SHAREABLE);
            }
            _ => {}
        }
    }

    fn add(&mut self, flags: StatementFlags) {
        self.flags = self.flags.and(flags);
    }

    fn follows(&self, keyword: Folded) -> bool {
        fold(self.previous) == keyword
    }

    #[inline(never)]
    fn word(&mut self, word: &'a [u8], rest: Tokens<'a>) {
        match fold(word) {
            INTO if !self.follows(INSERT) && !self.follows(MERGE) => self.select_into(rest),
            TEMP | TEMPORARY if self.may_create() => self.temporary(rest),
            EXECUTE if self.may_create() && self.follows(AS) => self.add(EXECUTION),
            HOLD if self.command == DECLARE && self.follows(WITH) => {
                self.add(StatementFlags::GAINS_STATE.and(StatementFlags::HOLDS_CURSOR));
            }
            _ => self.name(word, rest),
        }
    }

    /// SELECT INTO makes a table.
    fn select_into(&mut self, mut rest: Tokens<'a>) {
        self.add(DDL);
        self.flags = self.flags.without(StatementFlags::SHAREABLE);
        let target = rest.next();
        let schema = target.and_then(|target| name_of(unquoted(target)));
        let temporary = matches!(folded(target), TEMP | TEMPORARY | LOCAL | GLOBAL);
        if temporary || schema == Some(Name::TemporarySchema) {
            self.add(StatementFlags::GAINS_STATE);
            if is_query(self.command) {
                self.add(StatementFlags::MAKES_TEMPORARY);
            }
        }
    }

    fn may_create(&self) -> bool {
        matches!(self.command, CREATE | EXPLAIN)
    }

    /// TEMPORARY, of what is created.
    fn temporary(&mut self, rest: Tokens<'a>) {
        if matches!(fold(self.previous), CREATE | REPLACE | LOCAL | GLOBAL) {
            self.add(StatementFlags::GAINS_STATE);
            if self.command == CREATE {
                // Nobody else can see it.
                self.flags = self.flags.without(StatementFlags::CHANGES_SCHEMA);
            }
            if self.command == CREATE && !drops_on_commit(rest) {
                self.add(StatementFlags::MAKES_TEMPORARY);
            }
        }
    }

    fn quoted(&mut self, text: &'a [u8], rest: Tokens<'a>) {
        let name = text.get(1..text.len() - 1).unwrap_or_default();
        if may_matter(name) {
            self.name(name, rest);
        }
    }

    /// An identifier whose letters may be written as numbers.
    #[cold]
    fn unreadable_name(&mut self, text: &'a [u8], mut rest: Tokens<'a>) {
        let plain = !text.contains(&b'\\') && folded(rest.next()) != UESCAPE;
        if plain {
            let name = text.get(3..text.len() - 1).unwrap_or_default();
            self.name(name, rest);
        } else {
            self.add(StatementFlags::UNKNOWN);
            self.flags = self.flags.without(StatementFlags::SHAREABLE);
        }
    }

    pub(super) fn name(&mut self, name: &[u8], rest: Tokens<'a>) {
        match name_of(name) {
            Some(Name::SetConfig) if is_local(rest) => self.add(meaning_after_call(rest)),
            Some(Name::SetConfig) => {
                self.add(StatementFlags::GAINS_STATE.and(meaning_after_call(rest)))
            }
            Some(Name::Settings) if self.command == SELECT => {}
            Some(Name::Settings) => {
                self.add(StatementFlags::GAINS_STATE.and(StatementFlags::CHANGES_MEANING))
            }
            Some(Name::AdvisoryLock) => {
                self.add(StatementFlags::GAINS_STATE);
                if is_query(self.command) && is_call(rest) {
                    self.add(StatementFlags::TAKES_LOCK);
                }
            }
            Some(Name::AdvisoryUnlock) => self.add(StatementFlags::LOSES_STATE),
            Some(Name::SequenceValue) => self.add(StatementFlags::ASKS_SEQUENCES),
            Some(Name::NextValue) => self.add(StatementFlags::USES_SEQUENCES),
            Some(Name::RunsText) => self.add(StatementFlags::RUNS_TEXTS),
            Some(Name::Lasts) => self.add(StatementFlags::LASTS),
            Some(Name::TemporarySchema) => {
                self.flags = self.flags.without(StatementFlags::SHAREABLE);
                if self.flags.has(StatementFlags::CHANGES_SCHEMA) {
                    self.add(StatementFlags::GAINS_STATE);
                }
                let mut behind = rest;
                let qualifies = behind.next().is_some_and(|token| token.kind == Kind::Dot);
                if self.command == CREATE && qualifies && !drops_on_commit(rest) {
                    self.add(StatementFlags::MAKES_TEMPORARY);
                }
            }
            None => {}
        }
    }

    /// CREATE FUNCTION or PROCEDURE, up to where its body of statements ends, if it has one.
    fn routine(&mut self, tokens: &mut Tokens<'a>) {
        let mut ahead = *tokens;
        let mut depth = 0_usize;
        while let Some(token) = ahead.next() {
            match token.kind {
                Kind::Open => depth += 1,
                Kind::Close => depth = depth.saturating_sub(1),
                Kind::Semicolon => return,
                Kind::Word if depth == 0 && self.follows(BEGIN) && fold(token.text) == ATOMIC => {
                    *tokens = ahead;
                    self.body(tokens);
                    return;
                }
                _ => {}
            }
            self.look(token, &ahead);
            self.previous = token.text;
        }
    }

    /// From BEGIN ATOMIC to its END. Its statements are taken as if they ran, but END. CASE and END may be
    /// labels of columns; when they do not pair within a statement, what follows may be outside.
    fn body(&mut self, tokens: &mut Tokens<'a>) {
        let mut open = 1_usize;
        let mut begins = true;
        while let Some(token) = tokens.next() {
            let word = folded(Some(token));
            let is_label = self.follows(AS) || self.previous == b".";
            match word {
                CASE if !is_label => open += 1,
                END if !is_label && open == 1 => return,
                END if !is_label => open -= 1,
                RETURN => {}
                _ if begins && token.kind != Kind::Semicolon => {
                    self.add(
                        head(token, *tokens)
                            .without(StatementFlags::SHAREABLE.and(StatementFlags::LEAVES)),
                    );
                }
                _ => {}
            }
            begins = token.kind == Kind::Semicolon;
            if begins && open > 1 {
                break;
            }
            self.look(token, tokens);
            self.previous = token.text;
        }
        self.add(StatementFlags::COMMITS.and(StatementFlags::MANY));
    }
}

/// True for the first word of a statement that calls the functions in it. One in parentheses has none.
fn is_query(command: Folded) -> bool {
    matches!(
        command,
        SELECT | INSERT | UPDATE | DELETE | MERGE | WITH | VALUES
    )
}

/// True when the name before `rest` is that of a function that is called.
fn is_call(mut rest: Tokens<'_>) -> bool {
    rest.next().is_some_and(|token| token.kind == Kind::Open)
}

/// True when what is created goes with its transaction.
fn drops_on_commit(rest: Tokens<'_>) -> bool {
    let mut words = [0; 3];
    for token in rest {
        if token.kind == Kind::Semicolon {
            return false;
        }
        words = [words[1], words[2], folded(Some(token))];
        if words == [ON, COMMIT, DROP] {
            return true;
        }
    }
    false
}

/// True when the call of `set_config` that follows its name is for the transaction alone.
fn is_local(mut rest: Tokens<'_>) -> bool {
    is_call(rest) && {
        rest.next();
        settings::is_local(rest)
    }
}
