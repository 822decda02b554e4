//! The house rules that no compiler and no lint checks: who may import whom, where `glommio` and `unsafe`
//! may stand, how long a file may be, what must not be left behind. Each rule is a function from the
//! sources to complaints, and has a small bad sample below to show that it can complain.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot read the sources shall fail"
)]

#[path = "tidy/circles.rs"]
mod circles;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use circles::circles;

/// Top-level modules, lowest first; a module may name those below it and, in the first row, its own.
const LAYERS: [&[&str]; 12] = [
    &["ids", "limits", "time", "random", "error", "mailbox"],
    &["protocol"],
    &["auth"],
    &["sql"],
    &["net"],
    &["cluster"],
    &["session"],
    &["admin"],
    &["link"],
    &["worker", "control"],
    &["cli"],
    &["lib", "main"],
];

/// Modules that may not be named by one although it lies above them: its rules are pure.
const APART: [(&str, &str); 3] = [("session", "net"), ("admin", "net"), ("admin", "protocol")];

/// The files that may name `glommio`.
const GLOMMIO_HOMES: [&str; 3] = ["src/net/", "src/worker/mod.rs", "src/control/mod.rs"];

/// Where messages pass, so that nothing may be formatted on the way.
const HOT: [&str; 4] = [
    "src/net/",
    "src/protocol/",
    "src/worker/session/upstream.rs",
    "src/session/ledger/mod.rs",
];

/// Words that mark work left undone.
const LEFT_OVERS: [&str; 6] = ["todo!", "unimplemented!", "dbg!", "FIXME", "TODO", "XXX"];

/// Folders with Rust sources.
const FOLDERS: [&str; 5] = ["src", "tests", "benches", "perf", "fuzz"];

/// Folders whose doc comments name their subjects, and words with which a comment begins that does not.
const DOCUMENTED: [&str; 4] = ["src/", "benches/", "perf/", "fuzz/"];
const NO_SUBJECTS: [&str; 4] = ["What", "Who", "Those who", "The same"];

const FILE_LINES_MAX: usize = 600;
const INLINE_TEST_LINES_MAX: usize = 200;
const COLUMNS_MAX: usize = 130;
const FOLDERS_BELOW_SRC_MAX: usize = 2;
const FILES_IN_FOLDER_MAX: usize = 16;
const FIELDS_MAX: usize = 16;

/// So much of a map can be read before one begins.
const MAP_BYTES_MAX: usize = 14_000;

/// One source file, with what the rules look at.
struct Source {
    /// Relative to the repository.
    path: String,
    text: String,
    /// The text with strings blanked.
    prose: String,
    /// The text with strings and comments blanked.
    code: String,
    /// The same without inline test modules.
    shipped: String,
}

type Complaints = Vec<String>;

type Rule = fn(&[Source]) -> Complaints;

#[test]
fn imports_point_one_way() {
    refuse_none(imports);
}

#[test]
fn files_import_each_other_one_way() {
    refuse_none(circles);
}

#[test]
fn glommio_stays_at_home() {
    refuse_none(glommio);
}

#[test]
fn unsafe_stays_at_home() {
    refuse_none(unsafe_code);
}

#[test]
fn files_are_short() {
    refuse_none(length);
}

#[test]
fn folders_are_shallow() {
    refuse_none(depth);
}

#[test]
fn folders_hold_few_files() {
    refuse_none(crowd);
}

#[test]
fn structs_have_few_fields() {
    refuse_none(fields);
}

#[test]
fn files_open_by_saying_what_they_own() {
    refuse_none(opening);
}

#[test]
fn doc_comments_name_their_subjects() {
    refuse_none(subjects);
}

#[test]
fn nothing_is_left_undone() {
    refuse_none(left_overs);
}

#[test]
fn every_file_is_declared() {
    refuse_none(undeclared);
}

#[test]
fn no_test_is_ignored() {
    refuse_none(ignored);
}

#[test]
fn lines_fit() {
    refuse_none(width);
}

#[test]
fn nothing_is_formatted_per_message() {
    refuse_none(formatted);
}

#[test]
fn the_map_is_true() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let internals = fs::read_dir(root.join("docs/internals")).unwrap();
    let internals = internals.map(|entry| entry.unwrap().path());
    let map = root.join("ARCHITECTURE.md");
    assert!(
        fs::metadata(&map).unwrap().len() <= MAP_BYTES_MAX as u64,
        "the map is too long"
    );
    let mut complaints = Complaints::new();
    let mut count = 0;
    for file in internals.chain([map]) {
        let text = fs::read_to_string(&file).unwrap();
        let names = names_in(&text);
        count += names.len();
        let said_by = file.strip_prefix(root).unwrap().display().to_string();
        complaints.extend(wrong_names(&said_by, &names, root));
    }
    assert!(count > 300, "the names in the maps were not found: {count}");
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn imports(sources: &[Source]) -> Complaints {
    let mut complaints = Vec::new();
    for source in sources
        .iter()
        .filter(|source| source.path.starts_with("src/"))
    {
        let own = source.module()[0];
        let Some(layer) = layer_of(own) else {
            complaints.push(format!(
                "{}: module `{own}` has no place in LAYERS",
                source.path
            ));
            continue;
        };
        let above = |other: usize| other > layer || other == layer && layer > 0;
        let others = source.root_names().into_iter().filter(|name| name != own);
        let apart = |other: &str| APART.contains(&(own, other));
        let wrong = others.filter(|name| layer_of(name).is_some_and(above) || apart(name));
        complaints
            .extend(wrong.map(|name| format!("{}: `{own}` must not name `{name}`", source.path)));
    }
    complaints
}

fn glommio(sources: &[Source]) -> Complaints {
    let away = in_src(sources).filter(|source| !starts_with_any(&source.path, &GLOMMIO_HOMES));
    let names = |source: &Source| has_word(&source.code, "glommio");
    complain(
        away,
        names,
        "names glommio, which blocks outside its own reactor",
    )
}

fn unsafe_code(sources: &[Source]) -> Complaints {
    let away = in_src(sources).filter(|source| !source.path.starts_with("src/net/"));
    complain(
        away,
        |source| has_word(&source.code, "unsafe"),
        "has unsafe code outside src/net/",
    )
}

fn length(sources: &[Source]) -> Complaints {
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|source| !source.is_test()) {
        let path = &source.path;
        let shipped = source.shipped.lines().count();
        let tests = source.text.lines().count() - shipped;
        if shipped > FILE_LINES_MAX {
            complaints.push(format!(
                "{path}: {shipped} lines without tests, at most {FILE_LINES_MAX}"
            ));
        }
        if tests > INLINE_TEST_LINES_MAX {
            complaints.push(format!(
                "{path}: {tests} lines of tests belong in a sibling tests.rs"
            ));
        }
    }
    complaints
}

fn depth(sources: &[Source]) -> Complaints {
    let deep = |source: &Source| source.path.matches('/').count() > FOLDERS_BELOW_SRC_MAX + 1;
    let shipped = in_src(sources).filter(|source| !source.path.contains("/tests/"));
    complain(shipped, deep, "lies too deep below src/")
}

fn crowd(sources: &[Source]) -> Complaints {
    let folder = |source: &Source| {
        source
            .path
            .rsplit_once('/')
            .map(|(folder, _)| folder.to_owned())
    };
    let crowded = |source: &Source| {
        let others = in_src(sources).filter(|other| folder(other) == folder(source));
        others.count() > FILES_IN_FOLDER_MAX
    };
    complain(in_src(sources), crowded, "has too many files beside it")
}

fn fields(sources: &[Source]) -> Complaints {
    let mut complaints = Vec::new();
    for source in in_src(sources) {
        for item in after_each(&source.code, "struct ") {
            let name = identifier(item).unwrap_or_default();
            let count = field_count(item);
            if count > FIELDS_MAX {
                let path = &source.path;
                complaints.push(format!(
                    "{path}: {name} has {count} fields, at most {FIELDS_MAX}"
                ));
            }
        }
    }
    complaints
}

fn opening(sources: &[Source]) -> Complaints {
    let silent = |source: &Source| !source.text.starts_with("//! ");
    complain(sources, silent, "does not open with //! and what it owns")
}

fn subjects(sources: &[Source]) -> Complaints {
    let mut complaints = Vec::new();
    let documented = sources
        .iter()
        .filter(|source| starts_with_any(&source.path, &DOCUMENTED));
    for source in documented {
        let mut goes_on = false;
        for (index, line) in source.text.lines().enumerate() {
            let said = doc_comment(line);
            let first = said.filter(|_| !goes_on).unwrap_or_default();
            goes_on = said.is_some();
            if let Some(word) = NO_SUBJECTS.iter().find(|word| begins_with(first, word)) {
                complaints.push(format!(
                    "{}:{}: a doc comment names its subject, it does not begin with {word}",
                    source.path,
                    index + 1
                ));
            }
        }
    }
    complaints
}

/// Text of a line of a doc comment.
fn doc_comment(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let marked = line
        .strip_prefix("///")
        .or_else(|| line.strip_prefix("//!"))?;
    Some(marked.trim_start())
}

fn begins_with(text: &str, word: &str) -> bool {
    let rest = text.strip_prefix(word);
    rest.is_some_and(|rest| !rest.starts_with(is_word))
}

fn left_overs(sources: &[Source]) -> Complaints {
    let says = |word: &str| {
        complain(
            sources,
            |source| has_word(&source.prose, word),
            &format!("says {word}"),
        )
    };
    LEFT_OVERS.iter().flat_map(|word| says(word)).collect()
}

fn undeclared(sources: &[Source]) -> Complaints {
    let lost = |source: &Source| !source.is_root() && !is_declared(source, sources);
    complain(sources, lost, "is a file that no mod declares")
}

fn ignored(sources: &[Source]) -> Complaints {
    complain(
        sources,
        |source| source.code.contains("#[ignore"),
        "ignores a test",
    )
}

fn width(sources: &[Source]) -> Complaints {
    let mut complaints = Vec::new();
    for source in sources {
        let lines = source.text.lines().enumerate();
        let wide = lines.filter(|(_, line)| line.chars().count() > COLUMNS_MAX);
        let complain = |(index, _)| {
            format!(
                "{}:{}: longer than {COLUMNS_MAX} columns",
                source.path,
                index + 1
            )
        };
        complaints.extend(wide.map(complain));
    }
    complaints
}

fn formatted(sources: &[Source]) -> Complaints {
    let hot = sources
        .iter()
        .filter(|source| starts_with_any(&source.path, &HOT) && !source.is_test());
    complain(
        hot,
        |source| has_word(&source.shipped, "format!"),
        "formats text where messages pass",
    )
}

/// Paths in backquotes, each with the name behind its `::` if one follows.
fn names_in(map: &str) -> Vec<(&str, Option<&str>)> {
    let quoted = map.split('`').skip(1).step_by(2);
    let split = quoted.map(|text| match text.split_once("::") {
        Some((path, name)) => (path, Some(name)),
        None => (text, None),
    });
    let is_path = |path: &str| {
        const ENDS: [&str; 5] = [".rs", ".toml", ".snap", ".md", "/"];
        !path.contains(' ') && ENDS.iter().any(|end| path.ends_with(end))
    };
    split.filter(|(path, _)| is_path(path)).collect()
}

/// Paths below `src/` or the root that are not there, and names that their files do not define.
fn wrong_names(map: &str, names: &[(&str, Option<&str>)], root: &Path) -> Complaints {
    let mut complaints = Complaints::new();
    for (path, name) in names {
        let mut places = [root.join("src").join(path), root.join(path)].into_iter();
        let Some(place) = places.find(|place| place.exists()) else {
            complaints.push(format!("{map} names {path}, which is not there"));
            continue;
        };
        let Some(name) = name else { continue };
        let code = blank(&fs::read_to_string(place).unwrap(), true);
        if !defines(&code, name) {
            complaints.push(format!("{map} names {name}, which {path} does not define"));
        }
    }
    complaints
}

fn defines(code: &str, name: &str) -> bool {
    const KEYWORDS: [&str; 6] = ["fn", "struct", "enum", "const", "type", "trait"];
    KEYWORDS
        .iter()
        .any(|keyword| has_word(code, &format!("{keyword} {name}")))
}

fn in_src(sources: &[Source]) -> impl Iterator<Item = &Source> {
    sources
        .iter()
        .filter(|source| source.path.starts_with("src/"))
}

/// One complaint for each source that is `wrong`.
fn complain<'a>(
    sources: impl IntoIterator<Item = &'a Source>,
    wrong: impl Fn(&Source) -> bool,
    what: &str,
) -> Complaints {
    let wrong = sources.into_iter().filter(|source| wrong(source));
    wrong
        .map(|source| format!("{}: {what}", source.path))
        .collect()
}

/// Applies a rule to the repository.
fn refuse_none(rule: Rule) {
    let complaints = rule(&repository());
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn repository() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for folder in FOLDERS {
        collect(&root.join(folder), &mut paths);
    }
    let read = |path: &PathBuf| {
        let relative = path
            .strip_prefix(root)
            .expect("it was found below the root");
        Source::new(
            relative.to_str().expect("our names are ASCII"),
            fs::read_to_string(path).unwrap(),
        )
    };
    let sources: Vec<_> = paths.iter().map(read).collect();
    assert!(
        sources.iter().any(|source| source.path == "src/lib.rs"),
        "the sources were not found"
    );
    sources
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

impl Source {
    fn new(path: &str, text: impl Into<String>) -> Self {
        let text = text.into();
        let (prose, code) = (blank(&text, false), blank(&text, true));
        let shipped = without_tests(&code);
        Self {
            path: path.to_owned(),
            text,
            prose,
            code,
            shipped,
        }
    }

    /// The module path: `src/worker/pool/mod.rs` is `["worker", "pool"]`.
    fn module(&self) -> Vec<&str> {
        let path = self.path.trim_end_matches(".rs").trim_end_matches("/mod");
        path.split('/').skip(1).collect()
    }

    fn is_test(&self) -> bool {
        let path = &self.path;
        path.starts_with("tests/") || path.ends_with("/tests.rs") || path.contains("/tests/")
    }

    /// Cargo finds it by itself, or is told of it.
    fn is_root(&self) -> bool {
        let names: Vec<_> = self.path.split('/').collect();
        match names[..] {
            ["src", "lib.rs" | "main.rs"]
            | ["tests" | "benches" | "fuzz", _]
            | ["fuzz", "targets", _]
            | ["tests" | "benches", _, "main.rs"] => true,
            _ => fs::read_to_string("Cargo.toml")
                .unwrap()
                .contains(&format!("path = \"{}\"", self.path)),
        }
    }

    /// First names of the paths that start at the crate's root: after `crate::`, in `use crate::{..}`, and
    /// after as many `super::` as lead there.
    fn root_names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for rest in after_each(&self.code, "crate::") {
            match rest.strip_prefix('{') {
                Some(group) => names.extend(group_heads(group)),
                None => names.extend(identifier(rest)),
            }
        }
        let to_root = "super::".repeat(self.module().len());
        names.extend(after_each(&self.code, &to_root).filter_map(identifier));
        names
    }
}

fn after_each<'a>(text: &'a str, pattern: &'a str) -> impl Iterator<Item = &'a str> {
    text.match_indices(pattern)
        .map(|(at, found)| &text[at + found.len()..])
}

/// The identifier that the text starts with.
fn identifier(text: &str) -> Option<String> {
    let name: String = text.chars().take_while(|&c| is_word(c)).collect();
    (!name.is_empty()).then_some(name)
}

/// The first identifiers of the paths in a group whose opening brace has been read.
fn group_heads(group: &str) -> Vec<String> {
    let (mut level, mut start, mut heads) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => level += 1,
            '}' if level > 0 => level -= 1,
            ',' | '}' if level == 0 => {
                heads.extend(identifier(group[start..at].trim_start()));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    heads
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Whether a file that may be its parent says `mod name;`.
fn is_declared(source: &Source, sources: &[Source]) -> bool {
    let path = source.path.trim_end_matches(".rs").trim_end_matches("/mod");
    let Some((folder, name)) = path.rsplit_once('/') else {
        return false;
    };
    let declaration = format!("mod {name};");
    let is_parent = |path: &str| {
        let beside = path
            .rsplit_once('/')
            .is_some_and(|(beside, _)| beside == folder);
        let root_beside = beside && FOLDERS.contains(&folder);
        let named = ["/mod.rs", "/main.rs", ".rs"]
            .iter()
            .any(|end| path == format!("{folder}{end}"));
        named || root_beside
    };
    let parents = sources
        .iter()
        .filter(|other| other.path != source.path && is_parent(&other.path));
    parents
        .into_iter()
        .any(|parent| has_word(&parent.code, &declaration))
}

fn starts_with_any(path: &str, starts: &[&str]) -> bool {
    starts.iter().any(|start| path.starts_with(start))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether the text has this word, not as a part of another.
fn has_word(text: &str, word: &str) -> bool {
    let last_is_word = word.chars().next_back().is_some_and(is_word);
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back().is_some_and(is_word);
        let after = text[at + word.len()..].chars().next().is_some_and(is_word);
        !(before || after && last_is_word)
    })
}

/// The text without inline modules and `impl` blocks under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut rest = code;
    let mut kept = String::new();
    while let Some(at) = rest.find(MARK) {
        let (before, marked) = rest.split_at(at);
        let item = &marked[MARK.len()..];
        kept.push_str(before);
        let is_block = starts_with_any(item.trim_start(), &["mod ", "impl "]);
        match is_block.then(|| block_end(item)).flatten() {
            Some(end) => rest = &item[end..],
            None => {
                kept.push_str(MARK);
                rest = item;
            }
        }
    }
    kept + rest
}

/// The place after the first block's closing brace, unless a semicolon comes before the block.
fn block_end(code: &str) -> Option<usize> {
    let open = code.find('{')?;
    if code.find(';').is_some_and(|semicolon| semicolon < open) {
        return None;
    }
    let mut level = 0_usize;
    for (at, c) in code.char_indices().skip_while(|&(at, _)| at < open) {
        match c {
            '{' => level += 1,
            '}' => level -= 1,
            _ => {}
        }
        if level == 0 {
            return Some(at + 1);
        }
    }
    None
}

/// Named fields of the struct whose name the code starts with.
fn field_count(code: &str) -> usize {
    let Some(end) = block_end(code) else {
        return 0;
    };
    let (mut level, mut count) = (0, 0);
    // Of a path's colons none is a field's.
    let block = code[..end].replace("::", "");
    for c in block.chars().skip_while(|&c| c != '{') {
        match c {
            '{' | '(' | '[' => level += 1,
            '}' | ')' | ']' => level -= 1,
            ':' if level == 1 => count += 1,
            _ => {}
        }
    }
    count
}

/// The text with what stands in strings, and in comments if wanted, replaced by spaces; lines stay lines.
fn blank(text: &str, comments_too: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (length, kind) = token(rest, out.chars().next_back());
        let (piece, after) = rest.split_at(length);
        let hide = kind == Kind::Text || kind == Kind::Comment && comments_too;
        out.extend(
            piece
                .chars()
                .map(|c| if hide && c != '\n' { ' ' } else { c }),
        );
        rest = after;
    }
    out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Text,
}

/// Length and kind of the piece that `rest` starts with; `before` is the character before it.
fn token(rest: &str, before: Option<char>) -> (usize, Kind) {
    let first = rest.chars().next().map_or(0, char::len_utf8);
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), Kind::Comment);
    }
    if rest.starts_with("/*") {
        return (block_comment(rest), Kind::Comment);
    }
    if rest.starts_with('"') {
        return (quoted(rest, '"'), Kind::Text);
    }
    if rest.starts_with('r') && !before.is_some_and(|c| is_word(c) && c != 'b' && c != 'c') {
        return raw_string(rest).map_or((first, Kind::Code), |length| (length, Kind::Text));
    }
    let mut following = rest.chars().skip(1);
    let is_escape = following.next() == Some('\\');
    let is_character = rest.starts_with('\'') && (is_escape || following.next() == Some('\''));
    if is_character {
        (quoted(rest, '\''), Kind::Text)
    } else {
        (first, Kind::Code)
    }
}

/// Length of a block comment; they nest.
fn block_comment(rest: &str) -> usize {
    let (mut level, mut at) = (0, 0);
    while at < rest.len() {
        let (change, step) = match rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (1, 2),
            [b'*', b'/', ..] => (-1, 2),
            _ => (0, 1),
        };
        level += change;
        at += step;
        if level == 0 {
            return at;
        }
    }
    rest.len()
}

/// Length of a literal with escapes.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Length of a raw string; `None` when it is only the letter r.
fn raw_string(rest: &str) -> Option<usize> {
    let hashes = rest[1..].chars().take_while(|&c| c == '#').count();
    let body = rest[1 + hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = body.find(&close)?;
    Some(1 + hashes + 1 + end + close.len())
}

/// What each rule must refuse, and in which words.
#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn every_rule_can_complain() {
    let long = "//! Long.\n".to_owned() + &"fn f() {}\n".repeat(FILE_LINES_MAX);
    let body = "fn f() {}\n".repeat(INLINE_TEST_LINES_MAX);
    let large = format!(
        "pub struct A<T: B> {{ {} }}",
        "x: [c::D; 2],\n".repeat(FIELDS_MAX + 1)
    );
    let tests = format!("//! T.\n#[cfg(test)]\nmod tests {{\n{body}}}\n");
    let wide = format!("//! {}\n", "w".repeat(COLUMNS_MAX));
    let bad: &[(Rule, &str, &str, &str)] = &[
        (
            imports,
            "src/worker/a.rs",
            "use crate::control::state;",
            "`worker` must not name `control`",
        ),
        (
            imports,
            "src/protocol/a.rs",
            "use crate::{ids::X, net::{A, B}, limits};",
            "must not name `net`",
        ),
        (
            imports,
            "src/control/x/a.rs",
            "use super::super::super::worker::X;",
            "must not name `worker`",
        ),
        (
            imports,
            "src/error.rs",
            "fn f() -> crate::cluster::X {}",
            "must not name `cluster`",
        ),
        (
            imports,
            "src/session/a.rs",
            "use crate::net::Stream;",
            "`session` must not name `net`",
        ),
        (
            imports,
            "src/admin/a.rs",
            "use crate::protocol::Writer;",
            "`admin` must not name `protocol`",
        ),
        (imports, "src/extra/mod.rs", "", "no place in LAYERS"),
        (
            glommio,
            "src/worker/accept.rs",
            "use glommio::Task;",
            "names glommio",
        ),
        (
            unsafe_code,
            "src/worker/a.rs",
            "fn f() { unsafe { g() } }",
            "unsafe code",
        ),
        (length, "src/worker/a.rs", &long, "601 lines"),
        (length, "src/worker/a.rs", &tests, "sibling tests.rs"),
        (depth, "src/a/b/c/d.rs", "", "too deep"),
        (fields, "src/worker/a.rs", &large, "A has 17 fields"),
        (
            opening,
            "src/worker/a.rs",
            "// Not a module comment.",
            "does not open",
        ),
        (
            subjects,
            "src/worker/a.rs",
            "//! What it is.",
            "a.rs:1: a doc comment names its subject, it does not begin with What",
        ),
        (
            subjects,
            "benches/a.rs",
            "//! A.\n\n/// Those who wait.",
            "a.rs:3: a doc comment",
        ),
        (
            left_overs,
            "src/worker/a.rs",
            "fn f() { todo!() }",
            "says todo!",
        ),
        (
            left_overs,
            "src/worker/a.rs",
            "// FIXME later",
            "says FIXME",
        ),
        (left_overs, "tests/a.rs", "fn f() { dbg!(1); }", "says dbg!"),
        (undeclared, "src/worker/a.rs", "", "no mod declares"),
        (undeclared, "src/worker/pool/mod.rs", "", "no mod declares"),
        (
            ignored,
            "tests/a.rs",
            "#[ignore = \"slow\"]\nfn f() {}",
            "ignores a test",
        ),
        (width, "src/worker/a.rs", &wide, "a.rs:1: longer than"),
        (
            formatted,
            "src/worker/session/upstream.rs",
            "fn f() { format!(\"{x}\") }",
            "formats text",
        ),
        (
            formatted,
            "src/net/reactor.rs",
            "fn f() { format!(\"{x}\") }",
            "formats text",
        ),
    ];
    for &(rule, path, text, words) in bad {
        let complaints = rule(&[Source::new(path, text)]).join("\n");
        assert!(
            complaints.contains(words),
            "{path} should be refused with: {words}\nit says: {complaints}"
        );
    }
}

/// Three files in a circle: by a bare path to a child, by an item of a sibling, by an item of the parent.
#[test]
fn files_can_import_each_other_in_a_circle() {
    let sources = |b| {
        [
            Source::new("src/worker/mod.rs", "mod a;\nmod b;\nfn f() { a::g() }"),
            Source::new("src/worker/a.rs", "use super::b::{self as c, B};"),
            Source::new("src/worker/b.rs", b),
        ]
    };
    let back = "fn h(x: X) -> crate::worker::X { x }";
    assert_eq!(
        circles(&sources(back)),
        [
            "src/worker/a.rs -> src/worker/b.rs -> src/worker/mod.rs -> src/worker/a.rs: these import each other in \
             a circle"
        ]
    );
    let calm = "//! Names crate::worker::X.\n\
                pub(in crate::worker) struct B;\n\
                mod inner { use super::B; fn f() -> impl Fn() + use<> { g(crate::ids::A, std::mem::take) } }\n\
                use crate::ids::{A, self};\n\
                #[cfg(test)]\nmod tests { use crate::worker::{X, a}; }";
    assert_eq!(circles(&sources(calm)), Complaints::new());
}

#[test]
fn a_folder_can_be_too_full() {
    let file = |number| Source::new(&format!("src/worker/a{number}.rs"), "//! A.\n");
    let files: Vec<_> = (0..=FILES_IN_FOLDER_MAX).map(file).collect();
    assert_eq!(crowd(&files[1..]), Complaints::new());
    assert_eq!(crowd(&files).len(), files.len());
}

/// A map with a path, a definition and a plain word that exist, and a path and a definition that do not.
#[test]
fn a_map_can_be_wrong() {
    let map = "`ids.rs::WorkerId`, `tests/tidy.rs::names_in`, `Cargo.toml`, `net/`, `word`, \
               `nowhere.rs`, `ids.rs::Worker`";
    let names = names_in(map);
    assert_eq!(names.len(), 6);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let complaints = wrong_names("ARCHITECTURE.md", &names, root).join("\n");
    assert_eq!(
        complaints,
        "ARCHITECTURE.md names nowhere.rs, which is not there\n\
         ARCHITECTURE.md names Worker, which ids.rs does not define"
    );
}

/// What looks like a breach and is none.
#[test]
fn no_rule_complains_without_cause() {
    let calm = "//! Owns nothing; says `unsafe`, `glommio` and crate::control in prose only.\n\
                //! What is more, it says so on a line that goes on. Whole lines are calm, too.\n\
                use crate::{ids::Unsafe, net};\n\
                /* crate::cli /* nested */ still a comment */\n\
                const A: &str = \"todo!() // crate::cli \\\" unsafe\"; const R: &str = r#\"\"FIXME\"\"#;\n\
                fn unsafe_free<'a>(x: &'a str) -> char { '\"' }\n\
                #[cfg(test)]\nmod tests {\n    fn f() { format!(\"\") }\n}\n";
    let parent = Source::new("src/worker/mod.rs", "//! Parent.\nmod forward;\n");
    let root = Source::new("src/lib.rs", "//! Root.\npub mod worker;\n");
    let sources = [Source::new("src/worker/forward.rs", calm), parent, root];
    let rules: &[Rule] = &[
        imports,
        circles,
        glommio,
        unsafe_code,
        length,
        depth,
        crowd,
        fields,
        opening,
        subjects,
        left_overs,
        undeclared,
        ignored,
        width,
        formatted,
    ];
    for rule in rules {
        assert_eq!(rule(&sources), Complaints::new());
    }
}
