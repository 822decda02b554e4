//! Reads a TOML document section by section, and keeps account: which key is on which line, which
//! keys were asked for, which are left over, what went wrong. Knows no key by name.

use std::{cell::RefCell, collections::BTreeMap};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    error::{Cause, Problem},
    form::{Form, kind, nearest, shown},
};

type Value<'d> = Spanned<DeValue<'d>>;

/// Problems that are found while one file is read, and keys that were asked for.
pub(super) struct Report {
    /// Offsets of the first byte of each line but the first.
    line_starts: Vec<usize>,
    problems: RefCell<Vec<Problem>>,
    /// Every (section, key) that was asked for, in that order.
    known: RefCell<Vec<(&'static str, &'static str)>>,
    leftovers: RefCell<Vec<Leftover>>,
}

/// A key that nobody asked for.
struct Leftover {
    line: usize,
    title: &'static str,
    key: String,
    is_section: bool,
    allowed: Vec<String>,
}

impl Report {
    pub(super) fn new(text: &str) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self {
            line_starts: newlines.map(|(offset, _)| offset + 1).collect(),
            problems: RefCell::default(),
            known: RefCell::default(),
            leftovers: RefCell::default(),
        }
    }

    /// Line of a byte offset, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset) + 1
    }

    pub(super) fn add(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    pub(super) fn is_clean(&self) -> bool {
        self.problems.borrow().is_empty() && self.leftovers.borrow().is_empty()
    }

    /// All problems; call it last, since only then it is known which section has which key.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let known = self.known.into_inner();
        let leftovers = self.leftovers.into_inner().into_iter();
        let mut problems = self.problems.into_inner();
        problems.extend(leftovers.map(|leftover| leftover.into_problem(&known)));
        problems
    }

    /// Every (section, key) that was asked for.
    #[cfg(test)]
    pub(super) fn known(&self) -> Vec<(&'static str, &'static str)> {
        self.known.borrow().clone()
    }
}

impl Leftover {
    fn into_problem(self, known: &[(&'static str, &'static str)]) -> Problem {
        let key = match self.is_section {
            true => format!("[{}]", self.key),
            false => full_key(self.title, &self.key),
        };
        let nearest = self.nearest();
        // A slip of the finger is likelier than the wrong section.
        let is_slip = nearest.is_some_and(|name| is_slip(&self.key, bare(name)));
        let elsewhere = |(title, key): &&(&str, &str)| *key == self.key && !title.is_empty();
        let home = known.iter().find(elsewhere);
        Problem {
            line: Some(self.line),
            key,
            cause: Cause::Unknown {
                kind: if self.is_section { "section" } else { "key" },
                nearest: nearest.cloned(),
                home: home
                    .filter(|_| !self.is_section && !is_slip)
                    .map(|(title, _)| *title),
                allowed: self.allowed,
            },
        }
    }

    fn nearest(&self) -> Option<&String> {
        let like = nearest(&self.key, self.allowed.iter().map(|name| bare(name)))?;
        self.allowed.iter().find(|name| bare(name) == like)
    }
}

/// A section's name without its brackets.
fn bare(name: &str) -> &str {
    name.trim_matches(['[', ']'])
}

/// Whether at most every third letter is wrong.
fn is_slip(word: &str, meant: &str) -> bool {
    strsim::damerau_levenshtein(word, meant) * 3 <= word.len()
}

fn full_key(title: &str, key: &str) -> String {
    format!("{title} {key}").trim().to_owned()
}

/// Where a section and its keys stand.
#[derive(Clone, Debug)]
pub(super) struct Place {
    title: &'static str,
    header: Option<usize>,
    lines: BTreeMap<String, usize>,
}

impl Place {
    /// Line of a key, else of the section's header.
    pub(super) fn line(&self, key: &str) -> Option<usize> {
        self.lines.get(key).copied().or(self.header)
    }

    /// A problem with one key of this section.
    pub(super) fn problem(&self, key: &str, cause: impl Into<Cause>) -> Problem {
        Problem {
            line: self.line(key),
            key: full_key(self.title, key),
            cause: cause.into(),
        }
    }
}

/// A value that was read from a section, and its place.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// A section that is being read. Call [`Section::finish`] at its end.
pub(super) struct Section<'d> {
    report: &'d Report,
    place: Place,
    /// Keys that nobody has asked for yet.
    rest: BTreeMap<&'d str, &'d Value<'d>>,
    /// Keys that were asked for, as messages name them.
    asked: Vec<String>,
}

impl<'d> Section<'d> {
    /// The whole document as one section without a title.
    pub(super) fn root(report: &'d Report, table: &'d DeTable<'d>) -> Self {
        Self::new(report, "", None, table.iter())
    }

    /// A table inside a value, e.g. the source of a password.
    pub(super) fn inside(
        report: &'d Report,
        title: &'static str,
        line: usize,
        table: &'d DeTable<'d>,
    ) -> Self {
        Self::new(report, title, Some(line), table.iter())
    }

    fn new(
        report: &'d Report,
        title: &'static str,
        header: Option<usize>,
        entries: impl Iterator<Item = (&'d Spanned<std::borrow::Cow<'d, str>>, &'d Value<'d>)>,
    ) -> Self {
        let mut lines = BTreeMap::new();
        let mut rest = BTreeMap::new();
        for (key, value) in entries {
            let name: &str = key.get_ref();
            lines.insert(name.to_owned(), report.line(key.span().start));
            rest.insert(name, value);
        }
        let asked = Vec::new();
        let place = Place {
            title,
            header,
            lines,
        };
        Self {
            report,
            place,
            rest,
            asked,
        }
    }

    pub(super) fn report(&self) -> &'d Report {
        self.report
    }

    /// Records a problem with one key.
    pub(super) fn refuse(&self, key: &str, cause: impl Into<Cause>) {
        self.report.add(self.place.problem(key, cause));
    }

    /// Takes a key's raw value out.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'d Value<'d>> {
        self.asked.push(key.to_owned());
        self.report.known.borrow_mut().push((self.place.title, key));
        self.rest.remove(key)
    }

    /// A key's value; `None` when it is absent, or wrong and recorded as such.
    pub(super) fn read<F: Form>(&mut self, key: &'static str, form: &F) -> Option<F::Value> {
        let value = self.take(key)?.get_ref();
        match form.read(value) {
            Ok(value) => Some(value),
            Err(why) => {
                let (found, allowed) = (shown(value), form.allowed());
                self.refuse(
                    key,
                    Cause::Value {
                        found,
                        why,
                        allowed,
                    },
                );
                None
            }
        }
    }

    /// Like [`Section::read`] for a key that must be there.
    pub(super) fn require<F: Form>(&mut self, key: &'static str, form: &F) -> Option<F::Value> {
        let is_absent = !self.rest.contains_key(key);
        let value = self.read(key, form);
        if is_absent {
            let allowed = form.allowed();
            self.refuse(key, Cause::Missing { allowed });
        }
        value
    }

    /// A list; its wrong elements are recorded and left out.
    pub(super) fn list<F: Form>(&mut self, key: &'static str, form: &F) -> Option<Vec<F::Value>> {
        let value = self.take(key)?.get_ref();
        let Some(elements) = value.as_array() else {
            let (found, allowed) = (
                shown(value),
                format!("a list, each entry {}", form.allowed()),
            );
            let why = super::error::Wrong::Kind(kind(value));
            self.refuse(
                key,
                Cause::Value {
                    found,
                    why,
                    allowed,
                },
            );
            return None;
        };
        Some(
            elements
                .iter()
                .filter_map(|element| self.element(key, element, form))
                .collect(),
        )
    }

    fn element<F: Form>(&self, key: &str, element: &Value<'_>, form: &F) -> Option<F::Value> {
        let value = element.get_ref();
        form.read(value)
            .map_err(|why| {
                let (found, allowed) = (shown(value), form.allowed());
                self.report.add(Problem {
                    line: Some(self.report.line(element.span().start)),
                    key: full_key(self.place.title, key),
                    cause: Cause::Value {
                        found,
                        why,
                        allowed,
                    },
                });
            })
            .ok()
    }

    /// The section `[key]`; an empty one when the file has none.
    pub(super) fn section(&mut self, key: &'static str, title: &'static str) -> Section<'d> {
        let value = self.take_section(key, title);
        let table = value.and_then(|value| value.get_ref().as_table());
        if value.is_some() && table.is_none() {
            self.refuse(key, Cause::NotSection(title));
        }
        let header = table.and(self.place.line(key));
        Section::new(self.report, title, header, table.into_iter().flatten())
    }

    /// The sections `[[key]]`, in file order.
    pub(super) fn sections(&mut self, key: &'static str, title: &'static str) -> Vec<Section<'d>> {
        let Some(value) = self.take_section(key, title) else {
            return Vec::new();
        };
        let list = value
            .get_ref()
            .as_array()
            .map(|list| list.iter())
            .into_iter()
            .flatten();
        let tables =
            list.map(|element| Some((element.span().start, element.get_ref().as_table()?)));
        let Some(tables) = tables.collect::<Option<Vec<_>>>() else {
            self.refuse(key, Cause::NotSections(title));
            return Vec::new();
        };
        if !value.get_ref().is_array() {
            self.refuse(key, Cause::NotSections(title));
        }
        let section = |(start, table): (usize, &'d DeTable<'d>)| {
            Section::new(
                self.report,
                title,
                Some(self.report.line(start)),
                table.iter(),
            )
        };
        tables.into_iter().map(section).collect()
    }

    fn take_section(&mut self, key: &'static str, title: &'static str) -> Option<&'d Value<'d>> {
        let value = self.take(key);
        let asked = self.asked.last_mut().expect("take has just pushed the key");
        title.clone_into(asked);
        value
    }

    /// Records what nobody asked for, and pairs the value with its place.
    pub(super) fn finish<T>(self, value: T) -> Located<T> {
        let mut leftovers = self.report.leftovers.borrow_mut();
        for (key, value) in &self.rest {
            let value = value.get_ref();
            let is_table = value.is_table() || value.as_array().is_some_and(holds_tables);
            leftovers.push(Leftover {
                line: self.place.lines[*key],
                title: self.place.title,
                key: (*key).to_owned(),
                is_section: is_table && self.place.title.is_empty(),
                allowed: self.asked.clone(),
            });
        }
        drop(leftovers);
        Located {
            value,
            place: self.place,
        }
    }
}

fn holds_tables(list: &toml::de::DeArray<'_>) -> bool {
    list.iter().any(|element| element.get_ref().is_table())
}
