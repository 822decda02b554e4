//! The words of a server about itself at the last login that one of its users made, for the logins of clients on all
//! cores; and which of its connections began under that. Never asks anybody.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwapOption;

use super::welcome::Welcome;
use crate::time::Micros;

/// The generation of a connection that began under something that holds no more.
pub const BYGONE: u64 = 0;

/// A server's last words about itself.
#[derive(Debug, Default)]
pub struct LastWelcome {
    last: ArcSwapOption<Heard>,
    /// That of `last`, for those who only compare.
    generation: AtomicU64,
    /// When somebody was last sent to ask anew.
    asked: AtomicU64,
}

#[derive(Debug)]
struct Heard {
    welcome: Arc<Welcome>,
    generation: u64,
    /// When that login began, and the version of the schema at that time.
    began: Micros,
    schema: u64,
}

impl LastWelcome {
    /// The last words, if any were heard.
    pub fn last(&self) -> Option<Arc<Welcome>> {
        let last = self.last.load();
        last.as_ref().map(|heard| Arc::clone(&heard.welcome))
    }

    /// True when what was said last can be relied on: no schema was changed since, and it is not older than `age`. No
    /// `age`: until something else is heard.
    pub fn is_fresh(&self, now: Micros, age: Option<Micros>, schema: u64) -> bool {
        let Some(age) = age else { return true };
        let last = self.last.load();
        last.as_ref()
            .is_some_and(|heard| heard.schema == schema && now.saturating_sub(heard.began) <= age)
    }

    /// True when a schema was changed since they were heard.
    pub fn is_before(&self, schema: u64) -> bool {
        let last = self.last.load();
        last.as_ref().is_some_and(|heard| heard.schema != schema)
    }

    /// True for those who find that a schema was changed since, and for one of those who find it too old at the same time.
    pub fn begin_asking(&self, now: Micros, age: Micros, schema: u64) -> bool {
        if self.is_before(schema) {
            return true;
        }
        let asked = self.asked.load(Ordering::Relaxed);
        let is_due = asked == 0 || now.saturating_sub(asked) > age;
        let take = || {
            let order = Ordering::Relaxed;
            self.asked.compare_exchange(asked, now.max(1), order, order)
        };
        is_due && take().is_ok()
    }

    /// A server has said this at a login that began then: what is equal is one, and the generation of the connection.
    pub fn hear(&self, welcome: Welcome, began: Micros, schema: u64) -> (Arc<Welcome>, u64) {
        let welcome = Arc::new(welcome);
        loop {
            let last = self.last.load_full();
            let same = last.as_ref().filter(|last| last.welcome == welcome);
            if same.is_none() && last.as_ref().is_some_and(|last| last.began > began) {
                // Another one has begun later, and heard something else.
                return (welcome, BYGONE);
            }
            let generation = match &last {
                Some(last) => last.generation,
                None => self.generation(),
            };
            let heard = Arc::new(Heard {
                welcome: Arc::clone(same.map_or(&welcome, |last| &last.welcome)),
                generation: generation + u64::from(same.is_none()),
                began: last.as_ref().map_or(began, |last| last.began.max(began)),
                schema: last.as_ref().map_or(schema, |last| last.schema.max(schema)),
            });
            if self.replace(last, &heard) {
                return (Arc::clone(&heard.welcome), heard.generation);
            }
        }
    }

    /// A connection has said that its server's settings became `new`, of which it said `old` before. What else its server
    /// said since is not known by it, and holds. The words of the connection, and its generation.
    pub fn amend(&self, old: &Welcome, new: &Welcome) -> (Arc<Welcome>, u64) {
        loop {
            let Some(last) = self.last.load_full() else {
                return (Arc::new(new.clone()), BYGONE);
            };
            let amended = last.welcome.amended(old, new);
            let heard = match amended == *last.welcome {
                true => Arc::clone(&last),
                false => Arc::new(Heard {
                    welcome: Arc::new(amended),
                    generation: last.generation + 1,
                    ..*last
                }),
            };
            if Arc::ptr_eq(&heard, &last) || self.replace(Some(last), &heard) {
                return match *heard.welcome == *new {
                    true => (Arc::clone(&heard.welcome), heard.generation),
                    false => (Arc::new(new.clone()), BYGONE),
                };
            }
        }
    }

    fn replace(&self, last: Option<Arc<Heard>>, heard: &Arc<Heard>) -> bool {
        let before = self.last.compare_and_swap(&last, Some(Arc::clone(heard)));
        let is_done = match (&*before, &last) {
            (None, None) => true,
            (Some(before), Some(last)) => Arc::ptr_eq(before, last),
            _ => false,
        };
        if is_done {
            self.generation
                .fetch_max(heard.generation, Ordering::Relaxed);
        }
        is_done
    }

    /// Nothing of it holds any more.
    pub fn forget(&self) {
        self.last.store(None);
    }

    /// The generation of connections that are opened now.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::backend::ParameterStatus;

    fn welcome(style: &str) -> Welcome {
        let mut welcome = Welcome::default();
        welcome.report(ParameterStatus {
            name: b"DateStyle",
            value: style.as_bytes(),
        });
        welcome
    }

    #[test]
    fn what_differs_begins_a_generation_and_what_is_equal_is_one() {
        let last = LastWelcome::default();
        let (first, generation) = last.hear(welcome("ISO"), 10, 1);
        let (second, same) = last.hear(welcome("ISO"), 20, 1);
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!((generation, same, last.generation()), (1, 1, 1));
        assert_eq!(last.hear(welcome("German"), 30, 1).1, 2);
        assert_eq!(last.generation(), 2);
    }

    #[test]
    fn a_login_that_began_before_the_last_says_nothing_new() {
        let last = LastWelcome::default();
        last.hear(welcome("German"), 20, 1);
        let (_, generation) = last.hear(welcome("ISO"), 10, 1);
        assert_eq!((generation, last.generation()), (BYGONE, 1));
        assert_eq!(
            last.last().unwrap().value(b"DateStyle"),
            Some(&b"German"[..])
        );
    }

    #[test]
    fn news_of_a_connection_change_what_it_knew_and_nothing_that_is_newer() {
        let last = LastWelcome::default();
        assert_eq!(last.amend(&welcome("ISO"), &welcome("SQL")).1, BYGONE);
        last.hear(welcome("ISO"), 10, 1);
        let (same, generation) = last.amend(&welcome("ISO"), &welcome("SQL"));
        assert!(Arc::ptr_eq(&same, &last.last().unwrap()) && generation == 2);
        // A login has heard something else since, or a setting that the connection has never heard of.
        last.hear(welcome("German"), 20, 1);
        let (kept, generation) = last.amend(&welcome("ISO"), &welcome("SQL"));
        assert_eq!((&*kept, generation), (&welcome("SQL"), BYGONE));
        assert_eq!(
            (&*last.last().unwrap(), last.generation()),
            (&welcome("German"), 3)
        );
        assert!(last.is_fresh(120, Some(100), 1) && !last.is_fresh(121, Some(100), 1));
    }

    #[test]
    fn what_was_said_gets_old_and_one_asks_anew() {
        let last = LastWelcome::default();
        assert!(!last.is_fresh(5, Some(100), 1));
        last.hear(welcome("ISO"), 1000, 1);
        assert!(last.is_fresh(1100, Some(100), 1) && last.is_fresh(9999, None, 7));
        assert!(!last.is_fresh(1101, Some(100), 1) && !last.is_fresh(1001, Some(100), 2));
        assert!(last.begin_asking(1101, 100, 1) && !last.begin_asking(1102, 100, 1));
        assert!(last.begin_asking(1103, 100, 2) && last.begin_asking(1202, 100, 1));
    }
}
