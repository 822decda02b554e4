//! Reads the body of a function or of DO, the definition of a view, or any other text of SQL or PL/pgSQL: what it may leave
//! behind, which settings with a dot it names, and which names it mentions. Pure; follows no grammar but for what tells a
//! command from a name, and errs towards too much.

use super::{
    effects::{Effects, settings::is_local},
    quoted::{content, undoubled},
    token::{Kind, Reading, Token, Tokens, clipped, unquoted},
    word::{
        ALTER, BEGIN, CONSTRAINTS, CREATE, DEALLOCATE, DISCARD, DO, DROP, ELSE, EXECUTE, FUNCTION,
        GLOBAL, GRANT, HOLD, IMPORT, INTO, LISTEN, LOAD, LOCAL, LOOP, ON, PREPARE, PROCEDURE,
        REASSIGN, REPLACE, RESET, REVOKE, SECURITY, SESSION, SET, TEMP, TEMPORARY, THEN, TO,
        TRANSACTION, UNLISTEN, UPDATE, USING, WITH, folded,
    },
};

/// The setting that is no setting: what `random()` gives is determined by it, and nothing takes it back.
const SEED: &[u8] = b"seed";

/// Literals within literals are read so deep.
const DEPTH_MAX: usize = 4;

/// Functions of PostgreSQL's own, and of extensions that are known for it, that leave something behind or run what they
/// are given, by what they do.
const KNOWN: [(&[u8], Effects); 55] = [
    (b"pg_advisory_lock", Effects::STATE),
    (b"pg_advisory_lock_shared", Effects::STATE),
    (b"pg_try_advisory_lock", Effects::STATE),
    (b"pg_try_advisory_lock_shared", Effects::STATE),
    (b"pg_advisory_unlock", Effects::STATE),
    (b"pg_advisory_unlock_shared", Effects::STATE),
    (b"pg_advisory_unlock_all", Effects::STATE),
    (b"pg_temp", Effects::STATE),
    (b"query_to_xml", Effects::UNSEEN),
    (b"query_to_xml_and_xmlschema", Effects::UNSEEN),
    (b"query_to_xmlschema", Effects::UNSEEN),
    (b"table_to_xml", Effects::UNSEEN),
    (b"table_to_xml_and_xmlschema", Effects::UNSEEN),
    (b"schema_to_xml", Effects::UNSEEN),
    (b"schema_to_xml_and_xmlschema", Effects::UNSEEN),
    (b"database_to_xml", Effects::UNSEEN),
    (b"database_to_xml_and_xmlschema", Effects::UNSEEN),
    (b"ts_stat", Effects::UNSEEN),
    (b"ts_rewrite", Effects::UNSEEN),
    (b"crosstab", Effects::UNSEEN),
    (b"connectby", Effects::UNSEEN),
    (b"setseed", Effects::LASTING),
    (b"pg_replication_origin_session_setup", Effects::LASTING),
    (b"pg_replication_origin_session_reset", Effects::LASTING),
    (b"pg_create_physical_replication_slot", Effects::LASTING),
    (b"pg_create_logical_replication_slot", Effects::LASTING),
    (b"pg_copy_physical_replication_slot", Effects::LASTING),
    (b"pg_copy_logical_replication_slot", Effects::LASTING),
    (b"dblink_connect", Effects::LASTING),
    (b"dblink_connect_u", Effects::LASTING),
    (b"dblink_open", Effects::LASTING),
    (b"pgv_set", Effects::LASTING),
    (b"pgv_insert", Effects::LASTING),
    (b"set_user", Effects::LASTING),
    (b"reset_user", Effects::LASTING),
    (b"set_session_auth", Effects::LASTING),
    (b"plv8_reset", Effects::LASTING),
    (b"currval", Effects::ASKS_SEQUENCES),
    (b"currval_oid", Effects::ASKS_SEQUENCES),
    (b"lastval", Effects::ASKS_SEQUENCES),
    (b"nextval", Effects::USES_SEQUENCES),
    (b"nextval_oid", Effects::USES_SEQUENCES),
    (b"setval", Effects::USES_SEQUENCES),
    (b"set_curcfg", Effects::STATE),
    (b"set_limit", Effects::STATE),
    (b"isn_weak", Effects::LASTING),
    (b"hll_set_defaults", Effects::LASTING),
    (b"hll_set_max_sparse", Effects::LASTING),
    (b"hll_set_output_version", Effects::LASTING),
    (b"crosstab", Effects::UNSEEN),
    (b"crosstab2", Effects::UNSEEN),
    (b"crosstab3", Effects::UNSEEN),
    (b"crosstab4", Effects::UNSEEN),
    (b"connectby", Effects::UNSEEN),
    (b"xpath_table", Effects::UNSEEN),
];

/// The effects of a text, and the names in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// Effects of its own words.
    pub effects: Effects,
    /// Settings with a dot that it may set, in small letters.
    pub settings: Vec<Box<str>>,
    /// Names that it mentions, which may be those of functions and relations, as the server stores them.
    pub mentions: Vec<Box<[u8]>>,
    /// Its literals as texts, should something run them.
    pub literals: Option<Box<Self>>,
    /// It is a literal of no more than SET, as those are of which an UPDATE is made.
    is_bare_set: bool,
    has_update: bool,
}

impl Body {
    /// Reads a text under both readings of its backslashes, where it has two.
    pub fn read(text: &[u8]) -> Self {
        Self::read_deep(text, 0)
    }

    /// The body of something that is known to leave this, whatever its text.
    pub fn leaving(effects: Effects) -> Self {
        Self {
            effects,
            ..Self::default()
        }
    }

    fn read_deep(text: &[u8], depth: usize) -> Self {
        let mut body = Self::default();
        let is_doubtful = body.read_as(text, Reading::Standard, depth);
        if is_doubtful {
            body.read_as(text, Reading::Backslash, depth);
        }
        if let Some(literals) = &mut body.literals
            && literals.is_bare_set
            && !literals.has_update
        {
            literals.effects = literals.effects.and(Effects::UNNAMED);
        }
        body.mentions.sort_unstable();
        body.mentions.dedup();
        body
    }

    /// All that it leaves behind when it runs its literals, too.
    pub fn with_literals(&self) -> Effects {
        let literals = self.literals.as_ref();
        literals.map_or(self.effects, |literals| {
            self.effects.and(literals.with_literals())
        })
    }

    /// Adds what another text may do.
    fn join(&mut self, other: Self) {
        self.effects = self.effects.and(other.effects);
        other
            .settings
            .into_iter()
            .for_each(|name| self.name_setting(name));
        self.mentions.extend(other.mentions);
        self.is_bare_set |= other.is_bare_set;
        self.has_update |= other.has_update;
        if let Some(literals) = other.literals {
            self.literals.get_or_insert_default().join(*literals);
        }
    }

    fn read_as(&mut self, text: &[u8], reading: Reading, depth: usize) -> bool {
        let mut tokens = Tokens::new(text, reading);
        let mut previous: Option<Token<'_>> = None;
        let (mut begins, mut is_do) = (true, false);
        while let Some(token) = tokens.next() {
            is_do = is_do && token.kind != Kind::Semicolon || begins && folded(Some(token)) == DO;
            match token.kind {
                Kind::Word if is_do => self.word_of_do(token, previous),
                Kind::Word => self.word(token, previous, begins, tokens),
                Kind::Quoted => self.mention(&undoubled(unquoted(token), b'"'), tokens, true),
                Kind::UnicodeQuoted => self.unreadable(tokens),
                Kind::Literal
                | Kind::EscapeLiteral
                | Kind::UnicodeLiteral
                | Kind::DollarLiteral => {
                    self.literal(token, is_do, depth);
                }
                Kind::Broken => self.add(Effects::UNSEEN),
                _ => {}
            }
            begins = begins_statement(token, begins);
            previous = Some(token);
        }
        tokens.is_doubtful()
    }

    fn add(&mut self, effects: Effects) {
        self.effects = self.effects.and(effects);
    }

    fn name_setting(&mut self, name: Box<str>) {
        if !self.settings.contains(&name) {
            self.settings.push(name);
        }
    }

    /// A word; `rest` follows it.
    fn word(
        &mut self,
        token: Token<'_>,
        previous: Option<Token<'_>>,
        begins: bool,
        rest: Tokens<'_>,
    ) {
        let word = folded(Some(token));
        if begins {
            self.command(word, rest);
        }
        match word {
            EXECUTE => self.execute(previous, rest),
            TEMP | TEMPORARY if makes(folded(previous)) => self.add(Effects::STATE),
            HOLD if folded(previous) == WITH => self.add(Effects::STATE),
            UPDATE => self.has_update = true,
            _ => self.mention(token.text, rest, false),
        }
    }

    /// A word of DO, whose literal is run: in another language there is no telling.
    fn word_of_do(&mut self, token: Token<'_>, previous: Option<Token<'_>>) {
        let is_language = previous.is_some_and(|it| it.text.eq_ignore_ascii_case(b"language"));
        if is_language && !token.text.eq_ignore_ascii_case(b"plpgsql") {
            self.add(Effects::UNSEEN.and(Effects::LASTING));
        }
    }

    /// The first word of a statement.
    fn command(&mut self, word: super::word::Folded, rest: Tokens<'_>) {
        match word {
            SET => self.set(rest),
            RESET => {
                self.add(Effects::STATE);
                self.setting(rest);
            }
            DISCARD | LISTEN | UNLISTEN | PREPARE | DEALLOCATE => self.add(Effects::STATE),
            LOAD => self.add(Effects::LASTING),
            CREATE | ALTER | DROP | GRANT | REVOKE | IMPORT | REASSIGN | SECURITY => {
                self.add(Effects::SCHEMA);
            }
            _ => {}
        }
    }

    /// SET, but for what its transaction alone has.
    fn set(&mut self, mut rest: Tokens<'_>) {
        let mut behind = rest;
        match folded(behind.next()) {
            LOCAL if !names_setting(behind) => return,
            TRANSACTION | CONSTRAINTS if !names_setting(behind) => return,
            SESSION => rest = behind,
            _ => {}
        }
        if rest.clone().next().is_none() {
            self.is_bare_set = true;
            return;
        }
        self.add(Effects::STATE);
        self.setting(rest);
    }

    /// The name of a setting: noted when it has a dot, feared when it cannot be read.
    fn setting(&mut self, mut rest: Tokens<'_>) {
        match dotted(&mut rest) {
            Dotted::Plain(name) if name == SEED => self.add(Effects::LASTING),
            Dotted::Plain(_) => {}
            Dotted::Name(name) => self.name_setting(name),
            Dotted::Unreadable => self.add(Effects::UNNAMED),
        }
    }

    /// EXECUTE, where it is no privilege and no trigger's.
    fn execute(&mut self, previous: Option<Token<'_>>, mut rest: Tokens<'_>) {
        let word = folded(rest.next());
        let is_clause = word == ON || matches!(word, FUNCTION | PROCEDURE) && names_routine(rest);
        if !is_clause && !matches!(folded(previous), GRANT | REVOKE) {
            self.add(Effects::UNSEEN);
        }
    }

    /// A name, or a word that may be one. `rest` follows it.
    fn mention(&mut self, name: &[u8], rest: Tokens<'_>, is_exact: bool) {
        let name = clipped(name);
        let lower = name.to_ascii_lowercase();
        if lower == b"set_config" {
            return self.set_config(rest);
        }
        if lower == b"pg_settings" && self.has_update {
            self.add(Effects::STATE);
        }
        if lower.starts_with(b"pg_temp_") {
            self.add(Effects::STATE);
        }
        if let Some((_, effects)) = KNOWN.iter().find(|(known, _)| *known == lower) {
            self.add(*effects);
        }
        let name = if is_exact { name.to_vec() } else { lower };
        self.mentions.push(name.into());
    }

    /// An identifier whose letters may be written as numbers.
    fn unreadable(&mut self, mut rest: Tokens<'_>) {
        let is_called = rest.next().is_some_and(|next| next.kind == Kind::Open);
        self.add(Effects::UNSEEN);
        if is_called {
            self.add(Effects::UNNAMED);
        }
    }

    /// A call of `set_config`, whose arguments follow.
    fn set_config(&mut self, mut rest: Tokens<'_>) {
        if rest.next().is_none_or(|token| token.kind != Kind::Open) {
            // A mention in a text that is to become a call, most likely.
            return self.add(Effects::STATE.and(Effects::UNNAMED));
        }
        if is_local(rest) {
            return;
        }
        self.add(Effects::STATE);
        match literal_argument(rest) {
            Some(name) if name.contains('.') => self.name_setting(name.into()),
            Some(name) if name.as_bytes() == SEED => self.add(Effects::LASTING),
            Some(_) => {}
            None => self.add(Effects::UNNAMED),
        }
    }

    /// A literal, which may be a text that something runs.
    fn literal(&mut self, token: Token<'_>, is_run: bool, depth: usize) {
        let Some(content) = content(token).filter(|_| depth < DEPTH_MAX) else {
            let literals = self.literals.get_or_insert_default();
            literals.add(Effects::UNNAMED);
            return;
        };
        let inner = Self::read_deep(&content, depth + 1);
        if is_run {
            return self.join(inner);
        }
        self.literals.get_or_insert_default().join(inner);
    }
}

/// True when what follows is the name of a trigger's function, and not what a variable of PL/pgSQL is executed with.
fn names_routine(mut rest: Tokens<'_>) -> bool {
    let name = rest.next();
    let is_name = name.is_some_and(|name| matches!(name.kind, Kind::Word | Kind::Quoted));
    let is_word = matches!(folded(name), USING | INTO);
    let next = rest.next();
    is_name && !is_word && next.is_some_and(|next| matches!(next.kind, Kind::Open | Kind::Dot))
}

/// True when a statement may begin behind this token.
fn begins_statement(token: Token<'_>, began: bool) -> bool {
    match token.kind {
        Kind::Semicolon => true,
        Kind::Word => matches!(folded(Some(token)), BEGIN | THEN | ELSE | LOOP),
        // The label of a block or loop.
        Kind::Operator => token.text.ends_with(b">>") || began,
        _ => false,
    }
}

fn makes(previous: super::word::Folded) -> bool {
    matches!(previous, CREATE | REPLACE | LOCAL | GLOBAL | INTO)
}

/// True when the word before `rest` was itself the name of a setting.
fn names_setting(mut rest: Tokens<'_>) -> bool {
    rest.next().is_none_or(|next| {
        matches!(next.kind, Kind::Dot | Kind::Operator | Kind::Semicolon)
            || folded(Some(next)) == TO
    })
}

/// A name as a command has it.
enum Dotted {
    /// Without a dot, in small letters.
    Plain(Vec<u8>),
    /// In small letters.
    Name(Box<str>),
    /// It has parts that are made when the text is run, or letters that only the client's encoding tells.
    Unreadable,
}

/// Reads names with dots between them, however much space and comments there are.
fn dotted(rest: &mut Tokens<'_>) -> Dotted {
    let mut name = Vec::new();
    let mut parts = 0;
    loop {
        let part = rest
            .next()
            .filter(|part| matches!(part.kind, Kind::Word | Kind::Quoted));
        let Some(part) = part else {
            return Dotted::Unreadable;
        };
        parts += 1;
        name.extend_from_slice(clipped(&undoubled(unquoted(part), b'"')));
        if rest
            .clone()
            .next()
            .is_none_or(|next| next.kind != Kind::Dot)
        {
            break;
        }
        rest.next();
        name.push(b'.');
    }
    if parts == 1 && !name.contains(&b'.') && name.is_ascii() {
        return Dotted::Plain(name.to_ascii_lowercase());
    }
    match String::from_utf8(name) {
        Ok(name) if name.is_ascii() => Dotted::Name(name.to_ascii_lowercase().into()),
        _ => Dotted::Unreadable,
    }
}

/// The first argument of a call, when it is made of nothing but literals.
fn literal_argument(mut rest: Tokens<'_>) -> Option<String> {
    let mut name = Vec::new();
    loop {
        let literal = rest.next()?;
        if !matches!(literal.kind, Kind::Literal | Kind::DollarLiteral)
            || literal.text.contains(&b'\\')
        {
            return None;
        }
        name.extend_from_slice(&content(literal)?);
        match rest.next()? {
            next if next.kind == Kind::Comma => break,
            next if next.kind == Kind::Operator && next.text == b"||" => {}
            _ => return None,
        }
    }
    let name = String::from_utf8(name).ok()?;
    name.is_ascii().then(|| name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests;
