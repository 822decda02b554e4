//! The planner: when a lost primary is replaced, by whom, and in which steps. Pure: what is seen and the time in, steps
//! out, one under way at a time.
//!
//! A step may be asked for again after a restart, so each is something that can be done twice. What must not be done twice
//! in another way, promoting, is asked for only while the lost primary is fenced, and of a standby that does not hear it.

use super::{
    elect::{Election, elect},
    opinions::Opinions,
    phase::{Chosen, Phase, Reason, Step, Switch},
    seen::Seen,
};
use crate::{
    cluster::{
        failover_state::FailoverOrder,
        node::Lsn,
        settings::{Failover, FailoverMode, SecondOpinion},
    },
    ids::NodeId,
};

/// Something that the planner has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Time has passed, or something about a node has changed.
    Tick,
    /// A step has ended.
    Ended(Step, Outcome),
    /// An operator's word.
    Order(FailoverOrder),
}

/// How a step has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is done.
    Done,
    /// It was not done: the standby that was to be promoted hears its primary.
    Heard,
    /// It may be done or not; in words.
    Failed(String),
    /// It was not done, and will not be; in words.
    NotDone(String),
    /// The node takes no more writes; all that was written ends there.
    Stopped(Lsn),
}

/// Something that only concerns pgring itself, done at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// For people; true is a warning.
    Say(bool, String),
    /// The node is believed again.
    Unfence(NodeId),
    /// The node is not used any more, for this reason.
    GiveUp(NodeId, String),
    /// The first node is not believed to be the primary any more, for this reason: the second one is it, though it has not
    /// been seen to be.
    Succeed(NodeId, NodeId, String),
    /// The change is to outlast a restart, before anything that follows is done.
    Save,
    /// Carry out.
    Do(Step),
}

/// How long it is waited for the last word of a standby that did not become the primary, in microseconds.
const LAST_WORD_US: u64 = 10_000_000;

/// When and how a lost primary is replaced.
#[derive(Clone, Debug)]
pub(crate) struct Planner {
    pub(super) rules: Failover,
    pub(super) phase: Phase,
    /// When the phase began, in microseconds since 1970.
    pub(super) since_us: u64,
    /// Step under way.
    pub(super) under_way: Option<Step>,
    /// When that was done for which the phase waits: `None` until then.
    pub(super) done_us: Option<u64>,
    /// Why the step of this phase has failed, if it has.
    pub(super) failure: Option<String>,
    /// The lost primary is fenced by the planner.
    pub(super) has_fenced: bool,
    /// Whatever is lost, go on.
    pub(super) accepts_loss: bool,
    /// A switchover for which the primary was made to take no writes, and has not been made to take them again.
    pub(super) stopped: Option<Switch>,
    /// Standbys that did not become the primary when they were to.
    pub(super) tried: Vec<NodeId>,
    /// Words for that which the phase waits for.
    pub(super) why: String,
    pub(super) acts: Vec<Act>,
}

impl Planner {
    pub(crate) fn new(rules: Failover, now_us: u64) -> Self {
        Self {
            rules,
            phase: Phase::Steady,
            since_us: now_us,
            under_way: None,
            done_us: None,
            failure: None,
            has_fenced: false,
            accepts_loss: false,
            stopped: None,
            tried: Vec::new(),
            why: String::new(),
            acts: Vec::new(),
        }
    }

    /// One whose phase began then, and whose step is under way.
    #[cfg(test)]
    pub(super) fn in_phase(rules: Failover, phase: Phase, began_us: u64) -> Self {
        let under_way = match &phase {
            Phase::Draining { lost, .. } => Some(Step::Fence(*lost)),
            Phase::Promoting { chosen, .. } => Some(Step::Promote(chosen.node)),
            Phase::Holding(switch) => Some(Step::Drain(switch.from)),
            Phase::Stopping(switch) => Some(Step::StopWrites(switch.from)),
            Phase::HandingOver(switch, at) => Some(Step::HandOver(*switch, *at)),
            Phase::Undoing(switch) => Some(Step::AllowWrites(*switch)),
            _ => None,
        };
        let stopped = phase.switch();
        Self {
            phase,
            under_way,
            stopped,
            ..Self::new(rules, began_us)
        }
    }

    /// Goes on where a planner has stopped that ended in this phase. Whether anything has come of its last step is to be
    /// seen. `stopped`: a switchover whose primary takes no writes since.
    pub(crate) fn restore(&mut self, phase: Phase, stopped: Option<Switch>, now_us: u64) {
        self.since_us = now_us;
        self.stopped = stopped;
        self.phase = match phase {
            // Nothing was done yet.
            Phase::Holding(_) => Phase::Steady,
            Phase::Stopping(switch) | Phase::Undoing(switch) => self.undoing_of(switch),
            Phase::HandingOver(switch, _) => self.undoing_of(Switch {
                is_unsure: true,
                ..switch
            }),
            // Nobody was promoted.
            Phase::Draining { lost, .. } | Phase::Electing { lost } => Phase::Suspecting { lost },
            Phase::Done { .. } => Phase::Steady,
            phase => phase,
        };
        // It may have been; it is no loss to believe it again, as long as nobody has taken its place.
        self.has_fenced = matches!(
            self.phase,
            Phase::Suspecting { .. } | Phase::Promoting { .. } | Phase::Halted { .. }
        );
    }

    /// The configuration was read again.
    pub(crate) fn set_rules(&mut self, rules: Failover) {
        self.rules = rules;
    }

    pub(crate) fn phase(&self) -> &Phase {
        &self.phase
    }

    /// When the phase began, in microseconds since 1970.
    pub(crate) fn since_us(&self) -> u64 {
        self.since_us
    }

    /// Words for that which the phase waits for; empty where nothing is to be said.
    pub(crate) fn why(&self) -> &str {
        &self.why
    }

    /// A switchover whose primary takes no writes, and has not been made to take them again.
    pub(crate) fn stopped(&self) -> Option<Switch> {
        self.stopped
    }

    /// True while no statement may go to the primary that there is.
    pub(crate) fn holds(&self) -> bool {
        self.stopped.is_some() || self.phase.switch().is_some()
    }

    /// True when nothing follows from how the cluster is: nothing is under way, and none is lost that is to be replaced.
    pub(crate) fn rests(&self, has_primary: bool) -> bool {
        let is_off = self.rules.mode == FailoverMode::Off;
        matches!(self.phase, Phase::Steady | Phase::Done { .. }) && (has_primary || is_off)
    }

    /// Something has happened; what is to be done about it, in this order.
    pub(crate) fn on(&mut self, input: Input, seen: &Seen, now_us: u64) -> Vec<Act> {
        match input {
            Input::Tick => {}
            Input::Ended(step, outcome) => self.ended(&step, outcome, seen, now_us),
            Input::Order(order) => self.ordered(order, seen, now_us),
        }
        // No phase comes twice in one go.
        for _ in 0..8 {
            if !self.advance(seen, now_us) {
                break;
            }
        }
        std::mem::take(&mut self.acts)
    }

    /// Looks whether the next phase may begin; true when one has begun.
    fn advance(&mut self, seen: &Seen, now_us: u64) -> bool {
        if self.is_over(seen, now_us) {
            return true;
        }
        match self.phase.clone() {
            Phase::Steady | Phase::Done { .. } => self.steady(seen, now_us),
            Phase::Suspecting { lost } => self.suspecting(lost, seen, now_us),
            Phase::Electing { lost } => self.electing(lost, seen, now_us),
            Phase::Draining { lost, chosen } => self.draining(lost, chosen, seen, now_us),
            Phase::Promoting { lost, chosen } => self.promoting(lost, chosen, seen, now_us),
            Phase::Following { lost, chosen, rest } => {
                self.following(lost, chosen, rest, seen, now_us)
            }
            Phase::Halted { .. } => false,
            Phase::Holding(switch) => self.holding(switch, seen, now_us),
            Phase::Stopping(switch) => self.stopping(switch, seen, now_us),
            Phase::HandingOver(switch, _) => self.handing_over(switch, seen, now_us),
            Phase::Undoing(switch) => self.undoing(switch, seen, now_us),
        }
    }

    pub(super) fn enter(&mut self, phase: Phase, now_us: u64) -> bool {
        let is_kept = phase.is_under_way() || self.phase.is_under_way();
        self.phase = phase;
        (self.since_us, self.done_us, self.failure) = (now_us, None, None);
        self.why.clear();
        if is_kept {
            self.acts.push(Act::Save);
        }
        true
    }

    pub(super) fn say(&mut self, is_warning: bool, text: String) {
        self.acts.push(Act::Say(is_warning, text));
    }

    /// Notes what the phase waits for; people hear it once.
    pub(super) fn wait(&mut self, why: String) -> bool {
        if self.why != why {
            self.say(true, why.clone());
            self.why = why;
        }
        false
    }

    pub(super) fn start(&mut self, step: Step) {
        self.acts.push(Act::Do(step.clone()));
        self.under_way = Some(step);
    }

    pub(super) fn halt(&mut self, lost: NodeId, reason: Reason, now_us: u64) -> bool {
        let text = format!("failover is halted: {reason}");
        self.say(true, text);
        let why = reason.to_string();
        self.enter(Phase::Halted { lost, reason }, now_us);
        self.why = why;
        true
    }

    /// There is a primary again, before another one was made.
    fn is_over(&mut self, seen: &Seen, now_us: u64) -> bool {
        let is_waiting = matches!(
            self.phase,
            Phase::Suspecting { .. }
                | Phase::Electing { .. }
                | Phase::Draining { .. }
                | Phase::Halted { .. }
        );
        let Some(lost) = self.phase.lost().filter(|_| is_waiting) else {
            return false;
        };
        let primary = seen.primary.or(self.is_back(lost, seen).then_some(lost));
        let Some(primary) = primary else {
            return false;
        };
        let name = seen.name(primary);
        if let Some(switch) = self.stopped.filter(|switch| switch.from == primary) {
            if let Phase::Halted {
                reason: Reason::TakesNoWrites(_),
                ..
            } = self.phase
            {
                return false;
            }
            self.unfence(primary);
            return self.undo(switch, now_us);
        }
        if primary == lost {
            self.say(false, format!("node {name} is back: it is not replaced"));
            self.unfence(lost);
        } else {
            self.say(
                false,
                format!("node {name} has become the primary by itself"),
            );
            self.stopped = None;
        }
        self.enter(Phase::Steady, now_us)
    }

    /// True when the lost primary is fenced by us alone, runs, and nobody was promoted since.
    fn is_back(&self, lost: NodeId, seen: &Seen) -> bool {
        let node = seen.node(lost);
        let claims = |since: u64| {
            let answer = node.answer_since(since);
            answer.is_some_and(|it| !it.in_recovery && it.timeline >= seen.timeline)
        };
        self.has_fenced
            && self.under_way.is_none()
            && node.is_alive == Some(true)
            && claims(self.since_us)
    }

    fn unfence(&mut self, lost: NodeId) {
        if std::mem::take(&mut self.has_fenced) {
            self.acts.push(Act::Unfence(lost));
        }
    }

    fn steady(&mut self, seen: &Seen, now_us: u64) -> bool {
        let Some(lost) = seen.lost_primary() else {
            return false;
        };
        if self.rests(false) {
            return false;
        }
        (self.accepts_loss, self.has_fenced) = (false, false);
        self.tried.clear();
        self.suspect(lost, seen, now_us)
    }

    pub(super) fn suspect(&mut self, lost: NodeId, seen: &Seen, now_us: u64) -> bool {
        let text = format!(
            "the primary {} is lost: its standbys are asked whether they hear it",
            seen.name(lost)
        );
        self.say(true, text);
        self.enter(Phase::Suspecting { lost }, now_us)
    }

    /// Is it dead? Its standbys have to say that they do not hear it.
    fn suspecting(&mut self, lost: NodeId, seen: &Seen, now_us: u64) -> bool {
        let opinions = Opinions::since(self.since_us, lost, seen);
        let name = seen.name(lost);
        if let Some(witness) = opinions.hears {
            return self.wait(match witness == lost {
                true => format!("node {name} is not replaced: it runs"),
                false => format!(
                    "node {name} is not replaced: {} is still connected to it, so that pgring may be cut off from it",
                    seen.name(witness)
                ),
            });
        }
        if let Some(asked) = opinions.asked {
            let asked = seen.name(asked);
            return self.wait_quietly(format!(
                "{asked} has not answered yet whether it hears {name}"
            ));
        }
        match self.rules.second_opinion {
            SecondOpinion::Any if opinions.denials == 0 => self.wait(format!(
                "node {name} is not replaced: no standby can be asked whether it hears it"
            )),
            SecondOpinion::All if opinions.away.is_some() || opinions.denials == 0 => {
                let away = opinions.away.map_or("no standby", |away| seen.name(away));
                self.wait(format!(
                    "node {name} is not replaced: {away} cannot be asked whether it hears it"
                ))
            }
            _ => self.enter(Phase::Electing { lost }, now_us),
        }
    }

    fn wait_quietly(&mut self, why: String) -> bool {
        self.why = why;
        false
    }

    fn electing(&mut self, lost: NodeId, seen: &Seen, now_us: u64) -> bool {
        match elect(lost, self.since_us, &self.tried, seen) {
            Election::Heard => self.enter(Phase::Suspecting { lost }, now_us),
            Election::Waits(node) => {
                let text = format!("{} has not said how far it is", seen.name(node));
                self.wait_quietly(text)
            }
            Election::Nobody(why) => self.halt(lost, Reason::NoCandidate(why), now_us),
            Election::Risky(_, why) if !self.accepts_loss => {
                self.halt(lost, Reason::NoSynchronous(why), now_us)
            }
            Election::Safe(chosen) | Election::Risky(chosen, _) => {
                self.chose(lost, chosen, seen, now_us)
            }
        }
    }

    fn chose(&mut self, lost: NodeId, chosen: Chosen, seen: &Seen, now_us: u64) -> bool {
        let bytes = chosen.lost_bytes;
        if let Some(max) = self.rules.max_lost_bytes
            && bytes > max
            && !self.accepts_loss
        {
            return self.halt(lost, Reason::TooMuchLost { bytes, max }, now_us);
        }
        let text = format!(
            "{} is to replace {}; {bytes} bytes of log are known to be lost",
            seen.name(chosen.node),
            seen.name(lost)
        );
        self.say(true, text);
        if let Some(switch) = self
            .stopped
            .filter(|it| it.to != chosen.node && it.is_unsure)
        {
            let why = "it may have become the primary at a switchover, and another one does now";
            self.acts.push(Act::GiveUp(switch.to, why.to_owned()));
        }
        self.enter(Phase::Draining { lost, chosen }, now_us);
        self.has_fenced = true;
        self.start(Step::Fence(lost));
        true
    }

    /// The lost primary is fenced; a last look whether anybody hears it.
    fn draining(&mut self, lost: NodeId, chosen: Chosen, seen: &Seen, now_us: u64) -> bool {
        let Some(done) = self.done_us else {
            return false;
        };
        let is_there = seen.node(chosen.node).may_answer();
        match elect(lost, done, &self.tried, seen) {
            Election::Heard => {
                self.unfence(lost);
                self.enter(Phase::Suspecting { lost }, now_us)
            }
            Election::Waits(_) if is_there => false,
            Election::Risky(..) if !self.accepts_loss => {
                self.enter(Phase::Electing { lost }, now_us)
            }
            Election::Safe(best) | Election::Risky(best, _)
                if is_there && best.node == chosen.node =>
            {
                self.enter(Phase::Promoting { lost, chosen }, now_us);
                self.start(Step::Promote(chosen.node));
                true
            }
            // Somebody has heard it since, or the chosen one is gone.
            _ => self.enter(Phase::Electing { lost }, now_us),
        }
    }

    fn promoting(&mut self, lost: NodeId, chosen: Chosen, seen: &Seen, now_us: u64) -> bool {
        if let Some(primary) = seen.primary {
            return self.has_primary(lost, chosen, primary, seen, now_us);
        }
        if self.failure.is_some() {
            return self.not_promoted(lost, chosen, seen, now_us);
        }
        let limit = self.rules.promote_timeout;
        if now_us.saturating_sub(self.since_us) > limit.as_micros() as u64 {
            self.under_way = None;
            self.done_us = Some(now_us);
            self.failure = Some(format!("it is no primary after {limit:?}"));
        } else if self.under_way.is_none() && self.done_us.is_none() {
            // After a restart.
            self.start(Step::Promote(chosen.node));
        }
        false
    }

    /// The chosen one has not become the primary, as far as anybody knows; it must not become one later.
    fn not_promoted(&mut self, lost: NodeId, chosen: Chosen, seen: &Seen, now_us: u64) -> bool {
        let node = seen.node(chosen.node);
        let since = self.done_us.unwrap_or(self.since_us);
        let is_late = now_us.saturating_sub(since) > LAST_WORD_US;
        let is_standby = match node.answer_since(since) {
            Some(answer) => answer.in_recovery,
            None if node.may_answer() && !is_late => return false,
            None => false,
        };
        let why = self.failure.take().unwrap_or_default();
        let text = format!("{} was to replace {}: {why}", node.name, seen.name(lost));
        self.say(true, text.clone());
        if !is_standby {
            self.acts.push(Act::GiveUp(chosen.node, text));
        }
        self.tried.push(chosen.node);
        self.enter(Phase::Electing { lost }, now_us)
    }

    pub(super) fn has_primary(
        &mut self,
        lost: NodeId,
        chosen: Chosen,
        primary: NodeId,
        seen: &Seen,
        now_us: u64,
    ) -> bool {
        if primary != chosen.node {
            self.stopped = None;
            let text = format!("{} has become the primary by itself", seen.name(primary));
            self.say(true, text);
            return self.enter(Phase::Steady, now_us);
        }
        let text = format!("{} has replaced {}", seen.name(primary), seen.name(lost));
        self.say(false, text);
        self.stopped = None;
        let others = seen.ids().filter(|id| *id != primary && *id != lost);
        let rest = others.collect();
        self.enter(Phase::Following { lost, chosen, rest }, now_us)
    }

    fn ended(&mut self, step: &Step, outcome: Outcome, seen: &Seen, now_us: u64) {
        if self.under_way.as_ref() != Some(step) {
            return;
        }
        self.under_way = None;
        if !self.phase.has(step) {
            // It was seen that it is done before it was said.
            return;
        }
        self.done_us = Some(now_us);
        match (self.phase.clone(), outcome) {
            (Phase::Draining { lost, .. }, Outcome::Failed(why)) => {
                let why = format!("{} could not be fenced: {why}", seen.name(lost));
                self.halt(lost, Reason::Failed(why), now_us);
            }
            (Phase::Promoting { lost, .. }, Outcome::Heard) => {
                self.enter(Phase::Suspecting { lost }, now_us);
            }
            (Phase::Promoting { .. }, Outcome::Failed(why)) => self.failure = Some(why),
            (
                Phase::Following {
                    lost,
                    chosen,
                    mut rest,
                },
                Outcome::Failed(why),
            ) => {
                rest.retain(|node| *step != Step::Follow(*node, chosen.node));
                if let Step::Follow(node, _) = step {
                    let why = format!("it could not be told to follow the new primary: {why}");
                    self.acts.push(Act::GiveUp(*node, why));
                }
                self.enter(Phase::Following { lost, chosen, rest }, now_us);
            }
            (phase, outcome) => {
                if let Some(switch) = phase.switch() {
                    self.switch_step_ended(switch, outcome, seen, now_us);
                }
            }
        }
    }

    fn ordered(&mut self, order: FailoverOrder, seen: &Seen, now_us: u64) {
        if let FailoverOrder::SwitchOver(to) = order {
            return self.switch_over(to, seen, now_us);
        }
        let Some(lost) = self.phase.lost() else {
            return;
        };
        match (order, &self.phase) {
            (FailoverOrder::Abort, Phase::Holding(switch) | Phase::Stopping(switch)) => {
                let switch = *switch;
                self.under_way = None;
                self.call_off(switch, &Reason::Aborted.to_string(), seen, now_us);
            }
            (FailoverOrder::Resume | FailoverOrder::AcceptLoss, Phase::Halted { .. }) => {
                if let Some(mut switch) = self.stopped.filter(|it| seen.primary == Some(it.from)) {
                    switch.is_unsure &= order != FailoverOrder::AcceptLoss;
                    self.undo(switch, now_us);
                    return;
                }
                self.accepts_loss = order == FailoverOrder::AcceptLoss;
                self.tried.clear();
                self.suspect(lost, seen, now_us);
            }
            (
                FailoverOrder::Abort,
                Phase::Suspecting { .. } | Phase::Electing { .. } | Phase::Draining { .. },
            ) => {
                // Of a step that ends later nothing follows.
                self.under_way = None;
                self.unfence(lost);
                self.halt(lost, Reason::Aborted, now_us);
            }
            _ => {}
        }
    }
}
