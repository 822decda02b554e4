//! The one place that makes a new snapshot out of the current one, and tells the workers of it.

use std::{cell::RefCell, sync::Arc};

use super::{line::Destination, line::address_of, prepare, state::view::View};
use crate::{
    cluster::{
        facts::DatabaseFacts,
        failover_state::FailoverState,
        messages::{ToControl, ToWorker},
        node::{NodeState, Status},
        publish::Publisher,
        settings::Settings,
        shared::Shared,
        snapshot::{Snapshot, User},
    },
    ids::{Epoch, NodeId},
    time,
};

/// The publisher, and who is told.
pub(super) struct Publishing {
    publisher: Publisher,
    shared: Arc<Shared>,
    /// The role that looks at nodes.
    watcher: RefCell<Option<Arc<User>>>,
}

impl Publishing {
    pub(super) fn new(publisher: Publisher, shared: Arc<Shared>) -> Self {
        let watcher = prepare::watcher(&publisher.current());
        Self {
            publisher,
            shared,
            watcher: RefCell::new(watcher),
        }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The newest snapshot.
    pub(super) fn current(&self) -> Arc<Snapshot> {
        self.publisher.current()
    }

    /// New settings hold.
    pub(super) fn settings(&self, settings: Settings) {
        let next = prepare::next_snapshot(&self.current(), settings);
        self.publisher.publish(next);
        self.watcher.replace(prepare::watcher(&self.current()));
        self.shared.tell_all(None, || ToWorker::Reload);
    }

    /// The nodes are otherwise.
    pub(super) fn nodes(&self, views: &[View], primary: Option<NodeId>, failover: &FailoverState) {
        self.publish_nodes(|next| {
            if *next.failover != *failover {
                next.failover = Arc::new(failover.clone());
            }
            for (node, view) in next.nodes.iter_mut().zip(views) {
                prepare::show(node, view);
            }
            next.primary = primary;
        });
    }

    /// A client's connection was made to a node that nobody looks at.
    pub(super) fn connected(&self, node: NodeId) {
        let place = usize::from(node.0);
        let current = self.current();
        let is_news = |state: &NodeState| state.status == Status::Waiting;
        if current.nodes.get(place).is_some_and(is_news) {
            self.publish_nodes(|next| {
                next.nodes[place].status = Status::Up;
                next.nodes[place].since_us = time::unix_micros();
                next.nodes[place].reason = "a connection was made to it".into();
            });
        }
    }

    /// Something is known of a database, or nothing any more.
    pub(super) fn catalog(&self, database: &Arc<str>, facts: Option<Arc<DatabaseFacts>>) {
        self.publish(|next| {
            match facts {
                Some(facts) => next.catalogs.insert(Arc::clone(database), facts),
                None => next.catalogs.remove(database),
            };
        });
    }

    /// The catalogs of a database cannot be read, or need not be any more.
    pub(super) fn unreadable(&self, database: &Arc<str>, is_so: bool) {
        if self.current().unreadable.contains(database) != is_so {
            self.publish(|next| match is_so {
                true => _ = next.unreadable.insert(Arc::clone(database)),
                false => _ = next.unreadable.remove(database),
            });
        }
    }

    /// Nobody looks at the nodes any more.
    pub(super) fn unwatch(&self) {
        self.publish_nodes(|next| {
            for (place, node) in next.nodes.iter_mut().enumerate() {
                let live = Arc::clone(&node.live);
                live.trust();
                *node = prepare::unwatched(place);
                node.live = live;
            }
            next.primary = Some(NodeId(0));
        });
    }

    /// All nodes have had their chance to say what they are.
    pub(super) fn surveyed(&self) {
        let told = self.shared.control.put(ToControl::Surveyed);
        // A control core whose own mailbox overflows looks again at each message.
        drop(told);
    }

    /// A database of a node, as the role that looks; `None` without one.
    pub(super) fn destination(&self, node: NodeId, database: Option<&str>) -> Option<Destination> {
        let snapshot = self.current();
        let health = &snapshot.settings.health;
        Some(Destination {
            address: address_of(&snapshot.node(node).address),
            role: health.user.as_deref()?.into(),
            database: database.unwrap_or(&health.database).into(),
            user: Some(self.watcher.borrow().clone()?),
            timeout: health.timeout,
        })
    }

    /// A database of a node, as the role that looks, or without one as this role, which a client has logged in as.
    pub(super) fn looker(&self, node: NodeId, database: &str, role: &str) -> Option<Destination> {
        let snapshot = self.current();
        let health = &snapshot.settings.health;
        if health.user.is_some() {
            return self.destination(node, Some(database));
        }
        Some(Destination {
            address: address_of(&snapshot.node(node).address),
            role: role.into(),
            database: database.into(),
            user: snapshot.users.get(role).cloned(),
            timeout: health.timeout,
        })
    }

    fn publish(&self, change: impl FnOnce(&mut Snapshot)) {
        let current = self.current();
        let mut next = Snapshot {
            epoch: Epoch(current.epoch.0 + 1),
            settings: Arc::clone(&current.settings),
            users: current.users.clone(),
            nodes: current.nodes.clone(),
            primary: current.primary,
            catalogs: current.catalogs.clone(),
            unreadable: current.unreadable.clone(),
            failover: Arc::clone(&current.failover),
            overrides: Arc::clone(&current.overrides),
        };
        change(&mut next);
        self.publisher.publish(next);
    }

    fn publish_nodes(&self, change: impl FnOnce(&mut Snapshot)) {
        self.publish(change);
        self.shared.tell_all(None, || ToWorker::NodesChanged);
    }
}
