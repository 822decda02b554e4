//! Properties of the class of every text: what is called a read, the slow reference calls a read too; the quick way finds
//! what the slow one finds; statements side by side are judged each for itself.

use proptest::{
    prelude::*,
    sample::{Index, select},
};

use super::{
    classes::{functions, relations, statements},
    reference::{self, Lists},
};
use crate::sql::{
    catalog::{Called, Catalog, FunctionFact, Identifier, Named},
    class::{Class, Knowledge, class, explain, fast, overrides::Overrides},
    hint::hint,
    token::{Kind, Reading, Tokens},
};

/// Bytes that change most of what is around them.
const SHARP: &[u8] = b"'\"()[],.;-/*$\\aUE&: \n0x";

/// Pieces of which hard queries are made.
const PIECES: [&str; 96] = [
    "SELECT ",
    "FROM ",
    " FROM ",
    "JOIN ",
    "TABLE ",
    "WITH ",
    "RECURSIVE ",
    " AS ",
    "AS",
    "x",
    "y",
    "t",
    "t1",
    "unlogged_t",
    "a_view",
    "view_of_unlogged",
    "nowhere",
    "nextval",
    "vol",
    "lower",
    "count",
    "txid_current",
    "unknown_function",
    "EXTRACT",
    "SUBSTRING",
    "TRIM",
    "IS ",
    "NOT ",
    "DISTINCT ",
    "ONLY ",
    "LATERAL ",
    "VALUES ",
    "ROWS ",
    "ORDINALITY ",
    "WHERE ",
    "ORDER BY ",
    "GROUP BY ",
    "LIMIT ",
    "UNION ",
    "FOR ",
    "UPDATE ",
    "SHARE ",
    "KEY ",
    "INTO ",
    "INSERT ",
    "DELETE ",
    "MERGE ",
    "MATERIALIZED ",
    "TABLESAMPLE ",
    "system",
    "ON ",
    "USING ",
    "IN ",
    "COALESCE",
    "OVER ",
    "current_setting",
    "'search_path'",
    "public",
    "pg_catalog",
    ".",
    ".",
    ".",
    ",",
    ",",
    ", ",
    "(",
    "(",
    "(",
    "(",
    ")",
    ")",
    ")",
    ")",
    "[",
    "]",
    ";",
    "'",
    "\"",
    "\"t\"",
    "\"nextval\"",
    "U&\"",
    "$1",
    "$$",
    "\\",
    "1",
    "1.",
    " ",
    " ",
    "\n",
    "--",
    "/*",
    "*/",
    "/**/",
    "E'",
    "=",
    "é",
];

const GAPS: [&str; 5] = [" ", "\t", "/* a; 'b */", " /* /* \" */ */", " -- c '\n"];

/// A database as the classifier knows it, and as the reference does.
struct Database {
    catalog: Catalog,
    overrides: Overrides,
    lists: Lists,
}

impl Database {
    /// With functions that columns may call, or without, so that the quick way goes through queries.
    fn new(projects: bool) -> Self {
        let functions = || {
            functions().map(move |fact| FunctionFact {
                projects: fact.projects && projects,
                ..fact
            })
        };
        let catalog = Catalog::new(functions(), relations());
        let plain = |name: &String| Identifier::quoted(name.as_bytes()).written().to_vec();
        let functions = functions().map(|fact| {
            let (schema, name) = (plain(&fact.schema), plain(&fact.name));
            let called =
                catalog.called(Some(Identifier::quoted(&schema)), Identifier::quoted(&name));
            (fact.schema, fact.name, called != Called::Reader)
        });
        let relations = relations().map(|fact| {
            let (schema, name) = (plain(&fact.schema), plain(&fact.name));
            let named = catalog.named(Some(Identifier::quoted(&schema)), Identifier::quoted(&name));
            (fact.schema, fact.name, named != Named::Replicated)
        });
        let lists = Lists {
            functions: functions.collect(),
            relations: relations.collect(),
            projections: projects.then(|| "vol".to_owned()).into_iter().collect(),
        };
        Self {
            catalog,
            overrides: Overrides::default(),
            lists,
        }
    }

    fn knowledge(&self) -> Knowledge<'_> {
        Knowledge {
            catalog: Some(&self.catalog),
            overrides: &self.overrides,
        }
    }

    fn class(&self, text: &[u8]) -> Class {
        class(text, &self.knowledge())
    }

    /// Panics unless all answers about the text agree.
    fn check(&self, text: &[u8]) {
        let shown = || String::from_utf8_lossy(text);
        let (explained, reason) = explain(text, &self.knowledge());
        let class = self.class(text);
        assert_eq!(class, explained, "{reason}: {}", shown());
        let refused = class == Class::Read && !reference::is_read(text, &self.lists);
        assert!(!refused, "the reference says write: {}", shown());
    }
}

thread_local! {
    static DATABASES: [Database; 2] = [true, false].map(Database::new);
}

fn check(text: &[u8]) {
    DATABASES.with(|databases| databases.iter().for_each(|database| database.check(text)));
}

fn class_of(text: &[u8]) -> Class {
    DATABASES.with(|[_, database]| database.class(text))
}

/// Statements behind which something may follow, which have one reading, and say nothing of nodes.
fn plain_statements() -> Vec<String> {
    let is_plain = |text: &String| {
        let mut tokens = Tokens::new(text.as_bytes(), Reading::Standard);
        let mut depth = 0;
        let whole = tokens.by_ref().all(|token| {
            depth += i32::from(token.kind == Kind::Open) - i32::from(token.kind == Kind::Close);
            token.kind != Kind::Broken && depth >= 0
        });
        whole && depth == 0 && !tokens.is_doubtful() && hint(text.as_bytes()).is_none()
    };
    statements().filter(is_plain).collect()
}

fn noise() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![30 => select(&PIECES[..]).prop_map(str::to_owned), 1 => "\\PC{0,3}"];
    prop::collection::vec(piece, 0..40)
        .prop_map(|pieces| format!("SELECT {}", pieces.concat()).into_bytes())
}

#[test]
fn every_statement_of_the_tables_is_judged_as_the_reference_judges() {
    for text in statements() {
        check(text.as_bytes());
    }
}

#[test]
fn no_single_byte_makes_a_read_of_a_write() {
    for (row, text) in statements().enumerate() {
        let text = text.into_bytes();
        for at in 0..text.len() {
            let mut changed = text.clone();
            for turn in 0..4 {
                changed[at] = SHARP[(row + 7 * at + 5 * turn) % SHARP.len()];
                check(&changed);
            }
            changed.remove(at);
            check(&changed);
            changed.truncate(at);
            check(&changed);
        }
    }
}

/// Found by chance: FROM belongs to a query there, not to EXTRACT; and no alias is called like a function that matters.
#[test]
fn texts_that_no_server_takes_are_judged_as_the_reference_judges() {
    for text in [
        "SELECT EXTRACT(epoch FROITH y AS (SELECT 2) SELECT * FROM x, y) z",
        "SELECT TRIM(SELECT a FROM nowhere)",
        "SELECT * FROM T current_setting('transaction_read_only')",
        "SELECT WITH ORDINALITY current_setting(view_of_unlogged=NOT \"a\")",
        "SELECT SUBSTRING(EXTRACT(year FROM now())::text, SELECT 1 FROM nowhere)",
    ] {
        check(text.as_bytes());
        assert_eq!(class_of(text.as_bytes()), Class::Write, "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn noise_is_judged_as_the_reference_judges(text in noise()) {
        check(&text);
    }

    #[test]
    fn changed_statements_are_judged_as_the_reference_judges(
        text in select(statements().collect::<Vec<_>>()),
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..6),
    ) {
        let mut text = text.into_bytes();
        for (at, byte) in changes {
            let length = text.len().max(1);
            if let Some(old) = text.get_mut(at.index(length)) {
                *old = if byte < 64 { SHARP[usize::from(byte) % SHARP.len()] } else { byte };
            }
        }
        check(&text);
    }

    #[test]
    fn pieces_of_statements_are_judged_as_the_reference_judges(
        one in select(statements().collect::<Vec<_>>()),
        other in select(statements().collect::<Vec<_>>()),
        cuts in (any::<Index>(), any::<Index>()),
    ) {
        let (one, other) = (one.as_bytes(), other.as_bytes());
        let (one, other) = (&one[..cuts.0.index(one.len() + 1)], &other[cuts.1.index(other.len() + 1)..]);
        check(&[one, other].concat());
    }

    #[test]
    fn statements_side_by_side_are_judged_each_for_itself(
        one in select(plain_statements()),
        other in select(plain_statements()),
    ) {
        let both = class_of(format!("{one}\n;{other}").as_bytes());
        let reads = |text: &String| class_of(text.as_bytes()) == Class::Read;
        prop_assert_eq!(both == Class::Read, reads(&one) && reads(&other));
    }

    #[test]
    fn space_and_comments_change_nothing(
        text in select(plain_statements()),
        gaps in prop::collection::vec(select(&GAPS[..]), 1..20),
    ) {
        let mut wide = Vec::new();
        let tokens = Tokens::new(text.as_bytes(), Reading::Standard);
        for (token, gap) in tokens.zip(gaps.iter().cycle()) {
            wide.extend_from_slice(gap.as_bytes());
            wide.extend_from_slice(token.text);
        }
        prop_assert_eq!(class_of(&wide), class_of(text.as_bytes()), "{}", String::from_utf8_lossy(&wide));
    }

    #[test]
    fn the_quick_way_knows_no_more_than_the_slow_one(text in noise()) {
        DATABASES.with(|[_, database]| {
            let knowledge = database.knowledge();
            let is_read = explain(&text, &knowledge).0 == Class::Read;
            assert!(is_read || !fast::is_read(&text, &knowledge), "{}", String::from_utf8_lossy(&text));
        });
    }
}
