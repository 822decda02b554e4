//! Opinions of the standbys about a primary that is lost: whether any of them may still hear it. Pure.

use super::seen::Seen;
use crate::ids::NodeId;

/// Opinions of the standbys about the lost primary.
#[derive(Default)]
pub(super) struct Opinions {
    /// One that may hear it; itself, where it says that it is a primary.
    pub(super) hears: Option<NodeId>,
    /// One that has been asked and may answer.
    pub(super) asked: Option<NodeId>,
    /// One that cannot be asked.
    pub(super) away: Option<NodeId>,
    /// How many do not hear it.
    pub(super) denials: usize,
}

impl Opinions {
    pub(super) fn since(since_us: u64, lost: NodeId, seen: &Seen) -> Self {
        let mut opinions = Self::default();
        let claims = seen.node(lost).answer_since(since_us);
        if claims.is_some_and(|it| !it.in_recovery) {
            opinions.hears = Some(lost);
        }
        for id in seen.standbys(lost) {
            let node = seen.node(id);
            match node.answer_since(since_us) {
                Some(answer) if answer.receiver.may_hear() => opinions.hears = Some(id),
                Some(answer) if answer.in_recovery => opinions.denials += 1,
                None if node.may_answer() => opinions.asked = Some(id),
                Some(_) | None => opinions.away = Some(id),
            }
        }
        opinions
    }
}
