//! The standbys that are brought to follow a new primary, one after the other. Pure.

use super::{
    phase::{Chosen, Phase, Step},
    plan::{Act, Planner},
    seen::Seen,
};
use crate::ids::NodeId;

/// How a standby stands to the new primary.
enum Follows {
    Well,
    /// It is to be told.
    Begin,
    NotYet,
    Never(String),
}

impl Planner {
    /// The next of the standbys that do not follow yet.
    pub(super) fn following(
        &mut self,
        lost: NodeId,
        chosen: Chosen,
        mut rest: Vec<NodeId>,
        seen: &Seen,
        now_us: u64,
    ) -> bool {
        if self.under_way.is_some() {
            return false;
        }
        if seen.primary != Some(chosen.node) {
            // It is gone as well, or replaced: which is another story, once that is certain.
            let is_over = seen.primary.is_some() || !seen.node(chosen.node).status.is_usable();
            return is_over && self.enter(Phase::Steady, now_us);
        }
        let Some(node) = rest.first().copied() else {
            return self.enter(Phase::Done { lost, chosen }, now_us);
        };
        match self.follows(node, chosen, seen, now_us) {
            Follows::NotYet => return false,
            Follows::Begin => {
                self.start(Step::Follow(node, chosen.node));
                return false;
            }
            Follows::Well => {}
            Follows::Never(why) => self.acts.push(Act::GiveUp(node, why)),
        }
        rest.remove(0);
        self.enter(Phase::Following { lost, chosen, rest }, now_us)
    }

    fn follows(&self, node: NodeId, chosen: Chosen, seen: &Seen, now_us: u64) -> Follows {
        let it = seen.node(node);
        if !it.status.is_usable() || it.is_alive == Some(false) {
            // It is looked at when it comes back.
            return Follows::Well;
        }
        let since = self.done_us.unwrap_or(self.since_us);
        let limit = self.rules.follow_timeout.as_micros() as u64;
        let is_late = now_us.saturating_sub(since) > limit;
        let Some(answer) = it.answer_since(since) else {
            return match is_late {
                true => Follows::Well,
                false => Follows::NotYet,
            };
        };
        if answer.in_recovery && answer.timeline == seen.timeline && answer.receiver.may_hear() {
            return Follows::Well;
        }
        if answer.received > chosen.received && answer.timeline < seen.timeline {
            return Follows::Never(
                "it has received more than the new primary had: it needs pg_rewind".to_owned(),
            );
        }
        match self.done_us {
            None => Follows::Begin,
            Some(_) if is_late => Follows::Never(format!(
                "it did not follow the new primary within {:?}",
                self.rules.follow_timeout
            )),
            Some(_) => Follows::NotYet,
        }
    }
}
