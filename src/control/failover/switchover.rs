//! The switchover: another node is to be the primary, while the one that is it lives. Pure.
//!
//! Nothing is promoted before the old primary takes no more writes and the new one has all of them. Until then everything
//! can be undone, and is, when any of it fails or takes too long.

use super::{
    phase::{Phase, Reason, Step, Switch},
    plan::{Act, Outcome, Planner},
    seen::Seen,
};
use crate::{
    cluster::{node::Lsn, settings::FailoverMode},
    ids::NodeId,
};

/// How long the new primary may take to be seen once it is one, in microseconds.
const SEEN_US: u64 = 10_000_000;

/// How long it is tried to have the old primary take writes again, and the pause between two tries, in microseconds.
const UNDO_US: u64 = 30_000_000;
const UNDO_PAUSE_US: u64 = 1_000_000;

/// Why a node cannot take the place of this primary; `None` when it can.
fn objection(from: NodeId, to: NodeId, seen: &Seen) -> Option<&'static str> {
    let node = seen.node(to);
    let Some(answer) = node.answer.as_ref().filter(|_| node.status.is_usable()) else {
        return Some("it is not in use");
    };
    match () {
        () if from == to => Some("it is the primary"),
        () if !answer.in_recovery => Some("it is no standby"),
        () if answer.timeline != seen.timeline || !answer.receiver.may_hear() => {
            Some("it does not follow the primary")
        }
        () => None,
    }
}

impl Planner {
    /// Why this node cannot take the primary's place now; `None` when it can.
    pub(crate) fn objection_to(&self, to: NodeId, seen: &Seen) -> Option<&'static str> {
        match seen.primary {
            _ if self.rules.mode == FailoverMode::Off => Some("[failover] mode is \"off\""),
            _ if self.phase.is_under_way() || self.stopped.is_some() => {
                Some("something else is under way")
            }
            None => Some("there is no primary that it could replace"),
            Some(from) => objection(from, to, seen),
        }
    }

    /// An operator wants this node to be the primary.
    pub(super) fn switch_over(&mut self, to: NodeId, seen: &Seen, now_us: u64) {
        let objection = self.objection_to(to, seen);
        let Some(from) = seen.primary.filter(|_| objection.is_none()) else {
            let why = objection.unwrap_or_default();
            let text = format!("{} does not become the primary: {why}", seen.name(to));
            return self.say(true, text);
        };
        let text = format!(
            "{} is to replace {}: new statements wait until it does",
            seen.name(to),
            seen.name(from)
        );
        self.say(false, text);
        (self.accepts_loss, self.has_fenced) = (false, false);
        self.tried.clear();
        let is_unsure = false;
        self.enter(
            Phase::Holding(Switch {
                from,
                to,
                is_unsure,
            }),
            now_us,
        );
        self.start(Step::Drain(from));
    }

    /// The phase in which a primary that takes no writes is made to take them again.
    pub(super) fn undoing_of(&mut self, switch: Switch) -> Phase {
        self.stopped = Some(switch);
        Phase::Undoing(switch)
    }

    pub(super) fn undo(&mut self, switch: Switch, now_us: u64) -> bool {
        let phase = self.undoing_of(switch);
        self.enter(phase, now_us)
    }

    /// The switchover is not to be: what was done for it is undone.
    pub(super) fn call_off(&mut self, switch: Switch, why: &str, seen: &Seen, now_us: u64) {
        let (to, from) = (seen.name(switch.to), seen.name(switch.from));
        self.say(true, format!("{to} does not replace {from}: {why}"));
        match self.stopped {
            None => self.enter(Phase::Steady, now_us),
            Some(_) => self.undo(switch, now_us),
        };
    }

    /// True when the new primary is there already, the old one is lost in the middle of it, or somebody else has become the
    /// primary.
    fn is_overtaken(&mut self, switch: Switch, seen: &Seen, now_us: u64) -> bool {
        if seen.primary == Some(switch.to) {
            self.under_way = None;
            // How far it really was when it became one, nobody knows: others are found unable when they are.
            let chosen = switch.chosen(Lsn::MAX);
            return self.has_primary(switch.from, chosen, switch.to, seen, now_us);
        }
        if seen.lost_primary() == Some(switch.from) {
            // Whatever comes of the step, nothing follows from it.
            self.under_way = None;
            return self.suspect(switch.from, seen, now_us);
        }
        let is_other = |node: &NodeId| *node != switch.from && *node != switch.to;
        let Some(primary) = seen.primary.filter(is_other) else {
            return false;
        };
        let text = format!("{} has become the primary by itself", seen.name(primary));
        self.say(true, text);
        (self.under_way, self.stopped) = (None, None);
        self.enter(Phase::Steady, now_us)
    }

    /// Transactions end.
    pub(super) fn holding(&mut self, switch: Switch, seen: &Seen, now_us: u64) -> bool {
        if self.is_overtaken(switch, seen, now_us) {
            return true;
        }
        if self.done_us.is_none() {
            return false;
        }
        self.stopped = Some(switch);
        self.enter(Phase::Stopping(switch), now_us);
        self.start(Step::StopWrites(switch.from));
        true
    }

    pub(super) fn stopping(&mut self, switch: Switch, seen: &Seen, now_us: u64) -> bool {
        self.is_overtaken(switch, seen, now_us)
    }

    fn hand_over(&mut self, switch: Switch, at: Lsn, now_us: u64) {
        self.enter(Phase::HandingOver(switch, at), now_us);
        self.start(Step::HandOver(switch, at));
    }

    /// The new primary is to be seen.
    pub(super) fn handing_over(&mut self, switch: Switch, seen: &Seen, now_us: u64) -> bool {
        if seen.primary == Some(switch.to) {
            return self.is_overtaken(switch, seen, now_us);
        }
        let Some(done) = self.done_us.filter(|_| self.under_way.is_none()) else {
            return false;
        };
        if seen.lost_primary() == Some(switch.to) {
            self.stopped = None;
            return self.suspect(switch.to, seen, now_us);
        }
        if now_us.saturating_sub(done) < SEEN_US {
            return false;
        }
        let why = format!(
            "{} was made the primary, and is not seen to be it",
            seen.name(switch.to)
        );
        self.stopped = None;
        self.halt(switch.to, Reason::Failed(why), now_us)
    }

    /// The old primary is to take writes again, as soon as it is known who is the primary.
    pub(super) fn undoing(&mut self, switch: Switch, seen: &Seen, now_us: u64) -> bool {
        if self.is_overtaken(switch, seen, now_us) {
            return true;
        }
        if self.under_way.is_some() || seen.primary != Some(switch.from) {
            return false;
        }
        if let Some(why) = self.failure.clone() {
            if now_us.saturating_sub(self.since_us) > UNDO_US {
                return self.halt(switch.from, Reason::TakesNoWrites(why), now_us);
            }
            if now_us.saturating_sub(self.done_us.unwrap_or_default()) > UNDO_PAUSE_US {
                self.failure = None;
                self.start(Step::AllowWrites(switch));
            }
            return self.wait(why);
        }
        if self.done_us.is_none() {
            self.start(Step::AllowWrites(switch));
            return false;
        }
        self.stopped = None;
        let text = format!("{} takes writes again", seen.name(switch.from));
        self.say(false, text);
        self.enter(Phase::Steady, now_us)
    }

    /// A step of the switchover has ended.
    pub(super) fn switch_step_ended(
        &mut self,
        switch: Switch,
        outcome: Outcome,
        seen: &Seen,
        now_us: u64,
    ) {
        match (self.phase.clone(), outcome) {
            (Phase::Stopping(_), Outcome::Stopped(at)) => self.hand_over(switch, at, now_us),
            (Phase::HandingOver(..), Outcome::Done) => {
                let to = seen.name(switch.to);
                let why = format!("{to} has taken its place as the primary");
                self.acts.push(Act::Succeed(switch.from, switch.to, why));
            }
            (Phase::HandingOver(..), Outcome::Failed(why)) => {
                // It may be the primary by now, and is believed as soon as it says so.
                let is_unsure = true;
                self.call_off(
                    Switch {
                        is_unsure,
                        ..switch
                    },
                    &why,
                    seen,
                    now_us,
                );
            }
            (Phase::Undoing(_), Outcome::Failed(why) | Outcome::NotDone(why)) => {
                self.failure = Some(why);
            }
            (_, Outcome::Failed(why) | Outcome::NotDone(why)) => {
                self.call_off(switch, &why, seen, now_us);
            }
            _ => {}
        }
    }
}
