//! Functions and views that say that they only read, and yet need the primary: they call what writes, read what standbys
//! do not have, or run texts that nobody has seen. Built by the control core. Pure.

use hashbrown::{HashMap, HashSet};

use super::{
    load::{FunctionFact, RelationFact},
    own,
    routines::{RoutineFact, UseFact, Used, User},
};
use crate::sql::{body::Body, effects::Effects};

/// Functions and relations that need the primary, whatever they say of themselves.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// Names of functions.
    functions: HashSet<Box<str>>,
    /// Numbers of relations, in `pg_class`, that call such a function themselves.
    relations: HashSet<u32>,
    /// An operator, a cast, the check of a domain or the like calls what may write, so that no look at a statement tells
    /// whether it does.
    pub any_statement: bool,
}

impl Needs {
    /// Follows what functions and views use to its end. `bodies`: the texts of `routines`.
    pub fn new(
        functions: &[FunctionFact],
        (routines, bodies): (&[RoutineFact], &[Body]),
        relations: &[RelationFact],
        uses: &[UseFact],
    ) -> Self {
        let mut graph = Graph::new(routines, relations);
        graph.tell_routines(functions, routines, bodies);
        graph.tell_relations(relations);
        uses.iter().for_each(|fact| graph.add_use(fact));
        graph.follow();
        let needs = |user| graph.nodes.get(&user).is_some_and(|node| node.is_needed);
        let names = routines.iter().filter(|it| needs(User::Routine(it.oid)));
        let calls = |oid: &u32| {
            let node = graph.nodes.get(&User::Reading(*oid));
            let is_call = |used: &&User| matches!(used, User::Routine(_));
            let mut called = node
                .into_iter()
                .flat_map(|node| node.uses.iter().filter(is_call));
            called.any(|used| needs(*used))
        };
        let oids = relations.iter().map(|relation| relation.oid);
        Self {
            functions: names.map(|routine| routine.name.as_str().into()).collect(),
            relations: oids.filter(calls).collect(),
            any_statement: needs(User::Anything),
        }
    }

    /// True for a name that some function has which needs the primary.
    pub(super) fn has_function(&self, name: &str) -> bool {
        self.functions.contains(name)
    }

    /// True for a relation that calls what needs the primary when it is read.
    pub(super) fn has_relation(&self, oid: u32) -> bool {
        self.relations.contains(&oid)
    }
}

#[derive(Debug, Default)]
struct Node {
    is_needed: bool,
    uses: Vec<User>,
}

/// Functions and relations, and what they use when they are called or read.
struct Graph<'f> {
    nodes: HashMap<User, Node>,
    named: HashMap<&'f [u8], Vec<User>>,
}

impl<'f> Graph<'f> {
    fn new(routines: &'f [RoutineFact], relations: &'f [RelationFact]) -> Self {
        let mut named: HashMap<&[u8], Vec<User>> = HashMap::new();
        for routine in routines {
            let users = named.entry(routine.name.as_bytes()).or_default();
            users.push(User::Routine(routine.oid));
        }
        // A function that names somebody's temporary table most likely means another one.
        for relation in relations.iter().filter(|it| it.persistence != 't') {
            let users = named.entry(relation.name.as_bytes()).or_default();
            users.push(User::Reading(relation.oid));
        }
        Self {
            nodes: HashMap::new(),
            named,
        }
    }

    fn tell_routines(
        &mut self,
        functions: &[FunctionFact],
        routines: &[RoutineFact],
        bodies: &[Body],
    ) {
        let writes = |fact: &&FunctionFact| {
            let is_volatile = fact.volatile && !own::only_looks(&fact.name);
            fact.schema == "pg_catalog" && (is_volatile || own::needs_primary(&fact.name))
        };
        let writers = functions.iter().filter(writes);
        let writers: HashSet<&[u8]> = writers.map(|fact| fact.name.as_bytes()).collect();
        for (routine, body) in routines.iter().zip(bodies) {
            let is_unseen = body.effects.has(Effects::UNSEEN) && !routine.is_immutable;
            let calls_writers = || body.mentions.iter().any(|name| writers.contains(&**name));
            let mentioned = body
                .mentions
                .iter()
                .filter_map(|name| self.named.get(&**name));
            let uses = mentioned.flatten().copied().collect();
            let is_needed = routine.is_volatile || is_unseen || calls_writers();
            self.nodes
                .insert(User::Routine(routine.oid), Node { is_needed, uses });
        }
    }

    fn tell_relations(&mut self, relations: &[RelationFact]) {
        for relation in relations {
            let is_elsewhere = relation.persistence == 'u' || matches!(relation.kind, 'f' | 'S');
            self.node(User::Reading(relation.oid)).is_needed = is_elsewhere;
        }
    }

    fn node(&mut self, user: User) -> &mut Node {
        self.nodes.entry(user).or_default()
    }

    fn add_use(&mut self, fact: &UseFact) {
        let used = match (&fact.user, &fact.used) {
            (User::Reading(_) | User::Routine(_) | User::Anything, Used::Routine(oid)) => {
                User::Routine(*oid)
            }
            (User::Reading(_), Used::Relation(oid)) => User::Reading(*oid),
            _ => return,
        };
        self.node(fact.user).uses.push(used);
    }

    /// Until nothing changes any more: whoever uses what needs the primary needs it, too.
    fn follow(&mut self) {
        let mut users: HashMap<User, Vec<User>> = HashMap::new();
        for (user, node) in &self.nodes {
            for used in &node.uses {
                users.entry(*used).or_default().push(*user);
            }
        }
        let needed = self.nodes.iter().filter(|(_, node)| node.is_needed);
        let mut ahead: Vec<User> = needed.map(|(user, _)| *user).collect();
        while let Some(used) = ahead.pop() {
            for user in users.get(&used).into_iter().flatten() {
                let node = self.nodes.entry(*user).or_default();
                if !std::mem::replace(&mut node.is_needed, true) {
                    ahead.push(*user);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::catalog::{
        effects::bodies_of,
        tests::{function, relation},
    };

    fn routine(oid: u32, name: &str, volatility: char, source: &str) -> RoutineFact {
        RoutineFact {
            oid,
            name: name.to_owned(),
            language: "plpgsql".to_owned(),
            is_immutable: volatility == 'i',
            is_volatile: volatility == 'v',
            source: source.to_owned(),
            extension: String::new(),
        }
    }

    fn needed(routines: &[RoutineFact], relations: &[RelationFact], uses: &[UseFact]) -> String {
        let functions = ["nextval", "random", "pg_current_wal_lsn"]
            .map(|name| function("pg_catalog", name, true));
        let needs = Needs::new(
            &functions,
            (routines, &bodies_of(routines)),
            relations,
            uses,
        );
        let names = routines.iter().filter(|it| needs.has_function(&it.name));
        let names = names.map(|it| it.name.as_str());
        let views = relations.iter().filter(|it| needs.has_relation(it.oid));
        let all: Vec<_> = names.chain(views.map(|it| it.name.as_str())).collect();
        all.join(" ")
    }

    #[test]
    fn a_function_needs_what_its_text_needs() {
        let routines = [
            routine(1, "plain", 's', "BEGIN RETURN (SELECT max(n) FROM t); END"),
            routine(
                2,
                "unlogged",
                's',
                "BEGIN RETURN (SELECT max(n) FROM cache); END",
            ),
            routine(3, "position", 's', "BEGIN RETURN pg_current_wal_lsn(); END"),
            routine(4, "chance", 's', "BEGIN RETURN random(); END"),
            routine(5, "writer", 'v', "BEGIN INSERT INTO t VALUES (1); END"),
            routine(6, "calls", 's', "BEGIN PERFORM writer(); END"),
            routine(7, "calls_that", 's', "BEGIN PERFORM calls(); END"),
            routine(8, "dynamic", 's', "BEGIN EXECUTE x; END"),
        ];
        let relations = [
            relation(11, "t", 'r', 'p', &[]),
            relation(12, "cache", 'r', 'u', &[]),
        ];
        let found = needed(&routines, &relations, &[]);
        assert_eq!(found, "unlogged position writer calls calls_that dynamic");
    }

    #[test]
    fn a_view_needs_what_it_reads_and_calls() {
        let routines = [
            routine(1, "writer", 'v', ""),
            routine(2, "calls", 's', "BEGIN PERFORM writer(); END"),
        ];
        let relations = [
            relation(11, "t", 'r', 'p', &[]),
            relation(12, "v", 'v', 'p', &[]),
            relation(14, "other", 'v', 'p', &[]),
        ];
        let uses = |user, used| UseFact { user, used };
        let found = needed(
            &routines,
            &relations,
            &[
                uses(User::Reading(12), Used::Routine(2)),
                uses(User::Reading(14), Used::Relation(11)),
                // A trigger.
                uses(User::Writing(11), Used::Routine(1)),
            ],
        );
        assert_eq!(found, "writer calls v");
    }

    #[test]
    fn operators_may_be_in_any_statement() {
        let uses = [UseFact {
            user: User::Anything,
            used: Used::Routine(1),
        }];
        let of = |volatility| {
            let routines = [routine(1, "f", volatility, "")];
            Needs::new(&[], (&routines, &bodies_of(&routines)), &[], &uses).any_statement
        };
        assert_eq!(['v', 's', 'i'].map(of), [true, false, false]);
    }
}
