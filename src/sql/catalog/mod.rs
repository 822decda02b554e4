//! The catalog of one database, as of one look at its system catalogs: which functions are never volatile, which relations
//! a hot standby can read. Built by the control core from plain facts, read by workers. Never talks to a server.
//!
//! Errs on one side: a name is harmless only when everything that it may stand for is.

mod effects;
mod load;
mod names;
mod needs;
mod own;
mod routines;

pub use effects::{EffectNames, NamedEffects, bodies_of};
pub use load::{
    FUNCTIONS_SQL, FactError, FunctionFact, OWN_FUNCTIONS_SQL, OWN_RELATIONS_SQL, RELATIONS_SQL,
    RelationFact,
};
pub use names::Identifier;
pub use needs::Needs;
pub use routines::{CHANGES_SQL, ROUTINES_SQL, RoutineFact, USES_SQL, UseFact, Used, User};

use std::fmt;

use hashbrown::{HashMap, HashSet};

use names::Names;

/// Why a standby must not read a relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taint {
    /// Unlogged: standbys have only its definition.
    Unlogged,
    /// Temporary: another session's, or one that only this session's server connection has.
    Temporary,
    /// Foreign: its rows come from elsewhere, and no position in the WAL says how old they are.
    Foreign,
    /// A sequence: standbys are ahead of what the primary has given out.
    Sequence,
    /// It shows the state of the server that is asked.
    ServerState,
    /// Reading it calls a function that may write, or that fails on a standby, or locks rows.
    CallsWriters,
}

impl fmt::Display for Taint {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Unlogged => "is unlogged",
            Self::Temporary => "is temporary",
            Self::Foreign => "is foreign",
            Self::Sequence => "is a sequence",
            Self::ServerState => "shows the state of one server",
            Self::CallsWriters => "calls a function that needs the primary, or locks rows",
        })
    }
}

/// One relation, as the lookup finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    schema: Box<[u8]>,
    /// Its number in `pg_class`.
    pub oid: u32,
    /// Row level security is on.
    pub row_security: bool,
    /// Why a standby must not read it.
    pub taint: Option<Taint>,
    /// The reason is not its own, but that of something it reads.
    pub is_inherited: bool,
}

/// The worst that a call of some name may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// Nothing of that name is known.
    Unknown,
    /// Whatever it is, it only reads.
    Reader,
    /// Some function of that name is volatile.
    Volatile,
    /// It says of itself that it only reads, and yet it needs the primary.
    PrimaryOnly,
}

/// The worst that a name in FROM may stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// Nothing of that name is known.
    Unknown,
    /// Whatever it is, standbys have it.
    Replicated,
    /// Some relation of that name is not for standbys; true when only because of what it reads.
    Tainted(Taint, bool),
}

/// All that is known of one database.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    functions: Names<Functions>,
    relations: Names<Relations>,
    projections: Names<()>,
}

/// The relations of one name.
#[derive(Clone, Debug)]
struct Relations {
    /// The worst that the name may stand for without a schema.
    all: Named,
    each: Vec<Relation>,
}

impl Default for Relations {
    fn default() -> Self {
        Self {
            all: Named::Unknown,
            each: Vec::new(),
        }
    }
}

/// The functions of one name.
#[derive(Clone, Debug, Default)]
struct Functions {
    /// The worst of them.
    all: Option<Called>,
    schemas: Vec<(Box<[u8]>, Called)>,
}

impl Catalog {
    /// The facts as functions and relations tell them of themselves.
    pub fn new(
        functions: impl IntoIterator<Item = FunctionFact>,
        relations: impl IntoIterator<Item = RelationFact>,
    ) -> Self {
        Self::with_needs(functions, relations, &Needs::default())
    }

    /// Puts the facts in order. What relations read is followed to its end here.
    pub fn with_needs(
        functions: impl IntoIterator<Item = FunctionFact>,
        relations: impl IntoIterator<Item = RelationFact>,
        needs: &Needs,
    ) -> Self {
        let mut catalog = Self::default();
        for fact in functions {
            catalog.add_function(&fact, needs);
        }
        let relations: Vec<_> = relations.into_iter().collect();
        let taints = Taints::new(&relations, needs);
        for fact in &relations {
            catalog.add_relation(fact, taints.of(fact));
        }
        catalog
    }

    fn add_function(&mut self, fact: &FunctionFact, needs: &Needs) {
        let called = called(fact, needs);
        let functions = self.functions.entry(fact.name.as_bytes());
        functions.all = functions
            .all
            .map_or(Some(called), |all| Some(worse(all, called)));
        functions
            .schemas
            .push((fact.schema.as_bytes().into(), called));
        if fact.projects {
            self.projections.entry(fact.name.as_bytes());
        }
    }

    fn add_relation(&mut self, fact: &RelationFact, taint: Option<(Taint, bool)>) {
        let relations = self.relations.entry(fact.name.as_bytes());
        relations.each.push(Relation {
            schema: fact.schema.as_bytes().into(),
            oid: fact.oid,
            row_security: fact.row_security,
            taint: taint.map(|(taint, _)| taint),
            is_inherited: taint.is_some_and(|(_, is_inherited)| is_inherited),
        });
        relations.all = stands_for(relations.each.iter());
    }

    /// The worst that a call of `name` may do. Without a schema, in whatever schema it may be found.
    #[inline]
    pub fn called(&self, schema: Option<Identifier<'_>>, name: Identifier<'_>) -> Called {
        let Some(functions) = self.functions.find(name) else {
            return Called::Unknown;
        };
        let Some(schema) = schema else {
            return functions.all.unwrap_or(Called::Unknown);
        };
        let of_schema = functions
            .schemas
            .iter()
            .filter(|(known, _)| schema.is(known));
        let worst = of_schema.map(|(_, called)| *called).reduce(worse);
        worst.unwrap_or(Called::Unknown)
    }

    /// The worst that `name` in FROM may stand for, beside a common table expression.
    #[inline]
    pub fn named(&self, schema: Option<Identifier<'_>>, name: Identifier<'_>) -> Named {
        match schema {
            Some(_) => stands_for(self.relations(schema, name)),
            None => self
                .relations
                .find(name)
                .map_or(Named::Unknown, |relations| relations.all),
        }
    }

    /// The relations that `name` may stand for.
    #[inline]
    pub fn relations<'c>(
        &'c self,
        schema: Option<Identifier<'c>>,
        name: Identifier<'_>,
    ) -> impl Iterator<Item = &'c Relation> {
        let relations = self.relations.find(name);
        let known = relations.map_or(&[][..], |relations| relations.each.as_slice());
        let is_meant =
            move |relation: &&Relation| schema.is_none_or(|schema| schema.is(&relation.schema));
        known.iter().filter(is_meant)
    }

    /// True when `t.name` may call a function that writes.
    #[inline]
    pub fn projects(&self, name: Identifier<'_>) -> bool {
        self.projections.find(name).is_some()
    }

    /// True when there is no name of which [`projects`](Self::projects) is true.
    #[inline]
    pub fn projects_nothing(&self) -> bool {
        self.projections.is_empty()
    }
}

/// The worst of what a name may stand for.
fn stands_for<'c>(relations: impl Iterator<Item = &'c Relation>) -> Named {
    let mut found = Named::Unknown;
    for relation in relations {
        match relation.taint {
            Some(taint) => return Named::Tainted(taint, relation.is_inherited),
            None => found = Named::Replicated,
        }
    }
    found
}

fn called(fact: &FunctionFact, needs: &Needs) -> Called {
    let is_own = fact.schema == "pg_catalog";
    if fact.volatile && !(is_own && own::only_looks(&fact.name)) {
        Called::Volatile
    } else if is_own && own::needs_primary(&fact.name) || needs.has_function(&fact.name) {
        Called::PrimaryOnly
    } else {
        Called::Reader
    }
}

/// Of two meanings of a name, the one that must be feared.
fn worse(one: Called, other: Called) -> Called {
    let rank = |called| match called {
        Called::Reader => 0,
        Called::PrimaryOnly => 1,
        Called::Volatile => 2,
        Called::Unknown => 3,
    };
    if rank(one) >= rank(other) { one } else { other }
}

/// The taints of relations, their own and those of what they read.
struct Taints<'f> {
    own: HashMap<u32, Taint>,
    facts: HashMap<u32, &'f RelationFact>,
    needs: &'f Needs,
}

impl<'f> Taints<'f> {
    fn new(relations: &'f [RelationFact], needs: &'f Needs) -> Self {
        let own = relations
            .iter()
            .filter_map(|fact| Some((fact.oid, own_taint(fact, needs)?)));
        Self {
            own: own.collect(),
            facts: relations.iter().map(|fact| (fact.oid, fact)).collect(),
            needs,
        }
    }

    /// The taint of a relation; true when it is that of something it reads. What a materialized view reads was read
    /// when it was made.
    fn of(&self, fact: &RelationFact) -> Option<(Taint, bool)> {
        if let Some(taint) = own_taint(fact, self.needs) {
            return Some((taint, false));
        }
        let mut seen: HashSet<u32> = [fact.oid].into_iter().collect();
        let mut ahead = reads(fact).to_vec();
        while let Some(oid) = ahead.pop() {
            if !seen.insert(oid) {
                continue;
            }
            if let Some(taint) = self.own.get(&oid) {
                return Some((*taint, true));
            }
            ahead.extend(
                self.facts
                    .get(&oid)
                    .into_iter()
                    .flat_map(|fact| reads(fact)),
            );
        }
        None
    }
}

fn reads(fact: &RelationFact) -> &[u32] {
    match fact.kind {
        'm' => &[],
        _ => &fact.bases,
    }
}

fn own_taint(fact: &RelationFact, needs: &Needs) -> Option<Taint> {
    let is_own = fact.schema == "pg_catalog" && own::shows_server_state(&fact.name);
    match (fact.persistence, fact.kind) {
        ('t', _) => Some(Taint::Temporary),
        ('u', _) => Some(Taint::Unlogged),
        (_, 'f') => Some(Taint::Foreign),
        (_, 'S') => Some(Taint::Sequence),
        _ if is_own => Some(Taint::ServerState),
        // Policies of a materialized view there are none, and its query is not run.
        (_, kind) if fact.calls_writers && kind != 'm' => Some(Taint::CallsWriters),
        (_, 'v') if needs.has_relation(fact.oid) => Some(Taint::CallsWriters),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
