//! Facts, and what is found of them.

use super::*;

pub(super) fn function(schema: &str, name: &str, volatile: bool) -> FunctionFact {
    FunctionFact {
        schema: schema.to_owned(),
        name: name.to_owned(),
        volatile,
        projects: false,
    }
}

pub(super) fn relation(
    oid: u32,
    name: &str,
    kind: char,
    persistence: char,
    bases: &[u32],
) -> RelationFact {
    RelationFact {
        oid,
        schema: "public".to_owned(),
        name: name.to_owned(),
        kind,
        persistence,
        row_security: false,
        bases: bases.to_vec(),
        calls_writers: false,
    }
}

fn plain(name: &str) -> Identifier<'_> {
    Identifier::plain(name.as_bytes())
}

fn quoted(name: &str) -> Identifier<'_> {
    Identifier::quoted(name.as_bytes())
}

#[test]
fn a_name_is_as_bad_as_the_worst_that_it_may_call() {
    let catalog = Catalog::new(
        [
            function("pg_catalog", "lower", false),
            function("a", "f", false),
            function("b", "f", true),
            function("pg_catalog", "txid_current", false),
            function("mine", "txid_current", false),
            function("pg_catalog", "pg_stat_get_numscans", false),
        ],
        [],
    );
    let called = |name| catalog.called(None, plain(name));
    assert_eq!(called("lower"), Called::Reader);
    assert_eq!(called("LOWER"), Called::Reader);
    assert_eq!(called("f"), Called::Volatile);
    assert_eq!(called("txid_current"), Called::PrimaryOnly);
    assert_eq!(called("pg_stat_get_numscans"), Called::PrimaryOnly);
    assert_eq!(called("g"), Called::Unknown);
    let of = |schema, name| catalog.called(Some(plain(schema)), plain(name));
    assert_eq!(of("A", "f"), Called::Reader);
    assert_eq!(of("b", "F"), Called::Volatile);
    assert_eq!(of("c", "f"), Called::Unknown);
    assert_eq!(of("mine", "txid_current"), Called::Reader);
}

/// Pgpool-II keeps one entry for `"Cx"` and `cx`.
#[test]
fn gap_names_that_differ_in_case_are_different() {
    let catalog = Catalog::new(
        [function("s", "Cx", false), function("s", "cx", true)],
        [
            relation(1, "Cx", 'r', 'u', &[]),
            relation(2, "cx", 'r', 'p', &[]),
        ],
    );
    assert_eq!(catalog.called(None, quoted("Cx")), Called::Reader);
    assert_eq!(catalog.called(None, plain("Cx")), Called::Volatile);
    assert_eq!(catalog.called(None, quoted("CX")), Called::Unknown);
    let tainted = Named::Tainted(Taint::Unlogged, false);
    assert_eq!(catalog.named(None, quoted("Cx")), tainted);
    assert_eq!(catalog.named(None, plain("Cx")), Named::Replicated);
    let schema = Some(quoted("Public"));
    assert_eq!(catalog.named(schema, plain("cx")), Named::Unknown);
}

#[test]
fn letters_of_other_alphabets_are_as_they_are() {
    let catalog = Catalog::new([function("s", "größe", false)], []);
    assert_eq!(catalog.called(None, plain("GRößE")), Called::Reader);
    assert_eq!(catalog.called(None, plain("GRÖßE")), Called::Unknown);
    let long = "x".repeat(64);
    let catalog = Catalog::new([function("s", &long, false)], []);
    assert_eq!(catalog.called(None, plain(&long)), Called::Unknown);
}

#[test]
fn a_view_is_as_bad_as_what_it_reads_in_the_end() {
    let server = RelationFact {
        schema: "pg_catalog".to_owned(),
        ..relation(9, "pg_stat_activity", 'v', 'p', &[])
    };
    let writer = RelationFact {
        calls_writers: true,
        ..relation(10, "numbered", 'v', 'p', &[1])
    };
    let catalog = Catalog::new(
        [],
        [
            relation(1, "logged", 'r', 'p', &[]),
            relation(2, "unlogged", 'r', 'u', &[]),
            relation(3, "fine", 'v', 'p', &[1]),
            relation(4, "over", 'v', 'p', &[1, 2]),
            relation(5, "over_over", 'v', 'p', &[4, 5]),
            relation(6, "kept", 'm', 'p', &[2]),
            relation(7, "parent", 'p', 'p', &[1, 8]),
            relation(8, "elsewhere", 'f', 'p', &[]),
            relation(11, "over_kept", 'v', 'p', &[6]),
            relation(12, "over_server", 'v', 'p', &[9]),
            relation(13, "counter", 'S', 'p', &[]),
            relation(14, "over_numbered", 'v', 'p', &[10]),
            relation(15, "own", 'r', 't', &[]),
            server,
            writer,
        ],
    );
    let tainted = |taint, is_inherited| Named::Tainted(taint, is_inherited);
    for (name, expected) in [
        ("logged", Named::Replicated),
        ("fine", Named::Replicated),
        ("kept", Named::Replicated),
        ("over_kept", Named::Replicated),
        ("unlogged", tainted(Taint::Unlogged, false)),
        ("over", tainted(Taint::Unlogged, true)),
        ("over_over", tainted(Taint::Unlogged, true)),
        ("parent", tainted(Taint::Foreign, true)),
        ("elsewhere", tainted(Taint::Foreign, false)),
        ("pg_stat_activity", tainted(Taint::ServerState, false)),
        ("over_server", tainted(Taint::ServerState, true)),
        ("counter", tainted(Taint::Sequence, false)),
        ("numbered", tainted(Taint::CallsWriters, false)),
        ("over_numbered", tainted(Taint::CallsWriters, true)),
        ("own", tainted(Taint::Temporary, false)),
        ("nothing", Named::Unknown),
    ] {
        assert_eq!(catalog.named(None, plain(name)), expected, "{name}");
    }
    assert_eq!(
        catalog.relations(None, plain("fine")).next().unwrap().oid,
        3
    );
}

#[test]
fn rows_become_facts() {
    let row = [
        Some("16384"),
        Some("s"),
        Some("v"),
        Some("v"),
        Some("p"),
        Some("t"),
        Some("1 22"),
        Some("f"),
    ];
    let fact = RelationFact::from_columns(&row).unwrap();
    let expected = RelationFact {
        oid: 16384,
        schema: "s".to_owned(),
        row_security: true,
        ..relation(0, "v", 'v', 'p', &[1, 22])
    };
    assert_eq!(fact, expected);
    let mut none = row;
    none[6] = None;
    assert!(RelationFact::from_columns(&none).unwrap().bases.is_empty());
    let row = [Some("s"), Some("f"), Some("t"), Some("f")];
    assert_eq!(
        FunctionFact::from_columns(&row).unwrap(),
        function("s", "f", true)
    );
}

#[test]
fn other_rows_are_refused() {
    let columns = FactError::Columns {
        expected: 4,
        found: 3,
    };
    let row = [Some("s"), Some("f"), Some("t"), Some("maybe")];
    assert_eq!(FunctionFact::from_columns(&row[..3]), Err(columns));
    let error = FunctionFact::from_columns(&row).unwrap_err().to_string();
    assert!(error.contains("\"maybe\" in column 4"), "{error}");
    for (column, value) in [(0, "x"), (3, "view"), (5, ""), (6, "1 x")] {
        let mut row = [
            Some("1"),
            Some("s"),
            Some("v"),
            Some("v"),
            Some("p"),
            Some("t"),
            None,
            Some("f"),
        ];
        row[column] = Some(value);
        assert!(RelationFact::from_columns(&row).is_err(), "{column}");
    }
}
