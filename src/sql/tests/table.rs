//! Hundreds of statements and the flags of each, in a golden table.

use crate::sql::effects::{
    Begin, Effects, StatementFlags, Use, begin, flags_of, flags_of_beginning, plain_ending, uses,
};

const STATEMENTS: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/golden/classify/statements.sql"
));

/// The lines of the table, headings left out.
pub(super) fn statements() -> impl Iterator<Item = String> {
    lines(STATEMENTS)
}

/// The lines of such a table.
pub(super) fn lines(table: &str) -> impl Iterator<Item = String> {
    table
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.replace('↵', "\n"))
}

/// The names of the flags that are set.
pub(super) fn names(flags: StatementFlags) -> String {
    let all = [
        (flags.commits(), "commits"),
        (flags.gains_state(), "gains"),
        (flags.loses_state(), "loses"),
        (flags.changes_meaning(), "meaning"),
        (flags.changes_schema(), "schema"),
        (flags.calls(), "calls"),
        (flags.loads(), "loads"),
        (flags.deallocates(), "deallocates"),
        (flags.executes(), "executes"),
        (flags.prepares(), "prepares"),
        (
            flags.effects().has(Effects::ASKS_SEQUENCES),
            "asks sequences",
        ),
        (
            flags.effects().has(Effects::USES_SEQUENCES),
            "uses sequences",
        ),
        (flags.effects().has(Effects::UNSEEN), "runs texts"),
        (flags.effects().has(Effects::LASTING), "lasts"),
        (flags.rolls_back(), "ROLLS_BACK"),
        (flags.begins(), "BEGINS"),
        (flags.is_empty(), "EMPTY"),
        (flags.is_single(), "SINGLE"),
        (flags.is_shareable(), "SHAREABLE"),
    ];
    let held = all.iter().filter(|(holds, _)| *holds);
    let mut names: Vec<_> = held.map(|(_, name)| (*name).to_owned()).collect();
    names.extend(flags.leaves().map(|left| format!("LEAVES {left:?}")));
    names.join(" ")
}

/// StatementFlags, and what other questions about it are answered with.
fn answers(text: &[u8]) -> String {
    let mut answers = names(flags_of(text));
    if let Some(Begin { tag, read_only, .. }) = begin(text) {
        answers += &format!(" [{tag}, read only: {read_only:?}]");
    }
    if let Some(ending) = plain_ending(text) {
        answers += &format!(" [{ending:?}]");
    }
    uses(text).iter().for_each(|used| answers += &shown(used));
    answers
}

fn shown(used: &Use) -> String {
    let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    match used {
        Use::Prepare(name) => format!(" <prepare {}>", text(name)),
        Use::Execute(name) => format!(" <execute {}>", text(name)),
        Use::Deallocate(name) => format!(" <deallocate {}>", text(name)),
        Use::DeallocateAll => " <deallocate all>".to_owned(),
        Use::DiscardAll => " <discard all>".to_owned(),
    }
}

/// `INSTA_UPDATE=always cargo test golden` writes the table anew; read it before you commit.
#[test]
fn facts_are_those_of_the_golden_table() {
    let mut table = String::new();
    for text in statements() {
        let line = text.replace('\n', "↵");
        table += &format!("{line}\n    {}\n", answers(text.as_bytes()));
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/classify"
    ));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("facts", table));
}

#[test]
fn a_beginning_promises_nothing_and_fears_what_the_whole_does() {
    // An unseen LOAD or PREPARE is feared as state that is gained; what lasts is looked for in the rest.
    let covered = StatementFlags::LOADS
        .and(StatementFlags::PREPARES)
        .and(StatementFlags::LASTS);
    for text in statements() {
        let whole = flags_of(text.as_bytes())
            .without(covered)
            .union(StatementFlags::NONE);
        for length in 0..=text.len() {
            let beginning = flags_of_beginning(&text.as_bytes()[..length]);
            assert_eq!(
                beginning,
                beginning.union(StatementFlags::NONE),
                "{text}: {length}"
            );
            assert_eq!(beginning, beginning.union(whole), "{text}: {length}");
        }
    }
}
