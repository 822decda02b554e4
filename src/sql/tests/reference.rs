//! A slow reference for the classifier: texts become trees of parentheses, names are looked up in lists. A text that the
//! classifier calls a read, this must call a read too; not the other way round.

/// A token, or what a parenthesis or bracket encloses.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    Word(String),
    Quoted(String),
    Literal(String),
    Symbol(char),
    Number,
    Unreadable,
    Group(char, Vec<Node>),
}

use Node::{Group, Literal, Number, Quoted, Symbol, Unreadable, Word};

/// A database, in lists.
pub(super) struct Lists {
    /// Schema, name, and whether it may only run on the primary.
    pub(super) functions: Vec<(String, String, bool)>,
    pub(super) relations: Vec<(String, String, bool)>,
    pub(super) projections: Vec<String>,
}

const KEYWORDS: &str = " all and any array as asymmetric between bit both by case cast char character coalesce collate \
    columns content cube current_time current_timestamp dec decimal default distinct document else escape except exists \
    extract fetch filter first float for from greatest group grouping having ilike in intersect interval join json \
    json_array json_arrayagg json_exists json_object json_objectagg json_query json_scalar json_serialize json_table \
    json_value lateral leading least like limit localtime localtimestamp materialized national nchar next normalize not \
    nullif numeric offset on only operator or order over overlaps overlay passing placing position precision repeatable \
    rollup row second select sets some substring symmetric table then time timestamp to trailing treat trim union using \
    values varchar variadic varying when where window with xmlattributes xmlconcat xmlelement xmlexists xmlforest \
    xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable zone ";

const ENDERS: &str =
    " select where group having window order limit offset fetch for union intersect except ";

const SETTINGS: &str = " search_path timezone server_version lc_time row_security ";

fn listed(list: &str, word: &str) -> bool {
    list.contains(&format!(" {word} "))
}

/// Whether a hot standby may run the text.
pub(super) fn is_read(text: &[u8], lists: &Lists) -> bool {
    let Ok(text) = std::str::from_utf8(text) else {
        return false;
    };
    !text.contains('\0')
        && [true, false]
            .iter()
            .all(|standard| reads_as(text, *standard, lists))
}

fn reads_as(text: &str, standard: bool, lists: &Lists) -> bool {
    let mut lexer = Lexer {
        rest: text,
        standard,
        comments: Vec::new(),
    };
    let Some(tokens) = lexer.tokens() else {
        return false;
    };
    let asks = |comment: &String| {
        let comment = comment.trim().to_lowercase();
        comment == "no load balance" || comment.replace(' ', "") == "pgring:node=primary"
    };
    !lexer.comments.iter().any(asks)
        && tokens
            .split(|token| *token == Symbol(';'))
            .all(|tokens| statement(tokens, lists))
}

struct Lexer<'a> {
    rest: &'a str,
    standard: bool,
    comments: Vec<String>,
}

impl Lexer<'_> {
    fn starts(&self, what: &str) -> bool {
        self.rest
            .get(..what.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(what))
    }

    fn first(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let first = self.first()?;
        self.rest = &self.rest[first.len_utf8()..];
        Some(first)
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let mut taken = String::new();
        while let Some(next) = self.first().filter(|next| wanted(*next)) {
            taken.push(next);
            self.take();
        }
        taken
    }

    fn tokens(&mut self) -> Option<Vec<Node>> {
        let mut tokens = Vec::new();
        loop {
            self.blank()?;
            let Some(first) = self.first() else {
                return Some(tokens);
            };
            tokens.push(self.token(first)?);
        }
    }

    /// Space and comments.
    fn blank(&mut self) -> Option<()> {
        loop {
            if self.starts("--") {
                self.take_while(|next| next != '\n' && next != '\r');
            } else if self.starts("/*") {
                self.comment()?;
            } else if self
                .first()
                .is_some_and(|next| " \t\n\r\u{b}\u{c}".contains(next))
            {
                self.take();
            } else {
                return Some(());
            }
        }
    }

    fn comment(&mut self) -> Option<()> {
        let mut inside = String::new();
        let mut depth = 0;
        loop {
            let mark = if self.starts("/*") {
                1
            } else if self.starts("*/") {
                -1
            } else {
                0
            };
            depth += mark;
            inside.push(self.take()?);
            if mark != 0 {
                inside.push(self.take()?);
            }
            if depth == 0 {
                self.comments.push(inside[2..inside.len() - 2].to_owned());
                return Some(());
            }
        }
    }

    fn token(&mut self, first: char) -> Option<Node> {
        for (prefix, escapes) in [("e'", true), ("b'", false), ("x'", false), ("u&'", false)] {
            if self.starts(prefix) {
                self.rest = &self.rest[prefix.len()..];
                let doubles = prefix != "b'" && prefix != "x'";
                // What an escape stands for is not looked at.
                return self
                    .literal(escapes, doubles)
                    .map(|_| Literal("?".to_owned()));
            }
        }
        if self.starts("u&\"") {
            self.rest = &self.rest[3..];
            return self.quoted().map(|_| Unreadable);
        }
        if is_letter(first) {
            return Some(Word(self.take_while(is_in_word).to_ascii_lowercase()));
        }
        let second = self.rest.chars().nth(1).unwrap_or_default();
        if first.is_ascii_digit() || first == '.' && second.is_ascii_digit() {
            return Some(self.number());
        }
        self.take();
        match first {
            '\'' => self.literal(!self.standard, true).map(Literal),
            '"' => self.quoted(),
            '$' => self.dollar(),
            _ => Some(Symbol(first)),
        }
    }

    fn number(&mut self) -> Node {
        let digit = |next: char| next.is_ascii_digit();
        self.take_while(digit);
        if self.starts(".") && !self.starts("..") {
            self.take();
            self.take_while(digit);
        }
        let exponent = self.rest.get(1..).unwrap_or_default();
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        if self.starts("e") && digits.starts_with(digit) {
            self.rest = digits;
            self.take_while(digit);
        }
        Number
    }

    /// Behind the first quote.
    fn literal(&mut self, escapes: bool, doubles: bool) -> Option<String> {
        let mut value = String::new();
        loop {
            match self.take()? {
                '\\' if escapes => value.push(self.take()?),
                '\'' if doubles && self.starts("'") => value.push(self.take()?),
                '\'' if self.goes_on() => {}
                '\'' => return Some(value),
                other => value.push(other),
            }
        }
    }

    /// A literal goes on below, behind a line break; what is between is read then.
    fn goes_on(&mut self) -> bool {
        let mut rest = self.rest;
        let mut broken = false;
        loop {
            let next = rest.chars().next().unwrap_or_default();
            if next == '\'' && broken {
                self.rest = &rest[1..];
                return true;
            }
            if rest.starts_with("--") {
                let Some(end) = rest.find(['\n', '\r']) else {
                    return false;
                };
                rest = &rest[end..];
            } else if " \t\n\r\u{b}\u{c}".contains(next) {
                broken |= next == '\n' || next == '\r';
                rest = &rest[1..];
            } else {
                return false;
            }
        }
    }

    fn quoted(&mut self) -> Option<Node> {
        let mut name = String::new();
        loop {
            match self.take()? {
                '"' if self.starts("\"") => name.push(self.take()?),
                '"' => return Some(Quoted(name)),
                other => name.push(other),
            }
        }
    }

    /// Behind a dollar.
    fn dollar(&mut self) -> Option<Node> {
        if self.first().is_some_and(|next| next.is_ascii_digit()) {
            self.take_while(|next| next.is_ascii_digit());
            return Some(Number);
        }
        let is_tag = |next: char| is_in_word(next) && next != '$';
        let tag: String = self.rest.chars().take_while(|next| is_tag(*next)).collect();
        let Some(behind) = self.rest[tag.len()..].strip_prefix('$') else {
            return Some(Symbol('$'));
        };
        let (_, rest) = behind.split_once(&format!("${tag}$"))?;
        self.rest = rest;
        Some(Literal("?".to_owned()))
    }
}

fn is_letter(letter: char) -> bool {
    letter.is_ascii_alphabetic() || letter == '_' || !letter.is_ascii()
}

fn is_in_word(letter: char) -> bool {
    is_letter(letter) || letter.is_ascii_digit() || letter == '$'
}

/// Makes trees; what does not pair the server refuses, so that it is cut off or left open here.
fn trees(tokens: &[Node]) -> Vec<Node> {
    let mut stack = vec![('(', Vec::new())];
    for token in tokens {
        match token {
            Symbol(open @ ('(' | '[')) => stack.push((*open, Vec::new())),
            Symbol(')' | ']') if stack.len() > 1 => {
                let (open, inside) = stack.pop().unwrap();
                stack.last_mut().unwrap().1.push(Group(open, inside));
            }
            other => stack.last_mut().unwrap().1.push(other.clone()),
        }
    }
    while stack.len() > 1 {
        let (open, inside) = stack.pop().unwrap();
        stack.last_mut().unwrap().1.push(Group(open, inside));
    }
    stack.pop().unwrap().1
}

fn word(node: Option<&Node>) -> &str {
    match node {
        Some(Word(word)) => word,
        _ => "",
    }
}

fn statement(tokens: &[Node], lists: &Lists) -> bool {
    let nodes = trees(tokens);
    let walk = Walk {
        lists,
        given: given(tokens),
    };
    let Some(first) = nodes.first() else {
        return true;
    };
    match word(Some(first)) {
        "show" => match word(nodes.get(1)) {
            "time" | "transaction" => true,
            "" => {
                matches!(nodes.get(1), Some(Quoted(name)) if listed(SETTINGS, &name.to_lowercase()))
            }
            name => listed(SETTINGS, name) && nodes.len() == 2,
        },
        "explain" => walk.explained(&nodes[1..]),
        "copy" => walk.copied(&nodes[1..]),
        _ => walk.query(&nodes),
    }
}

/// Names that may be those of common table expressions, anywhere in the statement.
fn given(tokens: &[Node]) -> Vec<Node> {
    let before_as = tokens
        .windows(2)
        .filter(|pair| pair[1] == Word("as".to_owned()));
    let before_columns = tokens.windows(2).filter(|pair| pair[1] == Symbol('('));
    before_as
        .chain(before_columns)
        .map(|pair| pair[0].clone())
        .collect()
}

struct Walk<'a> {
    lists: &'a Lists,
    given: Vec<Node>,
}

/// The place that a group stands in.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Query,
    Source,
    Extract,
}

impl Walk<'_> {
    fn query(&self, nodes: &[Node]) -> bool {
        let mut first = nodes.first();
        while let Some(Group('(', inside)) = first {
            first = inside.first();
        }
        matches!(word(first), "select" | "values" | "table" | "with")
            && self.walk(nodes, Place::Query)
    }

    fn explained(&self, mut nodes: &[Node]) -> bool {
        if let [Group('(', inside), rest @ ..] = nodes
            && !self.query(inside)
            && !rest.is_empty()
        {
            return self.query(rest);
        }
        while matches!(word(nodes.first()), "analyze" | "analyse" | "verbose") {
            nodes = &nodes[1..];
        }
        self.query(nodes)
    }

    fn copied(&self, nodes: &[Node]) -> bool {
        let to = nodes
            .windows(2)
            .any(|pair| word(Some(&pair[0])) == "to" && word(Some(&pair[1])) == "stdout");
        let source = match nodes.first() {
            Some(Group('(', inside)) => self.query(inside),
            _ => self.relation(nodes).is_some(),
        };
        to && source
    }

    /// A relation that a standby has; answers how many nodes name it.
    fn relation(&self, nodes: &[Node]) -> Option<usize> {
        let length = chain(nodes);
        let name = nodes.get(length.checked_sub(1)?)?;
        let schema = (length > 2).then(|| &nodes[length - 3]);
        let known = self.lists.relations.iter();
        let mut known = known.filter(|(of, relation, _)| {
            is(name, relation) && schema.is_none_or(|schema| is(schema, of))
        });
        let is_given = schema.is_none() && self.given.iter().any(|given| same(given, name));
        let first = known.next();
        let tainted = first.is_some_and(|first| first.2) || known.any(|(_, _, tainted)| *tainted);
        (!tainted && (first.is_some() || is_given)).then_some(length)
    }

    #[expect(
        clippy::too_many_lines,
        reason = "it shall be seen at once, and share nothing with what it judges"
    )]
    fn walk(&self, nodes: &[Node], place: Place) -> bool {
        let mut sources = place == Place::Source;
        let mut expects = sources;
        let mut extracts = place == Place::Extract;
        let mut labels = false;
        for (at, node) in nodes.iter().enumerate() {
            let before = |count: usize| at.checked_sub(count).and_then(|at| nodes.get(at));
            let is_column = before(1) == Some(&Symbol('.'));
            let is_label = std::mem::replace(&mut labels, false);
            let expected = std::mem::replace(&mut expects, false);
            let next = nodes.get(at + 1);
            match node {
                Unreadable => return false,
                Symbol(',') => expects = sources,
                Group(_, inside) => {
                    let inner = match word(before(1)) {
                        _ if matches!(node, Group('[', _)) => Place::Query,
                        _ if expected => Place::Source,
                        "extract" | "substring" | "trim" | "overlay"
                            if before(2) != Some(&Symbol('.')) =>
                        {
                            Place::Extract
                        }
                        _ => Place::Query,
                    };
                    if !self.walk(inside, inner) {
                        return false;
                    }
                }
                Word(_) | Quoted(_) => {
                    if is_column && self.lists.projections.iter().any(|known| is(node, known)) {
                        return false;
                    }
                    if let Some(Group('(', inside)) = next
                        && !self.may_precede(&nodes[..=at], is_label, inside)
                    {
                        return false;
                    }
                    let text = word(Some(node));
                    let keyword = if is_column || is_label { "" } else { text };
                    let is_query = matches!(keyword, "select" | "with" | "table")
                        || keyword == "values" && matches!(next, Some(Group('(', _)));
                    if expected && matches!(keyword, "only" | "lateral") {
                        expects = true;
                        continue;
                    }
                    if expected && !is_query {
                        let behind = nodes.get(at + chain(&nodes[at..]));
                        let is_call = matches!(behind, Some(Group('(', _)));
                        let is_rows = text == "rows" && word(behind) == "from";
                        if !is_call && !is_rows && self.relation(&nodes[at..]).is_none() {
                            return false;
                        }
                        continue;
                    }
                    if expected && keyword == "values" || listed(ENDERS, keyword) {
                        sources = false;
                    }
                    match keyword {
                        "insert" | "update" | "delete" | "merge" | "into" => return false,
                        "for" if matches!(word(next), "update" | "no" | "share" | "key") => {
                            return false;
                        }
                        "as" => labels = true,
                        "select" => extracts = false,
                        "join" | "table" => expects = true,
                        "from" if !extracts && !is_distinct(&nodes[..at]) => {
                            sources = true;
                            expects = true;
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        true
    }

    /// Whether the name that ends these nodes may have a parenthesis behind it.
    fn may_precede(&self, nodes: &[Node], is_label: bool, arguments: &[Node]) -> bool {
        let before = |count: usize| {
            nodes
                .len()
                .checked_sub(count + 1)
                .and_then(|at| nodes.get(at))
        };
        let name = &nodes[nodes.len() - 1];
        let schema = (before(1) == Some(&Symbol('.')))
            .then(|| before(2))
            .flatten();
        let text = word(Some(name));
        if word(before(1)) == "tablesample" && matches!(text, "system" | "bernoulli") {
            return true;
        }
        let known = self.lists.functions.iter();
        let known: Vec<_> = known
            .filter(|(of, function, _)| {
                is(name, function) && schema.is_none_or(|schema| is(schema, of))
            })
            .collect();
        if known.iter().any(|(_, _, primary)| *primary) {
            return false;
        }
        if !known.is_empty() {
            return !is(name, "current_setting")
                || is_label
                || matches!(arguments.first(), Some(Literal(name)) if name.contains('.')
                    || listed(SETTINGS, &name.to_lowercase()));
        }
        let is_keyword = schema.is_none() && listed(KEYWORDS, text);
        let may_be_alias = matches!(
            before(1),
            Some(Word(_) | Quoted(_) | Group(_, _) | Symbol(','))
        );
        is_keyword || is_label || may_be_alias
    }
}

/// How many nodes make a name with dots.
fn chain(nodes: &[Node]) -> usize {
    let mut length = 0;
    while matches!(nodes.get(length), Some(Word(_) | Quoted(_))) {
        length += 1;
        if nodes.get(length) != Some(&Symbol('.')) {
            return length;
        }
        length += 1;
    }
    length.saturating_sub(1)
}

fn is_distinct(before: &[Node]) -> bool {
    let words: Vec<_> = before
        .iter()
        .rev()
        .take(4)
        .map(|node| word(Some(node)))
        .collect();
    let dot = |at: usize| {
        before
            .len()
            .checked_sub(at + 1)
            .is_some_and(|at| before[at] == Symbol('.'))
    };
    match words.as_slice() {
        ["distinct", "is", before @ ..] => before.first() != Some(&"as") && !dot(2),
        ["distinct", "not", "is", before @ ..] => before.first() != Some(&"as") && !dot(3),
        _ => false,
    }
}

fn is(node: &Node, name: &str) -> bool {
    matches!(node, Word(known) | Quoted(known) if known == name)
}

fn same(one: &Node, other: &Node) -> bool {
    matches!((one, other), (Word(a) | Quoted(a), Word(b) | Quoted(b)) if a == b)
}
