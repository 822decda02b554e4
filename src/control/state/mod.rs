//! Beliefs about the nodes, and how they change: which one is the primary, which are down, which are fenced. Pure: facts
//! and the time in, effects out.
//!
//! How the primary is found. Every usable node that is not in recovery claims to be it. A claim on an older
//! timeline than a primary has been seen on is a lie: that node was left behind by a promotion. Among the others
//! the newest timeline wins, then the one that standbys follow, then the one that was the primary before, then
//! the first of the file. Who loses is fenced, and stays so until it is a standby or an operator attaches it.

mod claim;
mod event;
#[cfg(test)]
mod tests;
pub(super) mod view;

use crate::{cluster::node::Status, ids::NodeId};

pub(super) use event::{Effect, Event, Follower, NodeAnswer, NodeFacts, Outcome};

/// A node, as far as this file is concerned.
#[derive(Clone, Debug)]
struct Node {
    name: String,
    /// `[[node]] application_name`.
    application_name: Option<String>,
    status: Status,
    since_us: u64,
    reason: String,
    /// It claimed to be the primary, and was not believed.
    is_fenced: bool,
    /// Probes that failed, in a row.
    failures: u32,
    /// Whether the last probe went well.
    is_alive: Option<bool>,
    /// It was asked and did not answer.
    is_silent: bool,
    /// Its last answer, since it was last down.
    answer: Option<NodeAnswer>,
    facts: NodeFacts,
    /// Words of the last refusal.
    refusal: String,
}

/// A `[[node]]` of the file.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) application_name: Option<String>,
}

/// A node in a status file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remembered {
    pub(super) status: Status,
    pub(super) since_us: u64,
}

/// State of the cluster: of all its nodes.
#[derive(Clone, Debug)]
pub(super) struct ClusterState {
    nodes: Vec<Node>,
    primary: Option<NodeId>,
    /// The last one there was.
    last_primary: Option<NodeId>,
    /// The newest timeline on which a primary was believed.
    timeline: u32,
    /// The cluster that this is; 0 is unknown.
    system: u64,
    /// Failed probes in a row, after the first, until a node is down.
    retries: u32,
    effects: Vec<Effect>,
}

impl ClusterState {
    /// Nodes of which nothing is known.
    pub(super) fn new(members: Vec<Member>, retries: u32, now_us: u64) -> Self {
        let node = |member: Member| Node {
            name: member.name,
            application_name: member.application_name,
            status: Status::Waiting,
            since_us: now_us,
            reason: "pgring has started".to_owned(),
            is_fenced: false,
            failures: 0,
            is_alive: None,
            is_silent: false,
            answer: None,
            facts: NodeFacts::default(),
            refusal: String::new(),
        };
        Self {
            nodes: members.into_iter().map(node).collect(),
            primary: None,
            last_primary: None,
            timeline: 0,
            system: 0,
            retries,
            effects: Vec::new(),
        }
    }

    /// Takes over what was known before a restart. A node that was up is looked at anew.
    pub(super) fn remember(&mut self, node: NodeId, remembered: &Remembered) {
        let node = self.node_mut(node);
        if matches!(remembered.status, Status::Waiting | Status::Up) {
            return;
        }
        node.status = remembered.status;
        node.since_us = remembered.since_us;
        node.is_fenced = remembered.status == Status::Quarantine;
        node.reason = "it was so before pgring was restarted".to_owned();
    }

    /// The newest timeline of a primary before a restart.
    pub(super) fn remember_timeline(&mut self, timeline: u32) {
        self.timeline = self.timeline.max(timeline);
    }

    /// The configuration was read again.
    pub(super) fn set_members(&mut self, members: Vec<Member>, retries: u32) {
        self.retries = retries;
        for (node, member) in self.nodes.iter_mut().zip(members) {
            node.application_name = member.application_name;
        }
    }

    /// Something has happened; what is to be done about it.
    pub(super) fn on(&mut self, event: Event, now_us: u64) -> Vec<Effect> {
        match event {
            Event::Probed(node, outcome) => self.probed(node, outcome, now_us),
            Event::Answered(node, answer) => self.answered(node, answer),
            Event::Silent(node, reason) => self.silent(node, reason),
            Event::Connected(node) => self.connected(node, now_us),
            Event::Attach(node) => self.attach(node, now_us),
            Event::Detach(node) => {
                self.set_status(node, Status::Unused, "an operator detached it", now_us);
            }
        }
        self.settle(now_us);
        std::mem::take(&mut self.effects)
    }

    /// The node that takes writes.
    pub(super) fn primary(&self) -> Option<NodeId> {
        self.primary
    }

    /// The newest timeline on which a primary was believed; 0 is unknown.
    pub(super) fn timeline(&self) -> u32 {
        self.timeline
    }

    /// True when the node is to be asked what it is, again and again.
    pub(super) fn is_asked(&self, node: NodeId) -> bool {
        let node = self.node(node);
        match node.status {
            Status::Waiting | Status::Up | Status::Quarantine => true,
            Status::Down => node.is_alive == Some(true),
            Status::Unused => false,
        }
    }

    /// True when the node is to be probed.
    pub(super) fn is_probed(&self, node: NodeId) -> bool {
        self.node(node).status != Status::Unused
    }

    /// Probes of it that failed, in a row; and whether it is down.
    pub(super) fn failures(&self, node: NodeId) -> (u32, bool) {
        let node = self.node(node);
        (node.failures, node.status == Status::Down)
    }

    /// True once every node has answered, or has had its chance.
    pub(super) fn is_surveyed(&self) -> bool {
        self.nodes.iter().all(|node| {
            let had_its_chance = node.answer.is_some() || node.failures > 0 || node.is_silent;
            had_its_chance || node.status == Status::Unused
        })
    }

    fn node(&self, id: NodeId) -> &Node {
        &self.nodes[usize::from(id.0)]
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[usize::from(id.0)]
    }

    fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(|place| NodeId(place as u16))
    }

    fn say(&mut self, is_warning: bool, text: String) {
        self.effects.push(Effect::Say(is_warning, text));
    }

    fn set_status(&mut self, id: NodeId, status: Status, reason: &str, now_us: u64) {
        let node = self.node_mut(id);
        if node.status == status {
            return;
        }
        let before = std::mem::replace(&mut node.status, status);
        node.since_us = now_us;
        reason.clone_into(&mut node.reason);
        if !status.is_usable() && status != Status::Quarantine {
            node.answer = None;
            // Nobody follows a node that does not run.
            node.facts.followers.clear();
        }
        let text = format!("node {} is {}: {reason}", node.name, status.name());
        let is_news = (before, status) != (Status::Waiting, Status::Up);
        if is_news {
            self.say(!status.is_usable(), text);
        }
        self.effects.push(Effect::Save);
    }

    fn probed(&mut self, id: NodeId, outcome: Outcome, now_us: u64) {
        match outcome {
            Outcome::Well => self.probed_well(id),
            Outcome::Refused(why) => self.probe_refused(id, why),
            Outcome::Failed(why) => self.probe_failed(id, &why, now_us),
        }
    }

    fn probed_well(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        node.failures = 0;
        node.is_alive = Some(true);
        node.refusal.clear();
        let is_away = node.status == Status::Down;
        self.effects.push(Effect::Trust(id));
        if is_away {
            self.effects.push(Effect::Ask(id));
        }
    }

    /// Said once for each reason.
    fn probe_refused(&mut self, id: NodeId, why: String) {
        let node = self.node_mut(id);
        node.failures = 0;
        node.is_alive = Some(true);
        if node.refusal != why {
            let text = format!(
                "node {} does not let pgring look at it: {why}; it stays {}",
                node.name,
                node.status.name()
            );
            node.refusal = why;
            self.say(true, text);
        }
        self.effects.push(Effect::Trust(id));
    }

    fn probe_failed(&mut self, id: NodeId, why: &str, now_us: u64) {
        let retries = self.retries;
        let node = self.node_mut(id);
        node.failures = node.failures.saturating_add(1);
        node.is_alive = Some(false);
        let may_be_down = matches!(
            node.status,
            Status::Waiting | Status::Up | Status::Quarantine
        );
        match may_be_down {
            true if node.failures > retries => self.set_status(id, Status::Down, why, now_us),
            true if node.failures == 1 => {
                let text = format!("node {} failed a probe: {why}", node.name);
                self.say(true, text);
                self.effects.push(Effect::Suspect(id));
            }
            _ => {}
        }
    }

    fn answered(&mut self, id: NodeId, mut answer: NodeAnswer) {
        // What was on its way when the node was given up says nothing about its return.
        if !self.is_asked(id) {
            return;
        }
        let node = self.node_mut(id);
        node.is_silent = false;
        if let Some(facts) = answer.facts.take() {
            node.facts = facts;
        }
        // Between two restart points it forgets what it received when there is nobody to receive it from.
        let before = node.answer.as_ref().filter(|before| before.in_recovery);
        if let Some(before) = before.filter(|_| answer.in_recovery && answer.timeline > 0) {
            answer.timeline = answer.timeline.max(before.timeline);
        }
        node.answer = Some(answer);
    }

    fn silent(&mut self, id: NodeId, why: String) {
        let node = self.node_mut(id);
        if !std::mem::replace(&mut node.is_silent, true) {
            let text = format!("node {} does not answer what it is: {why}", node.name);
            self.say(true, text);
        }
    }

    fn connected(&mut self, id: NodeId, now_us: u64) {
        if self.node(id).status == Status::Waiting {
            self.set_status(id, Status::Up, "a connection was made to it", now_us);
        }
    }

    /// The operator's word is stronger than what pgring believed.
    fn attach(&mut self, id: NodeId, now_us: u64) {
        let node = self.node_mut(id);
        node.is_fenced = false;
        node.failures = 0;
        if !node.status.is_usable() {
            let timeline = node.answer.as_ref().map_or(0, |answer| answer.timeline);
            if self.primary.is_none() {
                self.timeline = timeline;
                self.system = 0;
            }
            self.set_status(id, Status::Waiting, "an operator attached it", now_us);
        }
        self.effects.push(Effect::Ask(id));
    }
}
