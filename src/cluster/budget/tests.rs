//! Limits under real threads, and the rules of the budgets one by one. What many cores make of them is simulated in
//! `worker/pool/tests/`.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering::SeqCst},
    },
    thread,
};

use super::*;
use crate::{
    cluster::settings::Limits,
    ids::{Epoch, NodeId, WorkerId},
    time::{self, Micros},
};

/// Bounds of two databases, two users, one node.
#[derive(Clone, Copy)]
struct Rules {
    size: u32,
    reserve: u32,
    database: Option<u32>,
    user: Option<u32>,
    node: Option<u32>,
    clients: Option<u32>,
}

const FREE: Rules = Rules {
    size: 100,
    reserve: 0,
    database: None,
    user: None,
    node: None,
    clients: None,
};

impl Bounds for Rules {
    fn pool(&self, _: &PoolKey) -> (u32, u32) {
        (self.size, self.reserve)
    }

    fn database(&self, _: &str) -> Limits {
        Limits {
            max_connections: self.database,
            max_clients: self.clients,
        }
    }

    fn user(&self, _: &str) -> Limits {
        Limits {
            max_connections: self.user,
            max_clients: None,
        }
    }

    fn node(&self, _: NodeId) -> Option<u32> {
        self.node
    }
}

fn terms(epoch: u64, rules: Rules) -> Terms {
    Terms {
        epoch: Epoch(epoch),
        bounds: Arc::new(rules),
    }
}

fn key(database: &str, user: &str) -> PoolKey {
    PoolKey {
        database: database.into(),
        user: user.into(),
    }
}

const NODE: NodeId = NodeId(0);

/// Whom the bell has rung for.
type Rung = Arc<Mutex<Vec<(WorkerId, PoolKey)>>>;

fn budgets(workers: u16) -> (Budgets, Rung) {
    let rung = Rung::default();
    let heard = Arc::clone(&rung);
    let bell = move |worker, budget: Arc<Budget>| {
        heard.lock().unwrap().push((worker, budget.key.clone()));
    };
    (Budgets::new(workers, time::now(), bell), rung)
}

fn waits(since: Micros) -> Want {
    Want {
        waiting: 1,
        missing: 1,
        since,
        overdue: false,
    }
}

#[test]
fn a_permit_is_one_of_each_limit_or_of_none() {
    for refusal in [
        Refusal::Pool,
        Refusal::Database,
        Refusal::User,
        Refusal::Node,
    ] {
        let mut rules = FREE;
        match refusal {
            Refusal::Pool => rules.size = 1,
            Refusal::Database => rules.database = Some(1),
            Refusal::User => rules.user = Some(1),
            Refusal::Node => rules.node = Some(1),
        }
        let (budgets, _) = budgets(1);
        let budget = budgets.of(&key("d", "u"), NODE, terms(1, rules));
        let permit = budget.take(false).unwrap();
        for _ in 0..3 {
            assert_eq!(budget.take(false).unwrap_err(), refusal);
        }
        assert_eq!((budget.used(), budget.max(refusal)), (1, 1));
        // Nothing was kept by those who were refused.
        drop(permit);
        assert_eq!(budget.used(), 0);
        drop(budget.take(false).unwrap());
    }
}

#[test]
fn pools_share_what_they_have_in_common() {
    let rules = Rules {
        database: Some(2),
        user: Some(3),
        ..FREE
    };
    let (budgets, _) = budgets(1);
    let of = |database, user| budgets.of(&key(database, user), NODE, terms(1, rules));
    let _first = of("a", "x").take(false).unwrap();
    let _second = of("a", "y").take(false).unwrap();
    assert_eq!(of("a", "z").take(false).unwrap_err(), Refusal::Database);
    let _third = of("b", "x").take(false).unwrap();
    let _fourth = of("c", "x").take(false).unwrap();
    assert_eq!(of("b", "x").take(false).unwrap_err(), Refusal::User);
    assert!(of("b", "y").take(false).is_ok());
}

#[test]
fn the_reserve_is_for_those_who_have_waited() {
    let (budgets, _) = budgets(1);
    let rules = Rules {
        size: 1,
        reserve: 1,
        ..FREE
    };
    let budget = budgets.of(&key("d", "u"), NODE, terms(1, rules));
    let first = budget.take(false).unwrap();
    assert_eq!(budget.take(false).unwrap_err(), Refusal::Pool);
    let second = budget.take(true).unwrap();
    assert!(budget.is_on_reserve() && !budget.is_over());
    assert_eq!(budget.take(true).unwrap_err(), Refusal::Pool);
    drop((first, second));
    assert!(!budget.is_on_reserve());
}

#[test]
fn what_comes_back_goes_to_who_has_waited_longest() {
    let (budgets, rung) = budgets(300);
    let rules = Rules {
        node: Some(1),
        ..FREE
    };
    let of = |user| budgets.of(&key("d", user), NODE, terms(1, rules));
    let permit = of("x").take(false).unwrap();
    for (user, worker, since) in [("x", 1, 30), ("y", 2, 10), ("z", 299, 20)] {
        of(user).show_want(WorkerId(worker), Want::default(), waits(since));
    }
    drop(permit);
    assert_eq!(rung.lock().unwrap()[0], (WorkerId(2), key("d", "y")));
    // Whoever comes now is too late.
    assert_eq!(of("x").take(false).unwrap_err(), Refusal::Node);
    assert!(of("z").collect(WorkerId(299), false).is_none());
    assert!(of("y").collect(WorkerId(1), false).is_none());
    let permit = of("y").collect(WorkerId(2), false).unwrap();
    assert!(of("y").collect(WorkerId(2), false).is_none());
    of("y").show_want(WorkerId(2), waits(10), Want::default());
    drop(permit);
    assert!(of("z").collect(WorkerId(299), false).is_some());
}

#[test]
fn a_higher_limit_is_given_away_at_once() {
    let (budgets, rung) = budgets(1);
    let rules = Rules { size: 1, ..FREE };
    let budget = budgets.of(&key("d", "u"), NODE, terms(1, rules));
    let _permit = budget.take(false).unwrap();
    budget.show_want(WorkerId(0), Want::default(), waits(5));
    budgets.refresh(terms(2, Rules { size: 2, ..FREE }));
    assert_eq!(*rung.lock().unwrap(), [(WorkerId(0), key("d", "u"))]);
    assert!(budget.collect(WorkerId(0), false).is_some());
    // A core that is late does not bring the old limit back.
    budgets.refresh(terms(1, rules));
    budgets.of(&key("d", "u"), NODE, terms(1, rules));
    assert_eq!(budget.max(Refusal::Pool), 2);
}

#[test]
fn a_lower_limit_is_passed_until_connections_have_gone() {
    let (budgets, _) = budgets(1);
    let budget = budgets.of(&key("d", "u"), NODE, terms(1, FREE));
    let mut permits: Vec<_> = (0..3).map(|_| budget.take(false).unwrap()).collect();
    let lower = Rules {
        node: Some(2),
        ..FREE
    };
    budgets.refresh(terms(2, lower));
    assert!(budget.is_over());
    assert_eq!(budget.take(false).unwrap_err(), Refusal::Node);
    permits.pop();
    assert!(!budget.is_over());
    assert_eq!(budget.take(false).unwrap_err(), Refusal::Node);
}

#[test]
fn the_oldest_idle_connection_makes_way() {
    let (budgets, _) = budgets(3);
    let rules = Rules {
        node: Some(3),
        ..FREE
    };
    let of = |user| budgets.of(&key("d", user), NODE, terms(1, rules));
    let mut permits: Vec<_> = ["x", "y", "z"]
        .map(|user| of(user).take(false).unwrap())
        .into();
    for (user, worker, since) in [("x", 0, 30), ("y", 1, 20), ("z", 2, 40)] {
        of(user).show_idle(WorkerId(worker), Some(since));
    }
    let blocked = of("w").full();
    of("w").show_want(WorkerId(0), Want::default(), waits(50));
    of("w").show_blocked(Blocked::default(), blocked);
    assert!(of("x").is_crowded());
    assert!(matches!(
        of("w").seek(WorkerId(0)),
        Sought::Ask(WorkerId(1))
    ));
    let Sought::Evict(victim) = of("w").seek(WorkerId(1)) else {
        panic!("core 1 has it");
    };
    assert_eq!(victim.key, key("d", "y"));
    // One that is on its way to its end is enough for one who waits.
    permits[1].leave();
    assert!(matches!(of("w").seek(WorkerId(1)), Sought::Nothing));
    permits.remove(1);
    assert!(of("w").collect(WorkerId(0), false).is_some());
}

#[test]
fn a_connection_of_the_pool_itself_comes_first() {
    let (budgets, _) = budgets(2);
    let budget = budgets.of(&key("d", "u"), NODE, terms(1, FREE));
    budget.show_want(WorkerId(0), Want::default(), waits(1));
    budget.show_idle(WorkerId(1), Some(1));
    assert!(matches!(budget.seek(WorkerId(0)), Sought::Ask(WorkerId(1))));
    assert!(matches!(budget.seek(WorkerId(1)), Sought::Give));
    budget.promise(WorkerId(0));
    // The one who waits has one on its way.
    assert!(matches!(budget.seek(WorkerId(1)), Sought::Nothing));
    assert_eq!(budget.oldest_want_beside(WorkerId(1)), None);
    budget.settle_promise(WorkerId(0));
    let oldest = budget.oldest_want_beside(WorkerId(1));
    assert_eq!(oldest, Some((WorkerId(0), 1)));
}

#[test]
fn clients_are_counted_by_database() {
    let (budgets, _) = budgets(1);
    let rules = Rules {
        clients: Some(2),
        ..FREE
    };
    let admit = |database, user| budgets.admit(&key(database, user), terms(1, rules));
    let first = admit("d", "x").unwrap();
    let _second = admit("d", "y").unwrap();
    assert_eq!(admit("d", "z").unwrap_err(), (Refusal::Database, 2));
    let _other = admit("e", "x").unwrap();
    drop(first);
    assert!(admit("d", "z").is_ok());
}

#[test]
fn budgets_of_pools_that_are_gone_are_forgotten() {
    let (budgets, _) = budgets(1);
    let of = |number: u32| budgets.of(&key(&number.to_string(), "app"), NODE, terms(1, FREE));
    let kept = of(0);
    let count = 3 * crate::limits::BUDGETS_KEPT_MAX as u32;
    (1..count).for_each(|number| drop(of(number)));
    assert!(Arc::ptr_eq(&kept, &of(0)));
    assert!(budgets.names() <= crate::limits::BUDGETS_KEPT_MAX + 1);
}

/// A permit for a core whose client waits, sooner or later: whoever is refused is granted one, or the test never ends.
fn wait_for_permit(budget: &Arc<Budget>, worker: WorkerId) -> Permit {
    if let Ok(permit) = budget.take(false) {
        return permit;
    }
    loop {
        if let Some(permit) = budget.collect(worker, false) {
            return permit;
        }
        thread::yield_now();
    }
}

/// Threads that take, keep, wait and give back as cores do, in four pools with limits of each kind.
#[test]
fn never_more_than_the_limit_and_nothing_is_lost() {
    const WORKERS: u16 = 4;
    let rules = Rules {
        size: 3,
        reserve: 0,
        database: Some(4),
        user: Some(4),
        node: Some(6),
        clients: None,
    };
    let (budgets, _) = budgets(WORKERS);
    let alive: [AtomicI64; 4] = Default::default();
    let pool = |number: usize| {
        let names = key(["a", "b"][number / 2], ["x", "y"][number % 2]);
        budgets.of(&names, NODE, terms(1, rules))
    };
    let check = |number: usize| {
        let count = |members: &[usize]| {
            let members = members.iter().map(|member| alive[*member].load(SeqCst));
            members.sum::<i64>()
        };
        assert!(count(&[number]) <= 3 && count(&[0, 1, 2, 3]) <= 6);
        assert!(count(&[number & 2, number | 1]) <= 4, "database");
    };
    thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (pool, check, alive) = (&pool, &check, &alive);
            scope.spawn(move || {
                let mut random = crate::random::Seeded::new(u64::from(worker));
                for round in 1..5_000 {
                    let number = random.below(4) as usize;
                    let budget = pool(number);
                    let worker = WorkerId(worker);
                    budget.show_want(worker, Want::default(), waits(round));
                    let permit = wait_for_permit(&budget, worker);
                    alive[number].fetch_add(1, SeqCst);
                    check(number);
                    budget.show_want(worker, waits(round), Want::default());
                    alive[number].fetch_sub(1, SeqCst);
                    drop(permit);
                    budget.decline(worker);
                }
            });
        }
    });
    (0..4).for_each(|number| assert_eq!(pool(number).used(), 0));
}
