//! Clusters that lose their primary in every way there is, from a seed: servers crash, hang and start again, links break
//! between any two of pgring, primary and standbys, answers come late, and pgring itself is killed between two steps.
//!
//! `PGRING_SEED` replays one seed, `PGRING_SEEDS` says how many are tried.

use std::collections::VecDeque;

use super::*;
use crate::{
    cluster::failover_state::FailoverOrder,
    control::failover::{
        phase::{Phase, Step, Switch},
        plan,
        seen::Receiver,
    },
    random::Seeded,
};

const NODES: usize = 3;
/// One turn of the world, in microseconds.
const TURN_US: u64 = 100_000;
/// Half of `wal_receiver_timeout`, after which a standby asks for a sign of life.
const PATIENCE_US: u64 = 5_000_000;
/// After that a standby takes the connection for dead.
const RECEIVER_TIMEOUT_US: u64 = 2 * PATIENCE_US;
/// A fact that pgring could have known for so long must not be missed.
const KNOWN_US: u64 = 2_000_000;
/// Turns in which everything may happen, and turns in which nothing does any more.
const WILD: u64 = 400;
const CALM: u64 = 1500;

/// Where a timeline begins: its number, and where it left the one before.
type Fork = (u32, Lsn);

#[derive(Clone, Debug)]
struct Server {
    is_running: bool,
    is_hanging: bool,
    in_recovery: bool,
    /// New transactions take no writes, also after a restart.
    is_read_only: bool,
    /// Its log ends there: written, or received and replayed.
    end: Lsn,
    /// The timelines of its log, the newest last.
    history: Vec<Fork>,
    upstream: usize,
    is_connected: bool,
    /// When its upstream last told it something.
    heard_us: u64,
    /// When its log last grew.
    grown_us: u64,
    /// Since when it has heard a primary that runs.
    hears_since: Option<u64>,
    /// Since when pgring can ask it.
    reachable_since: Option<u64>,
}

impl Server {
    fn timeline(&self) -> u32 {
        self.history.last().expect("a log has a timeline").0
    }

    /// True when its log is the beginning of the other's.
    fn is_prefix_of(&self, other: &Self) -> bool {
        let count = self.history.len();
        let is_same = other.history.get(..count) == Some(&self.history[..]);
        let ends = other.history.get(count).map_or(other.end, |fork| fork.1);
        is_same && self.end <= ends
    }
}

/// An event on its way to pgring, or a step on its way to a server.
#[derive(Clone, Debug)]
enum Sent {
    Answer(usize, NodeAnswer),
    Step(Step),
    Ended(Step, plan::Outcome),
}

/// Memory that outlasts pgring.
#[derive(Clone)]
struct Kept {
    nodes: Vec<(String, Remembered)>,
    timeline: u32,
    primary: Option<NodeId>,
    synchronous: String,
    phase: Phase,
    stopped: Option<Switch>,
}

struct World {
    random: Seeded,
    seed: u64,
    now: u64,
    servers: Vec<Server>,
    /// Broken links: of pgring to a server, and between two servers.
    cut: [bool; NODES],
    cut_between: [[bool; NODES]; NODES],
    state: ClusterState,
    kept: Kept,
    sent: VecDeque<(u64, Sent)>,
    /// How many standbys each commit waits for.
    waits_for: usize,
    /// The end of the newest commit that a client was told of.
    acknowledged: Lsn,
    /// The end of the newest commit of a client, and the node that took it.
    committed: (usize, Lsn),
    /// The last node that took writes, as far as pgring believed, and its timeline.
    accepted: Option<(NodeId, u32)>,
    log: Vec<String>,
}

fn rules() -> Rules {
    Rules {
        retries: 1,
        failover: Failover {
            mode: crate::cluster::settings::FailoverMode::Sql,
            promote_timeout: std::time::Duration::from_secs(10),
            follow_timeout: std::time::Duration::from_secs(10),
            ..Failover::default()
        },
    }
}

fn fresh() -> ClusterState {
    let member = |name: &str| Member {
        name: name.to_owned(),
        application_name: None,
        priority: 1,
    };
    ClusterState::new(["a", "b", "c"].map(member).into(), rules(), 1)
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Seeded::new(seed);
        let server = |place: usize| Server {
            is_running: true,
            is_hanging: false,
            in_recovery: place > 0,
            is_read_only: false,
            end: 1000,
            history: vec![(1, 0)],
            upstream: 0,
            is_connected: place > 0,
            heard_us: 1,
            grown_us: 1,
            hears_since: None,
            reachable_since: Some(1),
        };
        let waits_for = random.below(3) as usize;
        let state = fresh();
        Self {
            random,
            seed,
            now: 1,
            servers: (0..NODES).map(server).collect(),
            cut: [false; NODES],
            cut_between: [[false; NODES]; NODES],
            kept: keep(&state),
            state,
            sent: VecDeque::new(),
            waits_for,
            acknowledged: 0,
            committed: (0, 0),
            accepted: None,
            log: Vec::new(),
        }
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.random.below(one_in) == 0
    }

    fn note(&mut self, text: String) {
        self.log
            .push(format!("{:>8.1}s {text}", self.now as f64 / 1e6));
    }

    fn fail(&self, what: &str) -> ! {
        let log = self.log.join("\n");
        panic!(
            "{what}; PGRING_SEED={}\n{log}\n{:#?}",
            self.seed, self.servers
        );
    }

    fn turn(&mut self, is_wild: bool) {
        self.now += TURN_US;
        if is_wild {
            self.misfortune();
        }
        self.replicate();
        for id in 0..NODES {
            let is_reachable = self.answers(id);
            let since = &mut self.servers[id].reachable_since;
            *since = is_reachable.then(|| since.unwrap_or(self.now));
        }
        if (self.now / TURN_US).is_multiple_of(5) {
            (0..NODES).for_each(|id| self.probe(id));
        }
        (0..NODES).for_each(|id| self.ask(id));
        self.deliver();
        self.on(Event::Tick);
    }

    fn answers(&self, id: usize) -> bool {
        let server = &self.servers[id];
        server.is_running && !server.is_hanging && !self.cut[id]
    }

    fn misfortune(&mut self) {
        let id = self.random.below(NODES as u64) as usize;
        let other = self.random.below(NODES as u64) as usize;
        if self.chance(60) {
            self.note(format!("{id} crashes"));
            self.crash(id);
        }
        if self.chance(25) && !self.servers[id].is_running {
            self.note(format!("{id} starts"));
            self.servers[id].is_running = true;
            self.servers[id].is_hanging = false;
        }
        if self.chance(80) {
            self.servers[id].is_hanging ^= true;
            self.note(format!("{id} hangs: {}", self.servers[id].is_hanging));
        }
        if self.chance(40) {
            self.cut[id] ^= true;
            self.note(format!("pgring and {id} are cut: {}", self.cut[id]));
        }
        if self.chance(60) && id != other {
            let is_cut = !self.cut_between[id][other];
            (self.cut_between[id][other], self.cut_between[other][id]) = (is_cut, is_cut);
            self.note(format!("{id} and {other} are cut: {is_cut}"));
        }
        if self.chance(100) {
            self.note("pgring is killed and started".to_owned());
            self.restart();
        }
        if self.chance(200) {
            self.on(Event::Ordered(FailoverOrder::Abort));
        }
        if self.chance(50) {
            self.on(Event::Ordered(FailoverOrder::Resume));
        }
        if self.chance(60) {
            let order = FailoverOrder::SwitchOver(NodeId(id as u16));
            self.on(Event::Ordered(order));
        }
    }

    fn crash(&mut self, id: usize) {
        let server = &mut self.servers[id];
        (server.is_running, server.is_hanging, server.is_connected) = (false, false, false);
    }

    /// Primaries write, standbys receive, clients are told.
    fn replicate(&mut self) {
        for id in 0..NODES {
            let server = &mut self.servers[id];
            if server.is_running && !server.is_hanging && !server.in_recovery {
                server.end += 1 + self.random.below(50);
            }
        }
        for id in 0..NODES {
            self.receive(id);
        }
        let Some(primary) = self.accepted.map(|(node, _)| usize::from(node.0)) else {
            return;
        };
        if self.state.primary() != Some(NodeId(primary as u16)) || !self.answers(primary) {
            return;
        }
        if self.state.served_primary().is_some() && !self.servers[primary].is_read_only {
            self.committed = (primary, self.servers[primary].end);
        }
        let leader = &self.servers[primary];
        let follows = |server: &&Server| {
            server.in_recovery && server.upstream == primary && server.is_prefix_of(leader)
        };
        let mut ends: Vec<_> = self
            .servers
            .iter()
            .filter(follows)
            .map(|it| it.end)
            .collect();
        ends.sort_unstable();
        if self.waits_for > 0 && ends.len() >= self.waits_for {
            let heard = ends[ends.len() - self.waits_for];
            self.acknowledged = self.acknowledged.max(heard);
        }
    }

    fn receive(&mut self, id: usize) {
        let now = self.now;
        let upstream = self.servers[id].upstream;
        let leader = self.servers[upstream].clone();
        let is_cut = self.cut_between[id][upstream];
        let is_slow = self.random.below(4) == 0;
        let server = &mut self.servers[id];
        if !server.in_recovery || !server.is_running || server.is_hanging {
            server.hears_since = None;
            return;
        }
        let leads = leader.is_running && !leader.in_recovery && server.is_prefix_of(&leader);
        if server.is_connected && !is_cut && !leads {
            server.is_connected = false;
        }
        if server.is_connected && now - server.heard_us > RECEIVER_TIMEOUT_US {
            server.is_connected = false;
        }
        let may_connect = leads && !is_cut && !leader.is_hanging;
        if !server.is_connected && may_connect && self.random.below(20) == 0 {
            (server.is_connected, server.heard_us) = (true, now);
        }
        let is_told = server.is_connected && may_connect;
        if !is_told {
            server.hears_since = None;
            return;
        }
        server.hears_since = Some(server.hears_since.unwrap_or(now));
        // A primary that writes nothing says nothing, until it is asked.
        if !is_slow || now - server.heard_us >= PATIENCE_US {
            (server.heard_us, server.grown_us) = (now, now);
            server.end = leader.end;
            server.history.clone_from(&leader.history);
        }
    }

    fn probe(&mut self, id: usize) {
        let node = NodeId(id as u16);
        if !self.state.is_probed(node) {
            return;
        }
        let outcome = match self.answers(id) {
            true => Outcome::Well,
            false => Outcome::Failed("no answer".to_owned()),
        };
        self.on(Event::Probed(node, outcome));
    }

    fn ask(&mut self, id: usize) {
        let node = NodeId(id as u16);
        if !self.state.is_asked(node) || !self.answers(id) {
            return;
        }
        let server = &self.servers[id];
        let receiver = match server.is_connected && server.in_recovery {
            false => Receiver::None,
            true => Receiver::Streaming {
                silent_us: Some(self.now - server.heard_us),
                patience_us: Some(PATIENCE_US + 1_000_000),
            },
        };
        let followers = (0..NODES).filter(|other| {
            let other = &self.servers[*other];
            other.in_recovery && other.is_connected && other.upstream == id
        });
        let follower = |other: usize| Follower {
            application_name: ["a", "b", "c"][other].to_owned(),
            state: "streaming".to_owned(),
            sync_state: String::new(),
        };
        let answer = NodeAnswer {
            in_recovery: server.in_recovery,
            lsn: server.end,
            timeline: server.timeline(),
            asked_us: self.now,
            received: server.end,
            receiver,
            is_near: true,
            facts: Some(NodeFacts {
                system: 7,
                names: Vec::new(),
                synchronous: match self.waits_for {
                    0 => String::new(),
                    count => format!("ANY {count} (a, b, c)"),
                },
                followers: followers.map(follower).collect(),
            }),
            ..NodeAnswer::default()
        };
        let late = self.random.below(8) * TURN_US / 4;
        self.sent
            .push_back((self.now + late, Sent::Answer(id, answer)));
    }

    fn deliver(&mut self) {
        let now = self.now;
        let (due, later): (Vec<_>, Vec<_>) = self.sent.drain(..).partition(|(at, _)| *at <= now);
        self.sent = later.into();
        for (_, sent) in due {
            match sent {
                Sent::Answer(id, answer) => self.on(Event::Answered(NodeId(id as u16), answer)),
                Sent::Ended(step, outcome) => self.on(Event::StepEnded(step, outcome)),
                Sent::Step(step) => self.carry_out(step),
            }
        }
    }

    fn on(&mut self, event: Event) {
        let effects = self.state.on(event, self.now);
        for effect in effects {
            match effect {
                Effect::Save => self.kept = keep(&self.state),
                Effect::Do(step) => {
                    // What was to be done promptly is done by then, or never.
                    let is_unsure = matches!(
                        step,
                        Step::AllowWrites(Switch {
                            is_unsure: true,
                            ..
                        })
                    );
                    let wait = if is_unsure { 40 * TURN_US } else { 0 };
                    let late = wait + self.random.below(3) * TURN_US;
                    // One after the other: none is begun before the one before it was.
                    let is_step = |sent: &&(u64, Sent)| matches!(sent.1, Sent::Step(_));
                    let before = self.sent.iter().filter(is_step).map(|(at, _)| *at);
                    let at = before.max().unwrap_or_default().max(self.now + late);
                    self.sent.push_back((at, Sent::Step(step)));
                }
                Effect::Say(_, text) => self.note(text),
                _ => {}
            }
        }
        self.check();
    }

    fn carry_out(&mut self, step: Step) {
        let outcome = match step {
            Step::Fence(_) | Step::Drain(_) => plan::Outcome::Done,
            Step::StopWrites(node) => self.stop_writes(usize::from(node.0)),
            Step::HandOver(switch, at) => self.hand_over(switch, at),
            Step::AllowWrites(switch) => self.allow_writes(switch),
            Step::Promote(node) => self.promote(usize::from(node.0)),
            Step::Follow(node, primary) => {
                let server = &mut self.servers[usize::from(node.0)];
                (server.upstream, server.is_connected) = (usize::from(primary.0), false);
                plan::Outcome::Done
            }
        };
        self.note(format!("{step:?}: {outcome:?}"));
        // It may be done, and nobody hear of it.
        let outcome = match !matches!(step, Step::Fence(_)) && self.chance(10) {
            true => plan::Outcome::Failed("the connection was lost".to_owned()),
            false => outcome,
        };
        let late = self.random.below(8) * TURN_US;
        self.sent
            .push_back((self.now + late, Sent::Ended(step, outcome)));
    }

    fn promote(&mut self, id: usize) -> plan::Outcome {
        if !self.answers(id) {
            return plan::Outcome::Failed("no answer".to_owned());
        }
        let server = &self.servers[id];
        if !server.in_recovery {
            return plan::Outcome::Done;
        }
        if server.is_connected && self.now - server.heard_us <= PATIENCE_US + 1_000_000 {
            return plan::Outcome::Heard;
        }
        self.check_promotion(id);
        self.become_primary(id);
        plan::Outcome::Done
    }

    fn become_primary(&mut self, id: usize) {
        let server = &mut self.servers[id];
        let next = server.timeline() + 1;
        server.history.push((next, server.end));
        (server.in_recovery, server.is_connected) = (false, false);
        server.is_read_only = false;
    }

    fn stop_writes(&mut self, id: usize) -> plan::Outcome {
        if !self.answers(id) {
            return plan::Outcome::Failed("no answer".to_owned());
        }
        self.servers[id].is_read_only = true;
        match self.chance(8) {
            true => plan::Outcome::NotDone("somebody writes".to_owned()),
            false => plan::Outcome::Stopped(self.servers[id].end),
        }
    }

    /// All that a client has committed is there, and nobody is let in anywhere meanwhile.
    fn hand_over(&mut self, switch: Switch, at: Lsn) -> plan::Outcome {
        let (from, to) = (usize::from(switch.from.0), usize::from(switch.to.0));
        if !self.answers(to) {
            return plan::Outcome::NotDone("no answer".to_owned());
        }
        if !self.servers[to].in_recovery {
            return plan::Outcome::Done;
        }
        if self.servers[to].end < at {
            return plan::Outcome::NotDone("it has not all".to_owned());
        }
        if self.state.served_primary().is_some() {
            self.fail("a switchover promotes while clients are let in");
        }
        let (node, committed) = self.committed;
        if node == from && self.servers[to].end < committed {
            self.fail("a switchover loses a commit");
        }
        self.become_primary(to);
        plan::Outcome::Done
    }

    fn allow_writes(&mut self, switch: Switch) -> plan::Outcome {
        let (from, to) = (usize::from(switch.from.0), usize::from(switch.to.0));
        if switch.is_unsure && !self.answers(to) {
            return plan::Outcome::Failed("nobody knows what the other is".to_owned());
        }
        if switch.is_unsure && !self.servers[to].in_recovery {
            return plan::Outcome::NotDone("the other is the primary".to_owned());
        }
        if !self.answers(from) {
            return plan::Outcome::Failed("no answer".to_owned());
        }
        self.servers[from].is_read_only = false;
        plan::Outcome::Done
    }

    /// Checks all that must hold at the moment of a promotion, by what pgring could know.
    fn check_promotion(&self, id: usize) {
        let is_known = |since: Option<u64>| since.is_some_and(|since| self.now - since > KNOWN_US);
        let chosen = &self.servers[id];
        for (other, server) in self.servers.iter().enumerate() {
            let is_usable = self.state.views()[other].status.is_usable();
            if other == id || !is_known(server.reachable_since) || !is_usable {
                continue;
            }
            if is_known(server.hears_since) {
                self.fail(&format!("{id} is promoted while {other} hears a primary"));
            }
            let is_peer = server.in_recovery && server.timeline() == chosen.timeline();
            let is_old = self.now - server.grown_us > KNOWN_US;
            if is_peer && server.end > chosen.end && is_old {
                self.fail(&format!("{id} is promoted, which is behind {other}"));
            }
        }
        if chosen.end < self.acknowledged {
            self.fail(&format!(
                "{id} is promoted at {}, and a client was told of {}",
                chosen.end, self.acknowledged
            ));
        }
    }

    /// Checks all that must hold at any time.
    fn check(&mut self) {
        let Some(primary) = self.state.primary() else {
            return;
        };
        let timeline = self.state.timeline_of(primary);
        if let Some((before, last)) = self.accepted
            && (timeline < last || timeline == last && primary != before)
        {
            self.fail(&format!(
                "{primary:?} takes writes on timeline {timeline}, and {before:?} did on {last}"
            ));
        }
        self.accepted = Some((primary, timeline));
    }

    /// pgring is started with what it has kept. Nobody hears the answers to the one before.
    fn restart(&mut self) {
        let is_step = |sent: &(u64, Sent)| matches!(sent.1, Sent::Step(_));
        self.sent.retain(is_step);
        self.state = fresh();
        self.state.remember_timeline(self.kept.timeline);
        let ids: Vec<_> = self.state.ids().collect();
        for (id, (_, remembered)) in ids.into_iter().zip(&self.kept.nodes) {
            self.state.remember(id, remembered);
        }
        let kept = &self.kept;
        let (primary, stood) = (kept.primary, (kept.phase.clone(), kept.stopped));
        self.state
            .remember_failover(primary, &kept.synchronous, stood, self.now);
    }

    fn heal(&mut self) {
        self.note("everything is well again".to_owned());
        self.cut = [false; NODES];
        self.cut_between = [[false; NODES]; NODES];
        for server in &mut self.servers {
            (server.is_running, server.is_hanging) = (true, false);
        }
    }
}

fn keep(state: &ClusterState) -> Kept {
    Kept {
        nodes: state.to_remember(),
        timeline: state.timeline(),
        primary: state.last_primary(),
        synchronous: state.synchronous().to_owned(),
        phase: state.planner().phase().clone(),
        stopped: state.planner().stopped(),
    }
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..20 {
        world.turn(false);
    }
    for _ in 0..WILD {
        world.turn(true);
    }
    world.heal();
    for _ in 0..CALM {
        world.turn(false);
    }
    if world.state.planner().phase().is_under_way() {
        let phase = world.state.planner().phase().clone();
        world.fail(&format!("it never ends: {phase:?}"));
    }
    let served = world.state.served_primary().map(|it| usize::from(it.0));
    if served.is_some_and(|served| world.servers[served].is_read_only) {
        world.fail("the primary takes no writes for ever");
    }
}

/// The number in an environment variable.
#[allow(
    clippy::disallowed_methods,
    reason = "a test's seed is no configuration"
)]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|it| it.parse().ok())
}

#[test]
fn a_lost_primary_is_replaced_once_by_the_best_and_never_while_it_lives() {
    if let Some(seed) = number("PGRING_SEED") {
        return run(seed);
    }
    let count = number("PGRING_SEEDS").unwrap_or(300);
    (0..count).for_each(run);
}

/// The usual case: the primary is gone for good, and everything else is well.
#[test]
fn a_primary_that_is_gone_is_replaced_and_all_follow() {
    for seed in 0..50 {
        let mut world = World::new(seed);
        for _ in 0..20 {
            world.turn(false);
        }
        world.crash(0);
        world.note("0 crashes for good".to_owned());
        for _ in 0..200 {
            world.turn(false);
        }
        let phase = world.state.planner().phase().clone();
        let Phase::Done { chosen, .. } = phase else {
            world.fail(&format!("it is not replaced: {phase:?}"));
        };
        if world.state.primary() != Some(chosen.node) {
            world.fail("it is done, and nobody takes writes");
        }
        let other = 3 - usize::from(chosen.node.0);
        if !world.servers[other].is_connected || !world.state.views()[other].takes_reads {
            world.fail("the other standby does not follow");
        }
    }
}

/// The usual case of a switchover: all is well, and goes on at the other node.
#[test]
fn a_switchover_makes_another_node_the_primary_and_loses_nothing() {
    for seed in 0..50 {
        let mut world = World::new(seed);
        for _ in 0..20 {
            world.turn(false);
        }
        let to = NodeId(1 + (seed % 2) as u16);
        world.on(Event::Ordered(FailoverOrder::SwitchOver(to)));
        for _ in 0..400 {
            world.turn(false);
        }
        let phase = world.state.planner().phase().clone();
        let is_undone = phase == Phase::Steady && world.state.primary() == Some(NodeId(0));
        let is_done = matches!(phase, Phase::Done { chosen, .. } if chosen.node == to)
            && world.state.primary() == Some(to);
        if !is_done && !is_undone {
            world.fail(&format!("it is neither done nor undone: {phase:?}"));
        }
        if is_done && world.state.views()[0].status != Status::Quarantine {
            world.fail("the old primary is not fenced");
        }
    }
}
