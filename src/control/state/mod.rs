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

use super::failover::{
    phase::{Phase, Step, Switch},
    plan::{Act, Input, Planner},
};
use crate::{
    cluster::{
        node::{Lsn, Status},
        settings::Failover,
    },
    ids::NodeId,
};

pub(super) use event::{Effect, Event, Follower, NodeAnswer, NodeFacts, Outcome};

/// A node, as far as this file is concerned.
#[derive(Clone, Debug)]
struct Node {
    name: String,
    /// `[[node]] application_name`.
    application_name: Option<String>,
    /// `[[node]] failover_priority`.
    priority: u32,
    status: Status,
    since_us: u64,
    reason: String,
    /// It claimed to be the primary, and was not believed; or it is not to be it any more.
    is_fenced: bool,
    /// It is not used before it follows the primary.
    must_follow: bool,
    /// An operator has detached it, and what is under way there may end.
    lets_end: bool,
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

impl Node {
    /// Names by which a primary may know it.
    fn names(&self) -> impl Iterator<Item = &String> {
        let configured = self.application_name.as_ref().unwrap_or(&self.name);
        [configured].into_iter().chain(&self.facts.names)
    }
}

/// A `[[node]]` of the file.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) application_name: Option<String>,
    /// `failover_priority`.
    pub(super) priority: u32,
}

/// A node in a status file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remembered {
    pub(super) status: Status,
    pub(super) since_us: u64,
}

/// Rules of the file that beliefs go by.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    /// `[health] retries`.
    pub(super) retries: u32,
    /// `[failover]`.
    pub(super) failover: Failover,
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
    /// How far the primary's log was written when it last said so; 0 is unknown.
    written: Lsn,
    /// Whose word its commits waited for then (`synchronous_standby_names`).
    synchronous: String,
    planner: Planner,
    effects: Vec<Effect>,
}

impl ClusterState {
    /// Nodes of which nothing is known.
    pub(super) fn new(members: Vec<Member>, rules: Rules, now_us: u64) -> Self {
        let node = |member: Member| Node {
            name: member.name,
            application_name: member.application_name,
            priority: member.priority,
            status: Status::Waiting,
            since_us: now_us,
            reason: "pgring has started".to_owned(),
            is_fenced: false,
            must_follow: false,
            lets_end: false,
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
            retries: rules.retries,
            written: 0,
            synchronous: String::new(),
            planner: Planner::new(rules.failover, now_us),
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

    /// The primary before a restart, where a failover stood, and a switchover whose primary takes no writes since.
    pub(super) fn remember_failover(
        &mut self,
        primary: Option<NodeId>,
        synchronous: &str,
        (phase, stopped): (Phase, Option<Switch>),
        now_us: u64,
    ) {
        self.last_primary = primary;
        synchronous.clone_into(&mut self.synchronous);
        let phase = match phase {
            // Who follows is looked at once more.
            Phase::Following { lost, chosen, .. } => {
                let rest = self.ids().filter(|id| *id != lost && *id != chosen.node);
                Phase::Following {
                    lost,
                    chosen,
                    rest: rest.collect(),
                }
            }
            phase => phase,
        };
        self.planner.restore(phase, stopped, now_us);
    }

    /// The newest timeline of a primary before a restart.
    pub(super) fn remember_timeline(&mut self, timeline: u32) {
        self.timeline = self.timeline.max(timeline);
    }

    /// The configuration was read again.
    pub(super) fn set_members(&mut self, members: Vec<Member>, rules: Rules) {
        self.retries = rules.retries;
        self.planner.set_rules(rules.failover);
        for (node, member) in self.nodes.iter_mut().zip(members) {
            (node.application_name, node.priority) = (member.application_name, member.priority);
        }
    }

    /// Something has happened; what is to be done about it.
    pub(super) fn on(&mut self, event: Event, now_us: u64) -> Vec<Effect> {
        let mut input = Input::Tick;
        match event {
            Event::Probed(node, outcome) => self.probed(node, outcome, now_us),
            Event::Answered(node, answer) => self.answered(node, answer),
            Event::Silent(node, reason) => self.silent(node, reason),
            Event::Connected(node) => self.connected(node, now_us),
            Event::Attach(node) => self.attach(node, now_us),
            Event::Detach(node, lets_end) => {
                self.node_mut(node).lets_end = lets_end;
                self.set_status(node, Status::Unused, "an operator detached it", now_us);
            }
            Event::Tick => {}
            Event::StepEnded(step, outcome) => input = Input::Ended(step, outcome),
            Event::Ordered(order) => input = Input::Order(order),
        }
        self.settle(now_us);
        self.plan(input, now_us);
        std::mem::take(&mut self.effects)
    }

    /// Has the planner look at the cluster, unless there is nothing for it to see.
    fn plan(&mut self, input: Input, now_us: u64) {
        if input == Input::Tick && self.planner.rests(self.primary.is_some()) {
            return;
        }
        let acts = self.planner.on(input, &self.seen(), now_us);
        for act in acts {
            self.act(act, now_us);
        }
    }

    /// Does what the planner wants, or has it done.
    fn act(&mut self, act: Act, now_us: u64) {
        match act {
            Act::Say(is_warning, text) => self.say(is_warning, text),
            Act::Save => self.effects.push(Effect::Save),
            Act::Unfence(node) => self.unfence(node, now_us),
            Act::GiveUp(node, why) => {
                self.node_mut(node).must_follow = true;
                self.fence(node, &why, now_us);
            }
            Act::Succeed(before, after, why) => {
                self.last_primary = Some(after);
                self.fence(before, &why, now_us);
            }
            Act::Do(step) => {
                if let Step::Fence(node) = step {
                    self.node_mut(node).is_fenced = true;
                    self.effects.push(Effect::Save);
                }
                self.effects.push(Effect::Do(step));
            }
        }
    }

    /// The node that takes writes.
    pub(super) fn primary(&self) -> Option<NodeId> {
        self.primary
    }

    /// The node to which statements that write may go now.
    pub(super) fn served_primary(&self) -> Option<NodeId> {
        self.primary.filter(|_| !self.planner.holds())
    }

    pub(super) fn name(&self, id: NodeId) -> &str {
        &self.node(id).name
    }

    /// Why a node cannot take the primary's place at a switchover.
    pub(super) fn objection_to(&self, to: NodeId) -> Option<&'static str> {
        self.planner.objection_to(to, &self.seen())
    }

    /// Whose word the commits of the last primary waited for, as it said.
    pub(super) fn synchronous(&self) -> &str {
        &self.synchronous
    }

    /// The last node that took writes.
    pub(super) fn last_primary(&self) -> Option<NodeId> {
        self.last_primary
    }

    /// When and how a lost primary is replaced.
    pub(super) fn planner(&self) -> &Planner {
        &self.planner
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
        if self.primary == Some(id) && !answer.in_recovery {
            self.written = answer.lsn;
        }
        self.node_mut(id).answer = Some(answer);
        if self.primary == Some(id) {
            self.note_synchronous(id);
        }
    }

    /// The primary may have told that its commits wait for others.
    fn note_synchronous(&mut self, primary: NodeId) {
        let names = &self.nodes[usize::from(primary.0)].facts.synchronous;
        if *names != self.synchronous {
            self.synchronous.clone_from(names);
            self.effects.push(Effect::Save);
        }
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
        (node.is_fenced, node.must_follow) = (false, false);
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
