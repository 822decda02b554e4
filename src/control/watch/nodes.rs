//! The nodes as the tasks of the watch share them: what is believed of each, how far it has come, and what becomes of an
//! event. Decides nothing itself, and asks nobody.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    bell::Bell, catalogs::Catalogs, dialer::Dialer, lag::Samples, lost::Lost, questions::Position,
    tail::Tail,
};
use crate::{
    cluster::{
        failover_state::FailoverOrder,
        node::{Live, Lsn},
        replies::Replies,
        settings::Settings,
    },
    control::{
        failover::phase::Step,
        keys::Deriver,
        line::Destination,
        publishing::Publishing,
        state::{ClusterState, Effect, Event, Member, Rules, view::View},
        status_file,
    },
    ids::NodeId,
    net::Reactor,
    time,
};

/// Everything that the tasks of the watch share.
pub(crate) struct Watch {
    pub(super) dialer: Rc<Dialer>,
    /// Replies of the workers.
    pub(super) replies: Rc<Replies>,
    pub(super) state: RefCell<ClusterState>,
    published: RefCell<Vec<View>>,
    samples: RefCell<Samples>,
    tail: RefCell<Tail>,
    pub(super) nodes: Vec<Watched>,
    pub(super) catalogs: Rc<Catalogs>,
    pub(super) lost: Rc<Lost>,
    status_file: status_file::Writer,
    /// Steps of a failover that nobody has begun.
    pub(super) steps: RefCell<VecDeque<Step>>,
    pub(super) on_step: Bell,
    /// Settings have changed.
    pub(super) on_reload: Bell,
    /// There is another primary, or other settings about it.
    pub(super) on_primary: Bell,
    /// Grows with each change of how nodes are looked at; lines of an older one are not used.
    pub(super) generation: Cell<u64>,
    /// Every node has had its chance to say what it is.
    surveyed: Cell<bool>,
}

/// One node, with the bells of its two tasks.
pub(super) struct Watched {
    pub(super) id: NodeId,
    pub(super) live: Arc<Live>,
    /// It is to be asked now.
    pub(super) ask: Bell,
    /// It is to be probed now.
    pub(super) probe: Bell,
    pub(super) is_being_asked: Cell<bool>,
    /// How far it had replayed or written.
    lsn: Cell<Lsn>,
    /// It had replayed what the primary had not written later.
    is_ahead: Cell<bool>,
}

impl Watch {
    /// Takes the nodes as the snapshot has them.
    pub(crate) fn new(
        reactor: Reactor,
        publishing: Rc<Publishing>,
        (deriver, replies): (Deriver, Rc<Replies>),
        state: ClusterState,
    ) -> Rc<Self> {
        let snapshot = publishing.current();
        let watched = |(place, node): (usize, &crate::cluster::node::NodeState)| Watched {
            id: NodeId(place as u16),
            live: Arc::clone(&node.live),
            ask: Bell::default(),
            probe: Bell::default(),
            is_being_asked: Cell::new(false),
            lsn: Cell::new(0),
            is_ahead: Cell::new(false),
        };
        let nodes = snapshot.nodes.iter().enumerate().map(watched).collect();
        let dialer = Rc::new(Dialer::new(reactor, publishing, deriver));
        Rc::new(Self {
            replies,
            state: RefCell::new(state),
            published: RefCell::default(),
            samples: RefCell::default(),
            tail: RefCell::default(),
            nodes,
            catalogs: Rc::new(Catalogs::new(Rc::clone(&dialer))),
            lost: Rc::new(Lost::new(Rc::clone(&dialer))),
            dialer,
            status_file: status_file::Writer::default(),
            steps: RefCell::default(),
            on_step: Bell::default(),
            on_reload: Bell::default(),
            on_primary: Bell::default(),
            generation: Cell::new(0),
            surveyed: Cell::new(false),
        })
    }

    /// True once the roles are known, or cannot be.
    pub(crate) fn is_surveyed(&self) -> bool {
        self.surveyed.get() || !self.dialer.is_on()
    }

    /// The settings have changed from these to those of the current snapshot.
    pub(crate) fn reloaded(&self, before: &Settings) {
        let snapshot = self.dialer.publishing.current();
        let settings = &snapshot.settings;
        let members = members(settings);
        self.state
            .borrow_mut()
            .set_members(members, rules(settings));
        if before.health != settings.health || before.users != settings.users {
            self.generation.set(self.generation.get() + 1);
        }
        match self.dialer.is_on() {
            true => self.publish(),
            false => self.dialer.publishing.unwatch(),
        }
        self.on_reload.ring();
        if (&before.failover, &before.health) != (&settings.failover, &settings.health) {
            self.on_primary.ring();
        }
        self.lost.look();
        self.catalogs.doubt();
        for node in &self.nodes {
            node.probe.ring();
            node.ask.ring();
        }
    }

    /// Statements of this database want its catalog, or it may have changed.
    pub(crate) fn want_catalog(&self, database: Arc<str>, user: Arc<str>) {
        self.catalogs.want(database, user);
    }

    /// Nobody may be connected to this database for now.
    pub(crate) fn vacate(&self, database: &str) {
        self.catalogs.vacate(database);
    }

    /// A commit's position was lost.
    pub(crate) fn lost_commit(&self) {
        self.lost.add();
    }

    /// A worker could not use the node.
    pub(crate) fn suspect(&self, node: NodeId) {
        match self.nodes.get(usize::from(node.0)) {
            // Nobody will look, so nobody else may say that it is well.
            Some(watched) if !self.dialer.is_on() => watched.live.trust(),
            Some(watched) => watched.probe.ring(),
            None => {}
        }
    }

    /// A client's connection was made to the node. Reads may go there once its position is known anew.
    pub(crate) fn connected(self: &Rc<Self>, node: NodeId) {
        match self.dialer.is_on() {
            true => {
                self.on(Event::Connected(node));
                if let Some(watched) = self.nodes.get(usize::from(node.0)) {
                    watched.ask.ring();
                }
            }
            false => self.dialer.publishing.connected(node),
        }
    }

    /// An operator wants this node to be the primary; an error when it cannot be.
    pub(crate) fn switch_over(self: &Rc<Self>, to: NodeId) -> Result<(), String> {
        let objection = self.state.borrow().objection_to(to);
        self.on(Event::Ordered(FailoverOrder::SwitchOver(to)));
        let name = self.state.borrow().name(to).to_owned();
        let refused = |why| Err(format!("node \"{name}\" cannot become the primary: {why}"));
        objection.map_or(Ok(()), refused)
    }

    /// Something has happened to a node. While nobody looks at the nodes, nothing follows from that.
    pub(crate) fn on(self: &Rc<Self>, event: Event) {
        let place = event.node().map(|node| usize::from(node.0));
        if place.is_some_and(|place| place >= self.nodes.len()) {
            return;
        }
        let effects = self.state.borrow_mut().on(event, time::unix_micros());
        if !self.dialer.is_on() {
            return;
        }
        for effect in effects {
            self.carry_out(effect);
        }
        self.publish();
        if !self.surveyed.get() && self.state.borrow().is_surveyed() {
            self.surveyed.set(true);
            self.dialer.publishing.surveyed();
        }
    }

    /// Time has passed, which matters while a failover is under way.
    pub(super) fn tick(self: &Rc<Self>) {
        let is_under_way = self.state.borrow().planner().phase().is_under_way();
        if is_under_way {
            self.on(Event::Tick);
        }
    }

    fn carry_out(self: &Rc<Self>, effect: Effect) {
        match effect {
            Effect::Say(true, text) => tracing::warn!("{text}"),
            Effect::Say(false, text) => tracing::info!("{text}"),
            Effect::Trust(node) => self.node(node).live.trust(),
            Effect::Suspect(node) => {
                self.node(node).live.suspect();
            }
            Effect::Ask(node) => self.node(node).ask.ring(),
            Effect::Save => {
                let snapshot = self.dialer.publishing.current();
                self.status_file
                    .save(&snapshot.settings, &self.state.borrow());
            }
            Effect::Do(step) => {
                self.steps.borrow_mut().push_back(step);
                self.on_step.ring();
            }
        }
    }

    /// True when all that was to be remembered is on the disk.
    pub(super) fn is_saved(&self) -> bool {
        self.status_file.is_written()
    }

    pub(super) fn node(&self, id: NodeId) -> &Watched {
        &self.nodes[usize::from(id.0)]
    }

    /// Tells everybody, if something that they can see has changed.
    fn publish(&self) {
        let state = self.state.borrow();
        let views = state.views();
        let same = *self.published.borrow() == views;
        let (primary, failover) = (state.served_primary(), state.failover_state());
        let current = self.dialer.publishing.current();
        if same && primary == current.primary && failover == *current.failover {
            return;
        }
        let is_new = primary.is_some() && primary != current.primary;
        self.dialer.publishing.nodes(&views, primary, &failover);
        self.published.replace(views);
        if is_new {
            self.catalogs.doubt();
            self.on_primary.ring();
        }
    }

    /// Where to go with questions that belong to no database of a client's; `None` while nobody is to look.
    pub(super) fn destination(&self, place: usize) -> Option<Destination> {
        self.dialer
            .publishing
            .destination(self.nodes[place].id, None)
    }

    /// The node has said where it is; `before` is where all were before it was asked, at `asked`. Says whether it is
    /// near enough to take reads, and whether it has more than the primary.
    pub(super) fn note_position(
        &self,
        place: usize,
        position: &Position,
        before: &[Lsn],
        asked: Instant,
    ) -> (bool, bool) {
        let now = time::now();
        let node = &self.nodes[place];
        let is_primary = self.state.borrow().primary() == Some(node.id);
        node.lsn.set(position.lsn);
        if !position.in_recovery && is_primary {
            self.samples
                .borrow_mut()
                .add(position.timeline, position.lsn, now);
            self.tail.borrow_mut().add(
                position.timeline,
                (position.lsn, position.flushed),
                position.flush_delay,
                (asked, now),
            );
            self.find_those_ahead(position, before);
        }
        let (bytes, since) = self.note_lag(place, now);
        let budgets = &self.dialer.publishing.shared().budgets;
        node.live.set_asked(budgets.micros(asked));
        (self.is_near(bytes, since), node.is_ahead.get())
    }

    /// Publishes how far it is behind.
    pub(super) fn note_lag(&self, place: usize, now: Instant) -> (u64, Duration) {
        let node = &self.nodes[place];
        let is_primary = self.state.borrow().primary() == Some(node.id);
        let (bytes, since) = match is_primary {
            true => (0, Duration::ZERO),
            false => self.samples.borrow().lag(node.lsn.get(), now),
        };
        let micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        let reached = match is_primary {
            true => node.lsn.get(),
            false => self.tail.borrow().reached(node.lsn.get()),
        };
        node.live.set_position(reached, bytes, micros);
        (bytes, since)
    }

    fn is_near(&self, bytes: u64, since: Duration) -> bool {
        let snapshot = self.dialer.publishing.current();
        let routing = &snapshot.settings.routing;
        routing.max_lag_bytes.is_none_or(|max| bytes <= max)
            && routing.max_lag.is_none_or(|max| since <= max)
    }

    /// How far each node had come, before the primary is asked.
    pub(super) fn positions(&self) -> Vec<Lsn> {
        self.nodes.iter().map(|node| node.lsn.get()).collect()
    }

    /// The primary has not come so far as these had, who were asked before it: they replay another log.
    fn find_those_ahead(&self, primary: &Position, before: &[Lsn]) {
        for (node, before) in self.nodes.iter().zip(before) {
            node.is_ahead.set(*before > primary.lsn);
        }
    }
}

/// Rules of the file, for the state.
pub(crate) fn rules(settings: &Settings) -> Rules {
    Rules {
        retries: settings.health.retries,
        failover: settings.failover,
    }
}

/// Names of the nodes in the file, for the state.
pub(crate) fn members(settings: &Settings) -> Vec<Member> {
    let member = |node: &crate::cluster::settings::NodeSettings| Member {
        name: node.name.clone(),
        application_name: node.application_name.clone(),
        priority: node.failover_priority,
    };
    settings.nodes.iter().map(member).collect()
}
