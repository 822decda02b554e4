//! One version of everything a worker decides by. Never changes once published.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use arc_swap::ArcSwapOption;

use super::{
    facts::DatabaseFacts,
    failover_state::FailoverState,
    node::{NodeState, Role},
    settings::{NodeSettings, Secret, Settings, UserSettings},
};
use crate::sql::class::overrides::Overrides;
use crate::{
    auth::{Md5Hash, SaltedKeys, Verifier},
    ids::{Epoch, NodeId},
};

/// The cluster as of one epoch.
#[derive(Debug)]
pub struct Snapshot {
    /// Grows with each publication.
    pub epoch: Epoch,
    /// The configuration.
    pub settings: Arc<Settings>,
    /// Users by name.
    pub users: HashMap<String, Arc<User>>,
    /// The nodes, in the order of the settings.
    pub nodes: Vec<NodeState>,
    /// The node that takes writes; `None` while there is none.
    pub primary: Option<NodeId>,
    /// Where a failover stands.
    pub failover: Arc<FailoverState>,
    /// Facts about databases, by their names on the servers.
    pub catalogs: HashMap<Arc<str>, Arc<DatabaseFacts>>,
    /// Databases whose catalogs could not be read at the last attempt, by the same names.
    pub unreadable: HashSet<Arc<str>>,
    /// Functions and patterns of `[routing]` that stand above the catalogs.
    pub overrides: Arc<Overrides>,
}

/// A user and all that logins need, prepared away from the worker cores.
#[derive(Debug)]
pub struct User {
    /// As configured.
    pub settings: Arc<UserSettings>,
    /// Verifier of SCRAM logins.
    pub verifier: Option<Verifier>,
    /// Hash that md5 logins are checked against.
    pub md5: Option<Md5Hash>,
    /// SCRAM keys towards servers: derived from the password, or learned from a client's login.
    pub keys: ArcSwapOption<SaltedKeys>,
}

impl User {
    /// Password towards servers, when it is a plain text.
    pub fn server_password(&self) -> Option<&str> {
        match self.server_secret() {
            Some(Secret::Plain(text)) => Some(text),
            _ => None,
        }
    }

    /// Password towards servers, as an md5 hash.
    pub fn server_md5(&self) -> Option<Md5Hash> {
        match self.server_secret()? {
            Secret::Plain(text) => {
                Some(Md5Hash::of(self.settings.name.as_bytes(), text.as_bytes()))
            }
            Secret::Md5(hash) => hash.parse().ok(),
            Secret::Scram(_) => None,
        }
    }

    fn server_secret(&self) -> Option<&Secret> {
        self.settings
            .server_password
            .as_ref()
            .or(self.settings.password.as_ref())
    }
}

impl Snapshot {
    /// The settings of the node of that number.
    pub fn node(&self, id: NodeId) -> &NodeSettings {
        &self.settings.nodes[usize::from(id.0)]
    }

    /// The state of that node.
    #[inline]
    pub fn state(&self, id: NodeId) -> Option<&NodeState> {
        self.nodes.get(usize::from(id.0))
    }

    /// True for a primary whose place another node is to take: nothing new goes there.
    #[inline]
    pub fn is_leaving(&self, id: NodeId) -> bool {
        let state = self.state(id);
        self.primary != Some(id) && state.is_some_and(|state| state.role == Role::Primary)
    }

    /// The numbers of all nodes.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(|place| NodeId(place as u16))
    }

    /// True when reads may go to standbys.
    #[inline]
    pub fn splits(&self) -> bool {
        self.nodes.len() > 1 && self.settings.routing.read_write_split
    }

    /// Nodes that are not the primary, nor were it just now, and are used.
    pub fn standbys(&self) -> impl Iterator<Item = NodeId> {
        let is_used = |node: &NodeId| self.state(*node).is_some_and(|it| it.status.is_usable());
        self.ids()
            .filter(|node| Some(*node) != self.primary && !self.is_leaving(*node))
            .filter(is_used)
    }
}
