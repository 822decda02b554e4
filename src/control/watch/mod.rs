//! The shell around the beliefs: tasks that probe and ask, and what becomes of their answers. Decides nothing
//! itself; without a `[health]` user it does nothing at all.

mod asking;
mod bell;
mod catalogs;
mod lag;
mod lost;
mod probing;
mod questions;
mod tail;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use self::{
    bell::Bell, catalogs::Catalogs, lag::Samples, lost::Lost, questions::Position, tail::Tail,
};
use super::{
    keys::Deriver,
    line::Destination,
    publishing::Publishing,
    state::{Effect, Event, Member, Outcome, State, View},
    status_file,
};
use crate::{
    cluster::{
        node::{Live, Lsn},
        settings::Settings,
    },
    ids::NodeId,
    net::{Reactor, task},
    time,
};

/// Everything that the tasks of the watch share.
pub(super) struct Watch {
    reactor: Reactor,
    publishing: Rc<Publishing>,
    deriver: Deriver,
    state: RefCell<State>,
    published: RefCell<Vec<View>>,
    samples: RefCell<Samples>,
    tail: RefCell<Tail>,
    nodes: Vec<Watched>,
    catalogs: Catalogs,
    lost: Lost,
    status_file: status_file::Writer,
    /// Settings have changed.
    on_reload: Bell,
    /// Grows with each change of how nodes are looked at; lines of an older one are not used.
    generation: Cell<u64>,
    /// Every node has had its chance to say what it is.
    surveyed: Cell<bool>,
}

/// What belongs to the tasks of one node.
struct Watched {
    id: NodeId,
    live: Arc<Live>,
    /// It is to be asked now.
    ask: Bell,
    /// It is to be probed now.
    probe: Bell,
    is_being_asked: Cell<bool>,
    /// How far it had replayed or written.
    lsn: Cell<Lsn>,
    /// It had replayed what the primary had not written later.
    is_ahead: Cell<bool>,
}

impl Watch {
    /// Takes the nodes as the snapshot has them.
    pub(super) fn new(
        reactor: Reactor,
        publishing: Rc<Publishing>,
        deriver: Deriver,
        state: State,
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
        Rc::new(Self {
            reactor,
            publishing,
            deriver,
            state: RefCell::new(state),
            published: RefCell::default(),
            samples: RefCell::default(),
            tail: RefCell::default(),
            nodes,
            catalogs: Catalogs::default(),
            lost: Lost::default(),
            status_file: status_file::Writer::default(),
            on_reload: Bell::default(),
            generation: Cell::new(0),
            surveyed: Cell::new(false),
        })
    }

    /// Starts its tasks. They sleep for good until there is a user to look as.
    pub(super) fn start(self: &Rc<Self>) {
        task::spawn(asking::keep_time(Rc::clone(self)));
        task::spawn(catalogs::run(Rc::clone(self)));
        task::spawn(lost::run(Rc::clone(self)));
        for place in 0..self.nodes.len() {
            task::spawn(asking::run(Rc::clone(self), place));
            task::spawn(probing::run(Rc::clone(self), place));
        }
    }

    /// True when nodes are looked at.
    pub(super) fn is_on(&self) -> bool {
        is_watched(&self.publishing.current().settings)
    }

    /// True once the roles are known, or cannot be.
    pub(super) fn is_surveyed(&self) -> bool {
        self.surveyed.get() || !self.is_on()
    }

    /// The settings have changed from these to those of the current snapshot.
    pub(super) fn reloaded(&self, before: &Settings) {
        let snapshot = self.publishing.current();
        let settings = &snapshot.settings;
        let members = members(settings);
        self.state
            .borrow_mut()
            .set_members(members, settings.health.retries);
        if before.health != settings.health || before.users != settings.users {
            self.generation.set(self.generation.get() + 1);
        }
        match is_watched(settings) {
            true => self.publish(),
            false => self.publishing.unwatch(),
        }
        self.on_reload.ring();
        self.look_for_lost();
        self.doubt_catalogs();
        for node in &self.nodes {
            node.probe.ring();
            node.ask.ring();
        }
    }

    /// A worker could not use the node.
    pub(super) fn suspect(&self, node: NodeId) {
        match self.nodes.get(usize::from(node.0)) {
            // Nobody will look, so nobody else may say that it is well.
            Some(watched) if !self.is_on() => watched.live.trust(),
            Some(watched) => watched.probe.ring(),
            None => {}
        }
    }

    /// A client's connection was made to the node. Reads may go there once its position is known anew.
    pub(super) fn connected(&self, node: NodeId) {
        match self.is_on() {
            true => {
                self.on(Event::Connected(node));
                if let Some(watched) = self.nodes.get(usize::from(node.0)) {
                    watched.ask.ring();
                }
            }
            false => self.publishing.connected(node),
        }
    }

    /// Something has happened to a node. While nobody looks at the nodes, nothing follows from that.
    pub(super) fn on(&self, event: Event) {
        if usize::from(event.node().0) >= self.nodes.len() {
            return;
        }
        let effects = self.state.borrow_mut().on(event, time::unix_micros());
        if !self.is_on() {
            return;
        }
        for effect in effects {
            self.carry_out(effect);
        }
        self.publish();
        if !self.surveyed.get() && self.state.borrow().is_surveyed() {
            self.surveyed.set(true);
            self.publishing.surveyed();
        }
    }

    fn carry_out(&self, effect: Effect) {
        match effect {
            Effect::Say(true, text) => tracing::warn!("{text}"),
            Effect::Say(false, text) => tracing::info!("{text}"),
            Effect::Trust(node) => self.node(node).live.trust(),
            Effect::Suspect(node) => {
                self.node(node).live.suspect();
            }
            Effect::Ask(node) => self.node(node).ask.ring(),
            Effect::Save => {
                let snapshot = self.publishing.current();
                self.status_file
                    .save(&snapshot.settings, &self.state.borrow());
            }
        }
    }

    fn node(&self, id: NodeId) -> &Watched {
        &self.nodes[usize::from(id.0)]
    }

    /// Tells everybody, if something that they can see has changed.
    fn publish(&self) {
        let state = self.state.borrow();
        let views = state.views();
        let same = *self.published.borrow() == views;
        let primary = state.primary();
        if same && primary == self.publishing.current().primary {
            return;
        }
        let is_new = primary.is_some() && primary != self.publishing.current().primary;
        self.publishing.nodes(&views, primary);
        self.published.replace(views);
        if is_new {
            self.doubt_catalogs();
        }
    }

    /// Where to go with questions that belong to no database of a client's; `None` while nobody is to look.
    fn destination(&self, place: usize) -> Option<Destination> {
        self.publishing.destination(self.nodes[place].id, None)
    }

    /// The node has said where it is; `before` is where all were before it was asked, at `asked`. Says whether it is
    /// near enough to take reads, and whether it has more than the primary.
    fn note_position(
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
        let budgets = &self.publishing.shared().budgets;
        node.live.set_asked(budgets.micros(asked));
        (self.is_near(bytes, since), node.is_ahead.get())
    }

    /// Publishes how far it is behind.
    fn note_lag(&self, place: usize, now: Instant) -> (u64, Duration) {
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
        let snapshot = self.publishing.current();
        let routing = &snapshot.settings.routing;
        routing.max_lag_bytes.is_none_or(|max| bytes <= max)
            && routing.max_lag.is_none_or(|max| since <= max)
    }

    /// How far each node had come, before the primary is asked.
    fn positions(&self) -> Vec<Lsn> {
        self.nodes.iter().map(|node| node.lsn.get()).collect()
    }

    /// The primary has not come so far as these had, who were asked before it: they replay another log.
    fn find_those_ahead(&self, primary: &Position, before: &[Lsn]) {
        for (node, before) in self.nodes.iter().zip(before) {
            node.is_ahead.set(*before > primary.lsn);
        }
    }
}

/// True when there is somebody to look as.
pub(super) fn is_watched(settings: &Settings) -> bool {
    settings.health.user.is_some()
}

/// What the state needs to know of the file.
pub(super) fn members(settings: &Settings) -> Vec<Member> {
    let member = |node: &crate::cluster::settings::NodeSettings| Member {
        name: node.name.clone(),
        application_name: node.application_name.clone(),
    };
    settings.nodes.iter().map(member).collect()
}

/// What a failed look says about the node.
fn outcome_of(error: &super::line::LineError) -> Outcome {
    let text = error.to_string();
    match error.sqlstate().map(|code| code.class()) {
        // It is going down, coming up, or recovering: there is nothing to be had from it.
        Some([b'5', b'7']) | None => Outcome::Failed(text),
        Some(_) => Outcome::Refused(text),
    }
}
