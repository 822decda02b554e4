//! Effects of using each name of a database: of functions by their texts, and of relations by their triggers, defaults,
//! policies and definitions, followed to the end. Built by the control core, read by workers. Pure.
//!
//! Errs on one side: a name stands for everything of that name, and a text uses whatever it mentions.

use hashbrown::{HashMap, HashSet};

use super::{
    load::RelationFact,
    names::{Identifier, Names},
    routines::{RoutineFact, UseFact, Used, User},
};
use crate::sql::{
    body::Body,
    effects::Effects,
    encoding::is_utf8,
    quoted::undoubled,
    token::{Kind, Reading, Tokens, is_in_word, unquoted},
};

/// Extensions whose functions leave nothing at a connection.
const HARMLESS_EXTENSIONS: [&str; 34] = [
    "address_standardizer",
    "adminpack",
    "amcheck",
    "bloom",
    "btree_gin",
    "btree_gist",
    "citext",
    "cube",
    "dict_int",
    "dict_xsyn",
    "earthdistance",
    "fuzzystrmatch",
    "hll",
    "hstore",
    "intarray",
    "ip4r",
    "isn",
    "ltree",
    "pageinspect",
    "pg_buffercache",
    "pg_freespacemap",
    "pg_prewarm",
    "pg_stat_statements",
    "pg_trgm",
    "pg_visibility",
    "pgcrypto",
    "pgrowlocks",
    "pgstattuple",
    "postgis",
    "seg",
    "tsm_system_rows",
    "unaccent",
    "uuid-ossp",
    "vector",
];

/// Words in functions of other languages that keep something for the next call.
const SHARED: [&str; 6] = ["_SHARED", "GD", "SD", "plv8", "globalThis", "global"];

/// Effects of everything that has one name.
#[derive(Clone, Debug, Default)]
pub struct NamedEffects {
    /// Calling it, or reading a relation of that name.
    pub reading: Effects,
    /// Calling it, and reading or writing a relation of that name.
    pub writing: Effects,
    /// Settings with a dot that this may set.
    pub settings: Vec<Box<str>>,
}

/// The names of a database that may leave something behind, and what any statement may.
#[derive(Clone, Debug, Default)]
pub struct EffectNames {
    names: Names<NamedEffects>,
    anything: NamedEffects,
    any_change: NamedEffects,
    /// Some names are not ASCII, so that their bytes depend on the encoding.
    has_foreign: bool,
}

impl EffectNames {
    /// Follows all that uses something to its end. `bodies`: as [`bodies_of`] reads them.
    pub fn new(
        routines: &[RoutineFact],
        bodies: &[Body],
        relations: &[RelationFact],
        uses: Vec<UseFact>,
    ) -> Self {
        Graph::new(routines, bodies, relations, uses).names(routines, relations)
    }

    /// True when nothing in the database leaves anything behind.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
            && self.anything.writing.is_none()
            && self.any_change.writing.is_none()
    }

    /// True for a text in which such a name may have other bytes than here, where names are UTF-8. `encoding`: the client's, if
    /// it has set one.
    pub fn may_misread(&self, text: &[u8], encoding: Option<&[u8]>) -> bool {
        let is_other = || !encoding.is_none_or(is_utf8) || std::str::from_utf8(text).is_err();
        self.has_foreign && !text.is_ascii() && is_other()
    }

    /// Shows `look` what any statement may leave. `changes`: it may change the schema.
    pub fn of_any<'e>(&'e self, changes: bool, mut look: impl FnMut(&'e NamedEffects)) {
        look(&self.anything);
        if changes {
            look(&self.any_change);
        }
    }

    /// Shows `look` what each of these names may leave, which are as the server stores them.
    pub fn of_names<'e>(&'e self, names: &[Box<[u8]>], look: impl FnMut(&'e NamedEffects)) {
        let names = names.iter().map(|name| Identifier::quoted(name));
        names
            .filter_map(|name| self.names.find(name))
            .for_each(look);
    }

    /// Shows `look` what each word may leave, of bytes from the middle of a text.
    pub fn of_words<'e>(&'e self, bytes: &[u8], mut look: impl FnMut(&'e NamedEffects)) {
        if self.names.is_empty() {
            return;
        }
        for word in bytes.split(|byte| !is_in_word(*byte)) {
            let found = self.names.find(Identifier::plain(word));
            found.into_iter().for_each(&mut look);
        }
    }

    /// Shows `look` what each name in a text may leave.
    pub fn of_text<'e>(&'e self, text: &[u8], mut look: impl FnMut(&'e NamedEffects)) {
        if self.names.is_empty() {
            return;
        }
        for token in Tokens::new(text, Reading::Standard) {
            let found = match token.kind {
                Kind::Word => self.names.find(Identifier::plain(token.text)),
                Kind::Quoted | Kind::UnicodeQuoted => {
                    let name = unquoted(token);
                    match memchr::memchr(b'"', name) {
                        None => self.names.find(Identifier::quoted(name)),
                        Some(_) => self.names.find(Identifier::quoted(&undoubled(name, b'"'))),
                    }
                }
                _ => continue,
            };
            found.into_iter().for_each(&mut look);
        }
    }
}

/// One thing that may use others.
#[derive(Debug, Default)]
struct Node {
    effects: Effects,
    settings: HashSet<Box<str>>,
    uses: Vec<usize>,
    /// Effects and uses that are added once something runs the literals in its text as SQL.
    in_literals: Option<Box<Node>>,
}

/// Everything, and what it uses.
struct Graph {
    nodes: Vec<Node>,
    places: HashMap<User, usize>,
    /// Nodes by names.
    named: HashMap<Box<[u8]>, Vec<usize>>,
}

impl Graph {
    fn new(
        routines: &[RoutineFact],
        bodies: &[Body],
        relations: &[RelationFact],
        uses: Vec<UseFact>,
    ) -> Self {
        let mut graph = Self {
            nodes: Vec::new(),
            places: HashMap::new(),
            named: HashMap::new(),
        };
        for routine in routines {
            let place = graph.place(User::Routine(routine.oid));
            graph.name(routine.name.as_bytes(), place);
        }
        for relation in relations {
            for user in [User::Reading(relation.oid), User::Writing(relation.oid)] {
                let place = graph.place(user);
                graph.name(relation.name.as_bytes(), place);
            }
        }
        for (routine, body) in routines.iter().zip(bodies) {
            let place = graph.place(User::Routine(routine.oid));
            graph.add_body(place, body);
        }
        uses.into_iter().for_each(|fact| graph.add_use(fact));
        graph.follow();
        graph
    }

    fn place(&mut self, user: User) -> usize {
        let next = self.nodes.len();
        let place = *self.places.entry(user).or_insert(next);
        if place == next {
            self.nodes.push(Node::default());
            if let User::Writing(oid) = user {
                // Who writes a relation may read it.
                let reading = self.place(User::Reading(oid));
                self.nodes[place].uses.push(reading);
            }
        }
        place
    }

    fn name(&mut self, name: &[u8], place: usize) {
        self.named.entry(name.into()).or_default().push(place);
    }

    fn add_use(&mut self, fact: UseFact) {
        let place = self.place(fact.user);
        let target = match fact.used {
            Used::Routine(oid) => self.place(User::Routine(oid)),
            Used::Writing(oid) => self.place(User::Writing(oid)),
            Used::Relation(oid) => {
                if let User::Reading(object) = fact.user {
                    let (writer, written) = (
                        self.place(User::Writing(object)),
                        self.place(User::Writing(oid)),
                    );
                    self.nodes[writer].uses.push(written);
                }
                self.place(User::Reading(oid))
            }
            Used::Sequence => {
                let node = &mut self.nodes[place];
                node.effects = node.effects.and(Effects::USES_SEQUENCES);
                return;
            }
            Used::Text(text) => {
                let body = Body::read(text.as_bytes());
                return self.add_body(place, &body);
            }
        };
        self.nodes[place].uses.push(target);
    }

    fn add_body(&mut self, place: usize, body: &Body) {
        let mut node = self.node_of(body);
        let known = &mut self.nodes[place];
        known.effects = known.effects.and(node.effects);
        known.settings.extend(node.settings);
        known.uses.extend(node.uses);
        if let Some(literals) = node.in_literals.take() {
            known.in_literals = Some(match known.in_literals.take() {
                None => literals,
                Some(mut more) => {
                    more.effects = more.effects.and(literals.effects);
                    more.settings.extend(literals.settings);
                    more.uses.extend(literals.uses);
                    more
                }
            });
        }
    }

    fn node_of(&self, body: &Body) -> Node {
        let mentioned = body.mentions.iter().filter_map(|name| self.named.get(name));
        Node {
            effects: body.effects,
            settings: body.settings.iter().cloned().collect(),
            uses: mentioned.flatten().copied().collect(),
            in_literals: body
                .literals
                .as_ref()
                .map(|literals| Box::new(self.node_of(literals))),
        }
    }

    /// Until nothing changes any more: each has what those have that it uses.
    fn follow(&mut self) {
        let mut changes = true;
        while changes {
            changes = false;
            for place in 0..self.nodes.len() {
                changes |= self.run_literals(place);
                changes |= self.take_over(place);
            }
        }
    }

    /// Something that it uses runs texts: these may be its literals.
    fn run_literals(&mut self, place: usize) -> bool {
        let node = &mut self.nodes[place];
        if !node.effects.has(Effects::UNSEEN) {
            return false;
        }
        let Some(literals) = node.in_literals.take() else {
            return false;
        };
        node.effects = node.effects.and(literals.effects);
        node.settings.extend(literals.settings);
        node.uses.extend(literals.uses);
        node.in_literals = literals.in_literals;
        true
    }

    fn take_over(&mut self, place: usize) -> bool {
        let mut node = std::mem::take(&mut self.nodes[place]);
        let before = (node.effects, node.settings.len());
        for used in &node.uses {
            // It is not there while it uses itself.
            let used = &self.nodes[*used];
            node.effects = node.effects.and(used.effects);
            node.settings.extend(used.settings.iter().cloned());
        }
        let changed = before != (node.effects, node.settings.len());
        self.nodes[place] = node;
        changed
    }

    fn names(&self, routines: &[RoutineFact], relations: &[RelationFact]) -> EffectNames {
        let mut all = EffectNames::default();
        for routine in routines {
            self.tell(&mut all, &routine.name, User::Routine(routine.oid), true);
        }
        for relation in relations {
            self.tell(&mut all, &relation.name, User::Reading(relation.oid), true);
            self.tell(&mut all, &relation.name, User::Writing(relation.oid), false);
        }
        if let Some(place) = self.places.get(&User::Anything) {
            add(&mut all.anything, &self.nodes[*place], true);
        }
        if let Some(place) = self.places.get(&User::AnyChange) {
            add(&mut all.any_change, &self.nodes[*place], true);
        }
        all
    }

    fn tell(&self, all: &mut EffectNames, name: &str, user: User, by_reading: bool) {
        let node = self.places.get(&user).map(|place| &self.nodes[*place]);
        if let Some(node) = node.filter(|node| !node.effects.is_none()) {
            all.has_foreign |= !name.is_ascii();
            add(all.names.entry(name.as_bytes()), node, by_reading);
        }
    }
}

fn add(to: &mut NamedEffects, node: &Node, by_reading: bool) {
    to.writing = to.writing.and(node.effects);
    if by_reading {
        to.reading = to.reading.and(node.effects);
    }
    for name in &node.settings {
        if !to.settings.contains(name) {
            to.settings.push(name.clone());
        }
    }
}

/// The texts of functions, read once for all that is concluded from them.
pub fn bodies_of(routines: &[RoutineFact]) -> Vec<Body> {
    routines.iter().map(body_of).collect()
}

/// The body of a function, read as its language wants it; feared, where the language hides it.
fn body_of(routine: &RoutineFact) -> Body {
    let effects = match routine.language.as_str() {
        "sql" | "plpgsql" => return Body::read(routine.source.as_bytes()),
        "internal" => return Body::read(&[b"SELECT ", routine.source.as_bytes()].concat()),
        "c" => {
            // Nobody can look into it: one that says that its result depends on nothing is believed.
            let is_believed = routine.is_immutable || is_harmless(&routine.extension);
            let feared = if is_believed {
                Effects::NONE
            } else {
                Effects::UNSEEN
            };
            return named(&routine.name, feared);
        }
        _ => in_another_language(&routine.source),
    };
    Body::leaving(effects)
}

/// The body of a function that is known by its name alone, with the effects that must be feared beside.
fn named(name: &str, effects: Effects) -> Body {
    let mut body = Body::read(name.as_bytes());
    body.effects = body.effects.and(effects);
    body.mentions.clear();
    body
}

fn is_harmless(extension: &str) -> bool {
    HARMLESS_EXTENSIONS.contains(&extension) || extension.starts_with("postgis")
}

/// A language that can run SQL from its own texts.
fn in_another_language(source: &str) -> Effects {
    let has_word = |word: &str| {
        let is_part = |byte: char| byte.is_ascii_alphanumeric() || byte == '_';
        let mut found = source.match_indices(word);
        found.any(|(at, _)| {
            let before = source[..at].chars().next_back();
            let after = source[at + word.len()..].chars().next();
            !before.is_some_and(is_part) && !after.is_some_and(is_part)
        })
    };
    let lower = source.to_ascii_lowercase();
    let sets = lower.contains("set_config") || lower.contains("\"set ") || lower.contains("'set ");
    let mut effects = Effects::UNSEEN;
    if SHARED.into_iter().any(has_word) {
        effects = effects.and(Effects::LASTING);
    }
    if sets {
        effects = effects.and(Effects::UNNAMED);
    }
    effects
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_of(
        routines: &[RoutineFact],
        relations: &[RelationFact],
        uses: Vec<UseFact>,
    ) -> EffectNames {
        EffectNames::new(routines, &bodies_of(routines), relations, uses)
    }

    fn routine(oid: u32, name: &str, source: &str) -> RoutineFact {
        RoutineFact {
            oid,
            name: name.to_owned(),
            language: "plpgsql".to_owned(),
            is_immutable: false,
            is_volatile: true,
            source: source.to_owned(),
            extension: String::new(),
        }
    }

    fn table(oid: u32, name: &str) -> RelationFact {
        RelationFact {
            oid,
            schema: "public".to_owned(),
            name: name.to_owned(),
            kind: 'r',
            persistence: 'p',
            row_security: false,
            bases: Vec::new(),
            calls_writers: false,
        }
    }

    fn uses(user: User, used: Used) -> UseFact {
        UseFact { user, used }
    }

    /// Effects of a text as a read and as a write, and the settings with a dot that it may set.
    fn look(names: &EffectNames, text: &str) -> (Effects, Effects, Vec<String>) {
        let (mut reading, mut writing, mut settings) = (Effects::NONE, Effects::NONE, Vec::new());
        let mut see = |found: &NamedEffects| {
            reading = reading.and(found.reading);
            writing = writing.and(found.writing);
            settings.extend(found.settings.iter().map(ToString::to_string));
        };
        names.of_any(false, &mut see);
        names.of_text(text.as_bytes(), &mut see);
        settings.sort();
        settings.dedup();
        (reading, writing, settings)
    }

    #[test]
    fn what_a_function_does_is_done_by_all_that_call_it() {
        let routines = [
            routine(1, "outer", "BEGIN RETURN middle(1); END"),
            routine(2, "middle", "BEGIN RETURN public.inner_one($1); END"),
            routine(
                3,
                "inner_one",
                "BEGIN PERFORM set_config('app.x', 'y', false); END",
            ),
            routine(4, "harmless", "BEGIN RETURN 1; END"),
            routine(5, "itself", "BEGIN RETURN itself(1); END"),
        ];
        let names = names_of(&routines, &[], vec![]);
        let (reading, _, settings) = look(&names, "SELECT OUTER (1)");
        assert_eq!(
            (reading, settings),
            (Effects::STATE, vec!["app.x".to_owned()])
        );
        assert!(look(&names, "SELECT harmless(1), itself(2)").1.is_none());
        assert_eq!(look(&names, "SELECT \"OUTER\"(1)").0, Effects::NONE);
    }

    #[test]
    fn a_relation_does_what_its_triggers_do_when_it_is_written() {
        let routines = [routine(1, "audit", "BEGIN SET ROLE x; RETURN NEW; END")];
        let relations = [
            table(10, "parent"),
            table(11, "child"),
            table(12, "plain"),
            table(13, "view"),
        ];
        let names = names_of(
            &routines,
            &relations,
            vec![
                uses(User::Writing(11), Used::Routine(1)),
                uses(User::Writing(10), Used::Writing(11)),
                uses(User::Reading(13), Used::Relation(10)),
            ],
        );
        for name in ["child", "parent", "view"] {
            let (reading, writing, _) = look(&names, &format!("INSERT INTO {name} VALUES (1)"));
            assert_eq!(
                (reading, writing),
                (Effects::NONE, Effects::STATE),
                "{name}"
            );
        }
        assert!(look(&names, "INSERT INTO plain VALUES (1)").1.is_none());
    }

    #[test]
    fn texts_are_run_by_what_runs_texts() {
        let routines = [
            routine(1, "run", "BEGIN EXECUTE $1; END"),
            routine(2, "teller", "BEGIN PERFORM run('SET my.x = 1'); END"),
            routine(3, "talker", "BEGIN RAISE NOTICE 'SET my.x = 1'; END"),
        ];
        let names = names_of(&routines, &[], vec![]);
        let (reading, _, settings) = look(&names, "SELECT teller()");
        assert!(reading.has(Effects::UNSEEN) && reading.has(Effects::STATE));
        assert_eq!(settings, ["my.x"]);
        assert!(look(&names, "SELECT talker()").0.is_none());
    }

    #[test]
    fn operators_casts_and_domains_may_be_anywhere() {
        let routines = [routine(1, "f", "BEGIN PERFORM pg_advisory_lock(1); END")];
        let names = names_of(&routines, &[], vec![uses(User::Anything, Used::Routine(1))]);
        assert_eq!(look(&names, "SELECT 1").0, Effects::STATE);
        let views = names_of(
            &[],
            &[table(5, "v")],
            vec![uses(
                User::Reading(5),
                Used::Text("SELECT set_config(a, b, false)".to_owned()),
            )],
        );
        assert!(look(&views, "TABLE v").0.has(Effects::UNNAMED));
    }
}
