//! Circles of imports between the files of `src/`: which file names which others, and the shortest way from one back to
//! itself. Tests are left aside, and so is the declaration of a module by its parent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Complaints, Source, is_word};

/// Files of `src/` by the paths of their modules; the crate's root has none.
type Files<'s> = BTreeMap<Vec<&'s str>, &'s str>;

/// The files that each file names.
type Imports<'s> = BTreeMap<&'s str, BTreeSet<&'s str>>;

pub(super) fn circles(sources: &[Source]) -> Complaints {
    let imports = imports(sources);
    let mut named = BTreeSet::new();
    let mut complaints = Complaints::new();
    for file in imports.keys() {
        if named.contains(file) {
            continue;
        }
        if let Some(circle) = way_back(file, &imports) {
            let files = circle.join(" -> ");
            complaints.push(format!("{files}: these import each other in a circle"));
            named.extend(circle);
        }
    }
    complaints
}

fn imports(sources: &[Source]) -> Imports<'_> {
    let is_shipped = |source: &&Source| {
        source.path.starts_with("src/") && source.path != "src/main.rs" && !source.is_test()
    };
    let shipped: Vec<_> = sources.iter().filter(is_shipped).collect();
    let files: Files<'_> = shipped
        .iter()
        .map(|source| (module(source), source.path.as_str()))
        .collect();
    let imports = shipped.iter().map(|source| {
        let mut walk = Walk::new(source);
        walk.run();
        let places = walk.paths.into_iter();
        let named = places.filter_map(|(place, path)| file_of(&place, &path, &files));
        let named = named.filter(|path| *path != source.path);
        (source.path.as_str(), named.collect())
    });
    imports.collect()
}

fn module(source: &Source) -> Vec<&str> {
    match source.path.as_str() {
        "src/lib.rs" => Vec::new(),
        _ => source.module(),
    }
}

/// The file that a path leads to, seen from the module `place`; `None` outside of the crate.
fn file_of<'s>(place: &[&str], path: &[&str], files: &Files<'s>) -> Option<&'s str> {
    let mut full = match path[0] {
        "crate" => Vec::new(),
        _ => place.to_vec(),
    };
    for segment in path {
        match *segment {
            "crate" | "self" => {}
            "super" => _ = full.pop(),
            name => full.push(name),
        }
    }
    let is_child = || files.contains_key(&full[..=place.len()]);
    let is_ours = matches!(path[0], "crate" | "self" | "super") || is_child();
    // Behind the module's path come the names of its items.
    let mut prefixes = (0..=full.len()).rev().map(|length| &full[..length]);
    let file = prefixes.find_map(|prefix| files.get(prefix).copied());
    file.filter(|_| is_ours)
}

/// The shortest circle through a file, which it begins and ends with.
fn way_back<'s>(file: &'s str, imports: &Imports<'s>) -> Option<Vec<&'s str>> {
    let mut importers: BTreeMap<&str, &str> = BTreeMap::new();
    let mut next = VecDeque::from([file]);
    while let Some(importer) = next.pop_front() {
        for imported in &imports[importer] {
            if importers.contains_key(imported) {
                continue;
            }
            importers.insert(imported, importer);
            next.push_back(imported);
        }
    }
    let mut circle = vec![file, *importers.get(file)?];
    while circle.last() != Some(&file) {
        circle.push(importers[circle[circle.len() - 1]]);
    }
    circle.reverse();
    Some(circle)
}

/// A walk through the code of one file that gathers the paths in it.
struct Walk<'s> {
    tokens: Vec<&'s str>,
    at: usize,
    /// The module that the walk is in: the file's own, and inline ones below it.
    place: Vec<&'s str>,
    /// Braces that are open, and how many were where each inline module began.
    level: usize,
    inline: Vec<usize>,
    /// Each path, with the module in which it stands.
    paths: Vec<(Vec<&'s str>, Vec<&'s str>)>,
}

impl<'s> Walk<'s> {
    fn new(source: &'s Source) -> Self {
        Self {
            tokens: tokens(&source.shipped),
            at: 0,
            place: module(source),
            level: 0,
            inline: Vec::new(),
            paths: Vec::new(),
        }
    }

    fn token(&self, ahead: usize) -> &'s str {
        self.tokens.get(self.at + ahead).copied().unwrap_or("")
    }

    fn run(&mut self) {
        while self.at < self.tokens.len() {
            match (self.token(0), self.token(1), self.token(2)) {
                // How far something may be seen is no import.
                ("pub", "(", _) => self.skip_to(")"),
                ("mod", name, "{") => {
                    self.place.push(name);
                    self.inline.push(self.level);
                }
                ("{", ..) => self.level += 1,
                ("}", ..) => self.close(),
                ("use", next, _) if next != "<" => {
                    self.at += 1;
                    self.tree(&[]);
                    continue;
                }
                (word, "::", _) if is_name(word) => {
                    self.path(word);
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    fn skip_to(&mut self, end: &str) {
        while self.at < self.tokens.len() && self.token(0) != end {
            self.at += 1;
        }
    }

    fn close(&mut self) {
        self.level = self.level.saturating_sub(1);
        if self.inline.last() == Some(&self.level) {
            self.inline.pop();
            self.place.pop();
        }
    }

    /// A path in the code that begins with this word.
    fn path(&mut self, first: &'s str) {
        let mut path = vec![first];
        while self.token(1) == "::" && is_name(self.token(2)) {
            path.push(self.token(2));
            self.at += 2;
        }
        self.at += 2;
        self.paths.push((self.place.clone(), path));
    }

    /// A path of a `use`, or all those of a group, behind what came before.
    fn tree(&mut self, before: &[&'s str]) {
        let mut path = before.to_vec();
        while is_name(self.token(0)) {
            path.push(self.token(0));
            self.at += 1;
            if self.token(0) != "::" {
                break;
            }
            self.at += 1;
        }
        if self.token(0) == "{" {
            return self.group(&path);
        }
        self.at += usize::from(self.token(0) == "*");
        if self.token(0) == "as" {
            self.at += 2;
        }
        if !path.is_empty() {
            self.paths.push((self.place.clone(), path));
        }
    }

    fn group(&mut self, before: &[&'s str]) {
        self.at += 1;
        while !matches!(self.token(0), "}" | "") {
            self.tree(before);
            self.at += usize::from(self.token(0) != "}");
        }
        self.at += 1;
    }
}

fn is_name(token: &str) -> bool {
    token.chars().next().is_some_and(is_word)
}

/// Words, `::` and single other characters.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            _ if rest.starts_with("::") => 2,
            c => c.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        tokens.push(token);
        rest = after.trim_start();
    }
    tokens
}
