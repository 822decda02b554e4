//! Servers that die, return, are promoted, split and lie dormant, by chance; and what must hold whatever happens.

use proptest::prelude::*;

use super::*;

/// A server as it really is.
#[derive(Clone, Debug)]
struct Server {
    is_running: bool,
    /// It is there, but says nothing.
    is_hanging: bool,
    in_recovery: bool,
    timeline: u32,
}

/// One event in the cluster or to pgring.
#[derive(Clone, Debug)]
enum Step {
    Die(u16),
    Start(u16),
    Hang(u16),
    Resume(u16),
    Promote(u16),
    /// It follows the newest timeline as a standby.
    Rejoin(u16),
    /// Its `standby.signal` is gone: a second primary on the same timeline.
    Split(u16),
    Probe(u16),
    Ask(u16),
    Full(u16),
    Attach(u16),
    Detach(u16),
    Connect(u16),
    Restart,
}

const NODES: u16 = 3;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let node = || 0..NODES;
    let step = prop_oneof![
        2 => node().prop_map(Step::Die),
        3 => node().prop_map(Step::Start),
        1 => node().prop_map(Step::Hang),
        2 => node().prop_map(Step::Resume),
        2 => node().prop_map(Step::Promote),
        3 => node().prop_map(Step::Rejoin),
        1 => node().prop_map(Step::Split),
        12 => node().prop_map(Step::Probe),
        16 => node().prop_map(Step::Ask),
        1 => node().prop_map(Step::Full),
        1 => node().prop_map(Step::Attach),
        1 => node().prop_map(Step::Detach),
        1 => node().prop_map(Step::Connect),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..300)
}

struct World {
    servers: Vec<Server>,
    state: ClusterState,
    now: u64,
    /// Nodes that were fenced and since then neither standbys nor attached, as far as pgring could know.
    fenced: Vec<NodeId>,
    /// The newest timeline on which a primary was served since an operator last attached something.
    newest: u32,
}

impl World {
    fn new() -> Self {
        let server = |place| Server {
            is_running: true,
            is_hanging: false,
            in_recovery: place > 0,
            timeline: 1,
        };
        Self {
            servers: (0..NODES).map(server).collect(),
            state: Stage::new().state,
            now: 0,
            fenced: Vec::new(),
            newest: 0,
        }
    }

    fn take(&mut self, step: &Step) {
        let newest = self.servers.iter().map(|it| it.timeline).max().unwrap_or(1);
        match *step {
            Step::Die(place) => self.server(place).is_running = false,
            Step::Start(place) => self.server(place).is_running = true,
            Step::Hang(place) => self.server(place).is_hanging = true,
            Step::Resume(place) => self.server(place).is_hanging = false,
            Step::Promote(place) if self.server(place).in_recovery => {
                self.server(place).in_recovery = false;
                self.server(place).timeline = newest + 1;
            }
            Step::Promote(_) => {}
            Step::Rejoin(place) => {
                self.server(place).in_recovery = true;
                self.server(place).timeline = newest;
            }
            Step::Split(place) => self.server(place).in_recovery = false,
            Step::Probe(place) => self.probe(NodeId(place)),
            Step::Ask(place) => self.ask(NodeId(place)),
            Step::Full(place) => {
                let full = Outcome::Refused("too many clients".to_owned());
                self.on(Event::Probed(NodeId(place), full));
            }
            Step::Attach(place) => self.on(Event::Attach(NodeId(place))),
            Step::Detach(place) => self.on(Event::Detach(NodeId(place), true)),
            Step::Connect(place) => self.on(Event::Connected(NodeId(place))),
            Step::Restart => self.restart(),
        }
    }

    fn server(&mut self, place: u16) -> &mut Server {
        &mut self.servers[usize::from(place)]
    }

    fn answers(&self, id: NodeId) -> bool {
        let server = &self.servers[usize::from(id.0)];
        server.is_running && !server.is_hanging
    }

    fn probe(&mut self, id: NodeId) {
        if !self.state.is_probed(id) {
            return;
        }
        let outcome = match self.answers(id) {
            true => Outcome::Well,
            false => Outcome::Failed("no answer".to_owned()),
        };
        self.on(Event::Probed(id, outcome));
    }

    fn ask(&mut self, id: NodeId) {
        if !self.state.is_asked(id) {
            return;
        }
        let server = self.servers[usize::from(id.0)].clone();
        let event = match self.answers(id) {
            false => Event::Silent(id, "no answer".to_owned()),
            true => {
                let answer = NodeAnswer {
                    in_recovery: server.in_recovery,
                    timeline: server.timeline,
                    is_near: true,
                    ..NodeAnswer::default()
                };
                if server.in_recovery {
                    self.fenced.retain(|fenced| *fenced != id);
                }
                Event::Answered(id, answer)
            }
        };
        self.on(event);
    }

    fn on(&mut self, event: Event) {
        if let Event::Attach(id) = event {
            self.fenced.retain(|fenced| *fenced != id);
            self.newest = 0;
        }
        // What is attached and fenced again in one go has changed, and looks as before.
        let is_attach = matches!(event, Event::Attach(_));
        let before = self.state.views();
        let primary_before = self.state.primary();
        self.now += 1;
        self.state.on(event, self.now);
        self.check(&before, primary_before, is_attach);
    }

    /// Checks all that must hold after every event.
    fn check(&mut self, before: &[View], primary_before: Option<NodeId>, is_attach: bool) {
        let views = self.state.views();
        let primaries = views.iter().filter(|view| view.role == Role::Primary);
        assert!(primaries.count() <= 1, "two primaries are served");
        for (id, (view, before)) in self.state.ids().zip(views.iter().zip(before)) {
            let is_primary = self.state.primary() == Some(id);
            assert_eq!(is_primary, view.role == Role::Primary);
            if view.status == Status::Quarantine && !self.fenced.contains(&id) {
                self.fenced.push(id);
            }
            assert!(
                !is_primary || !self.fenced.contains(&id),
                "a fenced node takes writes"
            );
            assert!(
                !is_primary || view.status.is_usable(),
                "an unusable node takes writes"
            );
            assert!(
                !view.takes_reads || view.status.is_usable(),
                "an unusable node is read"
            );
            // Where no primary was ever seen, standbys alone are read.
            let newest = self.state.timeline();
            assert!(!view.takes_reads || newest == 0 || view.timeline == newest);
            let changed = (view.status, view.role) != (before.status, before.role);
            assert!(
                !changed || view.since_us == self.now,
                "a change without its time"
            );
            let is_stamped = view.since_us != before.since_us;
            assert!(
                changed || is_attach || !is_stamped,
                "a time without its change"
            );
        }
        let primary = self.state.primary();
        if let Some(id) = primary.filter(|id| Some(*id) != primary_before) {
            let timeline = self.state.timeline_of(id);
            assert!(timeline >= self.newest, "an old primary takes writes again");
            self.newest = timeline;
        }
    }

    /// pgring is started anew with what its status file has.
    fn restart(&mut self) {
        let kept = self.state.to_remember();
        let timeline = self.state.timeline();
        self.state = Stage::new().state;
        self.state.remember_timeline(timeline);
        for (id, (_, remembered)) in self.state.ids().zip(kept) {
            self.state.remember(id, &remembered);
        }
    }

    /// Everything is well for long enough that everything is known.
    fn calm_down(&mut self) {
        for _ in 0..3 {
            for id in self.state.ids() {
                self.probe(id);
                self.ask(id);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_there_is_never_a_wrong_primary(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
    }

    /// And it does not take refuge in serving nobody: a cluster that is whole again is served whole.
    #[test]
    fn a_cluster_that_is_whole_again_is_served(steps in steps(), chosen in 0..NODES) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        for place in 0..NODES {
            for step in [Step::Start(place), Step::Resume(place), Step::Rejoin(place)] {
                world.take(&step);
            }
        }
        world.calm_down();
        for place in 0..NODES {
            if world.state.views()[usize::from(place)].status == Status::Unused {
                world.on(Event::Attach(NodeId(place)));
            }
        }
        world.calm_down();
        world.take(&Step::Promote(chosen));
        world.calm_down();
        for place in (0..NODES).filter(|place| *place != chosen) {
            world.take(&Step::Rejoin(place));
        }
        world.calm_down();
        prop_assert_eq!(world.state.primary(), Some(NodeId(chosen)));
        for (id, view) in world.state.ids().zip(world.state.views()) {
            prop_assert!(view.status.is_usable());
            prop_assert_eq!(view.takes_reads, id != NodeId(chosen));
        }
    }
}
