//! One fact after the other, and then clusters that behave as badly as they can.

use super::*;
use crate::{cluster::node::Role, control::state::view::View};

mod failover;
mod simulation;

const A: NodeId = NodeId(0);
const B: NodeId = NodeId(1);
const C: NodeId = NodeId(2);

/// Three nodes that fail at the second failed probe.
struct Stage {
    state: ClusterState,
    now: u64,
    said: Vec<String>,
}

impl Stage {
    fn new() -> Self {
        let member = |name: &str| Member {
            name: name.to_owned(),
            application_name: None,
            priority: 1,
        };
        Self {
            state: ClusterState::new(["a", "b", "c"].map(member).into(), retries(1), 0),
            now: 0,
            said: Vec::new(),
        }
    }

    /// A is the primary on timeline 1, the others follow it.
    fn usual() -> Self {
        let mut stage = Self::new();
        stage.on(Event::Answered(A, primary(1)));
        stage.on(Event::Answered(B, standby(1)));
        stage.on(Event::Answered(C, standby(1)));
        stage.expect(Some(A), ["waiting", "waiting", "waiting"]);
        stage
    }

    fn on(&mut self, event: Event) -> Vec<Effect> {
        self.now += 1;
        let effects = self.state.on(event, self.now);
        self.said
            .extend(effects.iter().filter_map(|effect| match effect {
                Effect::Say(_, text) => Some(text.clone()),
                _ => None,
            }));
        effects
    }

    fn fail(&mut self, id: NodeId) {
        for _ in 0..2 {
            let why = "connection refused".to_owned();
            self.on(Event::Probed(id, Outcome::Failed(why)));
        }
    }

    fn probe_well(&mut self, id: NodeId) -> Vec<Effect> {
        self.on(Event::Probed(id, Outcome::Well))
    }

    fn expect(&self, primary: Option<NodeId>, statuses: [&str; 3]) {
        let found: Vec<_> = self
            .state
            .views()
            .iter()
            .map(|it| it.status.name())
            .collect();
        assert_eq!(
            (self.state.primary(), &found[..]),
            (primary, &statuses[..]),
            "{:#?}",
            self.said
        );
    }

    fn reads(&self) -> Vec<NodeId> {
        let views = self.state.views();
        let ids = self.state.ids();
        ids.zip(views)
            .filter(|(_, view)| view.takes_reads)
            .map(|(id, _)| id)
            .collect()
    }

    fn view(&self, id: NodeId) -> View {
        self.state.views().swap_remove(usize::from(id.0))
    }

    fn has_said(&self, text: &str) -> bool {
        self.said.iter().any(|said| said.contains(text))
    }
}

fn retries(retries: u32) -> Rules {
    Rules {
        retries,
        ..Rules::default()
    }
}

fn primary(timeline: u32) -> NodeAnswer {
    NodeAnswer {
        timeline,
        is_near: true,
        ..NodeAnswer::default()
    }
}

fn standby(timeline: u32) -> NodeAnswer {
    NodeAnswer {
        in_recovery: true,
        ..primary(timeline)
    }
}

fn with_followers(answer: NodeAnswer, names: &[&str]) -> NodeAnswer {
    let follower = |name: &&str| Follower {
        application_name: name.to_string(),
        state: "streaming".to_owned(),
        sync_state: "async".to_owned(),
    };
    NodeAnswer {
        facts: Some(NodeFacts {
            system: 77,
            names: vec!["walreceiver".to_owned()],
            synchronous: String::new(),
            followers: names.iter().map(follower).collect(),
        }),
        ..answer
    }
}

#[test]
fn nobody_is_the_primary_because_it_answered_first() {
    let mut stage = Stage::new();
    stage.on(Event::Answered(A, primary(1)));
    stage.expect(None, ["waiting"; 3]);
    stage.on(Event::Answered(B, primary(2)));
    stage.expect(None, ["waiting"; 3]);
    stage.on(Event::Silent(C, "no".to_owned()));
    stage.expect(Some(B), ["quarantine", "waiting", "waiting"]);
    assert!(
        stage
            .view(A)
            .reason
            .contains("timeline 1, but b is it on timeline 2")
    );
}

#[test]
fn a_node_is_up_with_its_first_connection() {
    let mut stage = Stage::usual();
    stage.on(Event::Connected(B));
    stage.on(Event::Connected(B));
    stage.expect(Some(A), ["waiting", "up", "waiting"]);
    let since = stage.view(B).since_us;
    stage.on(Event::Connected(B));
    assert_eq!(stage.view(B).since_us, since);
}

#[test]
fn a_node_is_down_after_its_retries_and_returns_by_itself() {
    let mut stage = Stage::usual();
    let why = || Outcome::Failed("gone".to_owned());
    let effects = stage.on(Event::Probed(B, why()));
    assert!(effects.contains(&Effect::Suspect(B)));
    stage.expect(Some(A), ["waiting"; 3]);
    assert_eq!(stage.reads(), [B, C]);
    let effects = stage.on(Event::Probed(B, why()));
    assert!(effects.contains(&Effect::Save));
    stage.expect(Some(A), ["waiting", "down", "waiting"]);
    assert_eq!(stage.view(B).since_us, stage.now);
    assert_eq!(stage.reads(), [C]);
    assert!(!stage.state.is_asked(B) && stage.state.is_probed(B));
    let effects = stage.probe_well(B);
    assert!(effects.contains(&Effect::Trust(B)) && effects.contains(&Effect::Ask(B)));
    stage.expect(Some(A), ["waiting", "down", "waiting"]);
    let far = NodeAnswer {
        is_near: false,
        ..standby(1)
    };
    stage.on(Event::Answered(B, far));
    stage.expect(Some(A), ["waiting", "down", "waiting"]);
    stage.on(Event::Answered(B, standby(1)));
    stage.expect(Some(A), ["waiting"; 3]);
    assert_eq!(stage.reads(), [B, C]);
}

#[test]
fn one_probe_that_goes_well_makes_up_for_those_before() {
    let mut stage = Stage::usual();
    for _ in 0..5 {
        stage.on(Event::Probed(B, Outcome::Failed("gone".to_owned())));
        stage.probe_well(B);
    }
    stage.expect(Some(A), ["waiting"; 3]);
}

#[test]
fn who_has_no_room_is_not_dead() {
    let mut stage = Stage::usual();
    let full = || Outcome::Refused("sorry, too many clients already".to_owned());
    for _ in 0..10 {
        stage.on(Event::Probed(A, full()));
    }
    stage.expect(Some(A), ["waiting"; 3]);
    let said = stage
        .said
        .iter()
        .filter(|text| text.contains("too many clients"));
    assert_eq!(said.count(), 1);
    assert_eq!(stage.view(A).is_alive, Some(true));
}

#[test]
fn a_promotion_by_hand_is_followed() {
    let mut stage = Stage::usual();
    stage.on(Event::Answered(B, primary(2)));
    stage.expect(Some(B), ["quarantine", "waiting", "waiting"]);
    // C still follows the old one.
    assert_eq!(stage.reads(), []);
    stage.on(Event::Answered(C, standby(2)));
    assert_eq!(stage.reads(), [C]);
    // The old primary is fenced until it is a standby.
    stage.on(Event::Answered(A, primary(1)));
    stage.expect(Some(B), ["quarantine", "waiting", "waiting"]);
    stage.on(Event::Answered(A, standby(2)));
    stage.expect(Some(B), ["waiting"; 3]);
    assert_eq!(stage.reads(), [A, C]);
}

#[test]
fn a_new_primary_is_followed_when_the_old_one_is_gone() {
    let mut stage = Stage::usual();
    stage.fail(A);
    stage.expect(None, ["down", "waiting", "waiting"]);
    assert!(stage.has_said("there is no primary"));
    // Reads go on meanwhile.
    assert_eq!(stage.reads(), [B, C]);
    stage.on(Event::Answered(C, primary(2)));
    stage.expect(Some(C), ["down", "waiting", "waiting"]);
    assert_eq!(stage.view(C).since_us, stage.now);
}

#[test]
fn an_old_primary_that_comes_back_never_takes_writes_again() {
    let mut stage = Stage::usual();
    stage.fail(A);
    stage.on(Event::Answered(C, primary(2)));
    stage.probe_well(A);
    stage.on(Event::Answered(A, primary(1)));
    stage.expect(Some(C), ["quarantine", "waiting", "waiting"]);
    // Not even when it is the only one left.
    stage.fail(C);
    stage.on(Event::Answered(A, primary(1)));
    stage.expect(None, ["quarantine", "waiting", "down"]);
    // And not after it was down once more.
    stage.fail(A);
    stage.probe_well(A);
    stage.on(Event::Answered(A, primary(1)));
    stage.expect(None, ["quarantine", "waiting", "down"]);
    // The operator may know better.
    stage.on(Event::Attach(A));
    stage.expect(Some(A), ["waiting", "waiting", "down"]);
}

#[test]
fn a_primary_that_was_away_is_the_primary_again_when_nobody_took_its_place() {
    let mut stage = Stage::usual();
    stage.fail(A);
    stage.probe_well(A);
    stage.on(Event::Answered(A, primary(1)));
    stage.expect(Some(A), ["waiting"; 3]);
}

/// Pgpool-II, 3.3: who follows whom was told by the names of hosts, which had to be written in the same way.
#[test]
fn of_two_on_one_timeline_the_one_with_followers_is_believed() {
    let mut stage = Stage::new();
    stage.on(Event::Answered(A, with_followers(primary(1), &[])));
    stage.on(Event::Answered(C, standby(1)));
    stage.on(Event::Answered(B, with_followers(primary(1), &["c"])));
    stage.expect(Some(B), ["quarantine", "waiting", "waiting"]);
    assert!(
        stage
            .view(A)
            .reason
            .contains("more standbys follow (1, not 0)")
    );
}

/// Pgpool-II, 3.2: of several the one with the highest number was taken, because the search went on.
#[test]
fn without_any_evidence_the_primary_stays_what_it_is() {
    let mut stage = Stage::usual();
    stage.on(Event::Answered(B, primary(1)));
    stage.expect(Some(A), ["waiting", "quarantine", "waiting"]);
    let mut stage = Stage::new();
    stage.on(Event::Answered(C, primary(3)));
    stage.on(Event::Answered(B, primary(3)));
    stage.on(Event::Silent(A, "no".to_owned()));
    stage.expect(Some(B), ["waiting", "waiting", "quarantine"]);
}

#[test]
fn a_node_of_another_cluster_is_fenced_and_not_read() {
    let foreign = |answer: NodeAnswer| NodeAnswer {
        facts: Some(NodeFacts {
            system: 78,
            ..NodeFacts::default()
        }),
        ..answer
    };
    let mut stage = Stage::new();
    stage.on(Event::Answered(A, with_followers(primary(1), &["c"])));
    stage.on(Event::Answered(B, foreign(standby(1))));
    stage.on(Event::Answered(C, with_followers(standby(1), &[])));
    stage.expect(Some(A), ["waiting"; 3]);
    assert_eq!(stage.reads(), [C]);
    stage.on(Event::Answered(B, foreign(primary(9))));
    stage.expect(Some(A), ["waiting", "quarantine", "waiting"]);
    assert!(stage.view(B).reason.contains("another cluster"));
}

#[test]
fn only_who_follows_the_primarys_timeline_is_read() {
    let mut stage = Stage::usual();
    stage.on(Event::Answered(B, standby(0)));
    assert_eq!(stage.reads(), [C]);
    let ahead = NodeAnswer {
        is_ahead: true,
        ..standby(1)
    };
    stage.on(Event::Answered(C, ahead));
    assert_eq!(stage.reads(), []);
    stage.on(Event::Answered(B, standby(1)));
    assert_eq!(stage.reads(), [B]);
}

#[test]
fn who_follows_a_fenced_node_is_not_read() {
    let mut stage = Stage::new();
    stage.on(Event::Answered(C, standby(1)));
    stage.on(Event::Answered(A, with_followers(primary(1), &["b"])));
    stage.on(Event::Answered(B, standby(1)));
    assert_eq!(stage.reads(), [B, C]);
    stage.on(Event::Answered(C, with_followers(primary(1), &[])));
    stage.expect(Some(A), ["waiting", "waiting", "quarantine"]);
    // Somebody has made it follow the fenced one.
    stage.on(Event::Answered(C, with_followers(primary(1), &["b"])));
    stage.on(Event::Answered(A, with_followers(primary(1), &[])));
    assert_eq!(stage.reads(), []);
}

#[test]
fn rows_of_followers_are_found_by_any_of_their_names() {
    let mut stage = Stage::usual();
    let named = |names: &[&str], answer: NodeAnswer| {
        let mut answer = with_followers(answer, &[]);
        answer.facts.as_mut().unwrap().names = names.iter().map(|name| name.to_string()).collect();
        answer
    };
    stage.on(Event::Answered(
        B,
        named(&["other", "walreceiver"], standby(1)),
    ));
    stage.on(Event::Answered(C, named(&["walreceiver"], standby(1))));
    stage.on(Event::Answered(
        A,
        with_followers(primary(1), &["other", "walreceiver"]),
    ));
    assert_eq!(stage.view(B).replication_state, "streaming");
    assert_eq!(stage.view(C).sync_state, "async");
    // Two of one name that differ: nobody knows which is which.
    let mut answer = with_followers(primary(1), &["walreceiver", "walreceiver", "b"]);
    answer.facts.as_mut().unwrap().followers[0].state = "catchup".to_owned();
    stage.on(Event::Answered(A, answer));
    assert_eq!(stage.view(B).replication_state, "streaming");
    assert_eq!(stage.view(C).replication_state, "");
    // The file's name comes first.
    let member = |name: Option<&str>| Member {
        name: String::new(),
        application_name: name.map(str::to_owned),
        priority: 1,
    };
    stage.state.set_members(
        vec![member(None), member(Some("x")), member(Some("b"))],
        retries(1),
    );
    stage.on(Event::Connected(A));
    assert_eq!(stage.view(C).replication_state, "streaming");
}

#[test]
fn a_primary_that_became_a_standby_is_none() {
    let mut stage = Stage::usual();
    stage.on(Event::Answered(A, standby(1)));
    stage.expect(None, ["waiting"; 3]);
    assert_eq!(stage.view(A).role, Role::Standby);
    stage.on(Event::Answered(B, primary(2)));
    stage.expect(Some(B), ["waiting"; 3]);
}

#[test]
fn what_an_operator_has_detached_stays_so() {
    let mut stage = Stage::usual();
    stage.on(Event::Detach(B, true));
    stage.probe_well(B);
    stage.on(Event::Answered(B, standby(1)));
    stage.expect(Some(A), ["waiting", "unused", "waiting"]);
    assert!(!stage.state.is_asked(B) && !stage.state.is_probed(B));
    stage.on(Event::Attach(B));
    stage.expect(Some(A), ["waiting"; 3]);
    stage.on(Event::Detach(A, true));
    stage.expect(None, ["unused", "waiting", "waiting"]);
}

#[test]
fn what_was_before_a_restart_holds() {
    let remembered = |status| Remembered {
        status,
        since_us: 5,
    };
    let mut stage = Stage::new();
    stage.state.remember(A, &remembered(Status::Quarantine));
    stage.state.remember(B, &remembered(Status::Down));
    stage.state.remember(C, &remembered(Status::Up));
    stage.state.remember_timeline(2);
    stage.expect(None, ["quarantine", "down", "waiting"]);
    assert_eq!(stage.view(A).since_us, 5);
    stage.on(Event::Answered(A, primary(2)));
    stage.on(Event::Answered(C, standby(2)));
    stage.expect(None, ["quarantine", "down", "waiting"]);
    assert_eq!(stage.reads(), [C]);
    // The only one that takes writes is used, though it was down. (Pgpool-II, 1.6: it stayed down.)
    stage.probe_well(B);
    stage.on(Event::Answered(B, primary(2)));
    stage.expect(Some(B), ["quarantine", "waiting", "waiting"]);
    assert!(stage.has_said("node b is waiting: it is well again"));
    // What is fenced is remembered as such even when it is down.
    stage.fail(A);
    let kept = stage.state.to_remember();
    assert_eq!(kept[0].1.status, Status::Quarantine);
}

/// Pgpool-II, 1.2: `last_status_change` is also that of the old and of the new primary when they change roles.
#[test]
fn a_change_of_roles_is_dated_at_both() {
    // A switchover: nobody was down.
    let mut stage = Stage::usual();
    let began = stage.view(C).since_us;
    stage.on(Event::Answered(A, standby(1)));
    assert_eq!(stage.view(A).since_us, stage.now);
    assert_eq!(stage.view(B).since_us, began);
    stage.on(Event::Answered(B, primary(2)));
    assert_eq!(stage.view(B).since_us, stage.now);
    assert_eq!(stage.view(A).since_us, stage.now - 1);
    assert_eq!(stage.view(C).since_us, began);
    // What says nothing new changes nothing.
    stage.on(Event::Answered(B, primary(2)));
    assert_eq!(stage.view(B).since_us, stage.now - 1);
}

/// Pgpool-II, 1.4: what a node was once told to be it stayed, though a reload left that out.
#[test]
fn quirk_what_a_reload_leaves_out_is_over() {
    let mut stage = Stage::usual();
    let members = |names: [Option<&str>; 3]| {
        let member = |name: Option<&str>| Member {
            name: String::new(),
            application_name: name.map(str::to_owned),
            priority: 1,
        };
        names.map(member).into()
    };
    let told = members([None, Some("replica"), None]);
    stage.state.set_members(told, retries(5));
    stage.on(Event::Answered(A, with_followers(primary(1), &["replica"])));
    assert_eq!(stage.view(B).replication_state, "streaming");
    stage.fail(B);
    stage.expect(Some(A), ["waiting"; 3]);
    stage.state.set_members(members([None; 3]), retries(1));
    stage.on(Event::Connected(A));
    assert_eq!(stage.view(B).replication_state, "");
    stage.fail(B);
    stage.expect(Some(A), ["up", "down", "waiting"]);
}

/// Pgpool-II, 3.4: a node that could not be asked left all of them without a state of replication until the next
/// good round, and nobody came back by itself meanwhile.
#[test]
fn a_silent_node_takes_nothing_from_the_others() {
    let mut stage = Stage::usual();
    stage.fail(B);
    stage.on(Event::Answered(A, with_followers(primary(1), &["b", "c"])));
    stage.on(Event::Silent(C, "no".to_owned()));
    stage.fail(C);
    stage.probe_well(B);
    stage.on(Event::Answered(B, standby(1)));
    stage.expect(Some(A), ["waiting", "waiting", "down"]);
    assert_eq!(stage.view(B).replication_state, "streaming");
    assert_eq!(stage.reads(), [B]);
}

/// Pgpool-II, 2.4: an error of reading at a login took the node out, whatever the settings said. What a worker has
/// seen is a reason to look, and only what is seen then counts.
#[test]
fn quirk_one_look_decides_nothing_and_its_retries_do() {
    let mut stage = Stage::usual();
    for _ in 0..3 {
        let effects = stage.on(Event::Probed(B, Outcome::Failed("read error".to_owned())));
        assert!(effects.contains(&Effect::Suspect(B)) && !effects.contains(&Effect::Save));
        stage.expect(Some(A), ["waiting"; 3]);
        let effects = stage.probe_well(B);
        assert!(effects.contains(&Effect::Trust(B)));
    }
}
