//! One task for each node that asks it what it is and how far it has come, over a connection that stays open;
//! and one that keeps time for all of them.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use super::{
    nodes::Watch,
    questions::{FACTS, POSITION, Position, Reading},
};
use crate::{
    cluster::node::Lsn,
    control::{
        line::{Line, LineError},
        state::{Event, NodeAnswer, NodeFacts},
    },
    limits::FACTS_MS,
    time,
};

/// Has all nodes asked, each `[routing] replay_poll`, and lets the lag of those grow that do not answer.
pub(super) async fn keep_time(watch: Rc<Watch>) {
    loop {
        if !watch.dialer.is_on() {
            watch.on_reload.heard().await;
            continue;
        }
        let now = time::now();
        watch.tick();
        for (place, node) in watch.nodes.iter().enumerate() {
            if !watch.state.borrow().is_asked(node.id) {
                continue;
            }
            match node.is_being_asked.get() {
                true => drop(watch.note_lag(place, now)),
                false => node.ask.ring(),
            }
        }
        let period = watch
            .dialer
            .publishing
            .current()
            .settings
            .routing
            .replay_poll;
        let due = now + period;
        let _reloaded = watch
            .dialer
            .reactor
            .deadline(due, watch.on_reload.heard())
            .await;
    }
}

/// The connection to one node, and when to try again when there is none.
#[derive(Default)]
struct Asker {
    line: Option<Line>,
    /// As of which way of looking.
    generation: u64,
    failures: u32,
    rest_until: Option<Instant>,
    facts_asked: Option<Instant>,
}

/// Asks the node at this place whenever its bell rings.
pub(super) async fn run(watch: Rc<Watch>, place: usize) {
    let node = &watch.nodes[place];
    let mut asker = Asker::default();
    loop {
        node.ask.heard().await;
        node.is_being_asked.set(true);
        asker.ask(&watch, place).await;
        node.is_being_asked.set(false);
    }
}

impl Asker {
    async fn ask(&mut self, watch: &Rc<Watch>, place: usize) {
        let now = time::now();
        let id = watch.nodes[place].id;
        let is_asked = watch.dialer.is_on() && watch.state.borrow().is_asked(id);
        if !is_asked {
            self.line = None;
            return;
        }
        if self.generation != watch.generation.get() {
            *self = Self {
                generation: watch.generation.get(),
                ..Self::default()
            };
        }
        if self.rest_until.is_some_and(|until| until > now) {
            watch.note_lag(place, now);
            return;
        }
        let before = watch.positions();
        match self.try_twice(watch, place).await {
            Ok((position, facts, asked)) => {
                self.failures = 0;
                answered(watch, place, &before, (position, asked), facts);
            }
            Err(error) => {
                self.rest(watch);
                watch.note_lag(place, time::now());
                watch.on(Event::Silent(id, error.to_string()));
                let (failures, _) = watch.state.borrow().failures(id);
                if failures == 0 {
                    watch.nodes[place].probe.ring();
                }
            }
        }
    }

    /// A line that was open may have been closed for no fault of the node's.
    async fn try_twice(
        &mut self,
        watch: &Watch,
        place: usize,
    ) -> Result<(Position, Option<NodeFacts>, Instant), LineError> {
        let was_open = self.line.is_some();
        match self.try_once(watch, place).await {
            Err(LineError::Wire(_)) if was_open => self.try_once(watch, place).await,
            outcome => outcome,
        }
    }

    /// The node's answer, and when it was asked.
    async fn try_once(
        &mut self,
        watch: &Watch,
        place: usize,
    ) -> Result<(Position, Option<NodeFacts>, Instant), LineError> {
        let mut line = match self.line.take() {
            Some(line) => line,
            None => {
                self.facts_asked = None;
                let to = watch.destination(place);
                let to = to.ok_or(LineError::Nonsense("nobody is to look any more"))?;
                watch.dialer.open(&to).await?
            }
        };
        let start = time::now();
        let due = |asked: Instant| start >= asked + Duration::from_millis(FACTS_MS);
        let wants_facts = self.facts_asked.is_none_or(due);
        let mut reading = Reading::default();
        let sql = match wants_facts {
            true => [POSITION, FACTS].concat(),
            false => POSITION.to_owned(),
        };
        line.ask(&sql, |statement, row| reading.row(statement, row))
            .await?;
        let position = reading.position.ok_or(LineError::Nonsense("no row"))?;
        if wants_facts {
            self.facts_asked = Some(start);
        } else {
            let took = time::now().saturating_duration_since(start).as_micros();
            let micros = u64::try_from(took).unwrap_or(u64::MAX);
            watch.nodes[place].live.set_latency(micros);
        }
        self.line = Some(line);
        Ok((position, reading.facts, start))
    }

    fn rest(&mut self, watch: &Watch) {
        let snapshot = watch.dialer.publishing.current();
        let health = &snapshot.settings.health;
        let first = snapshot.settings.routing.replay_poll;
        let pause = first.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        self.rest_until = Some(time::now() + pause.min(health.period.max(first)));
    }
}

fn answered(
    watch: &Rc<Watch>,
    place: usize,
    before: &[Lsn],
    (position, asked): (Position, Instant),
    facts: Option<NodeFacts>,
) {
    let (is_near, is_ahead) = watch.note_position(place, &position, before, asked);
    let age = time::now().saturating_duration_since(asked);
    let answer = NodeAnswer {
        in_recovery: position.in_recovery,
        lsn: position.lsn,
        timeline: position.timeline,
        asked_us: time::unix_micros().saturating_sub(age.as_micros() as u64),
        received: position.received,
        receiver: position.receiver,
        is_near,
        is_ahead,
        facts,
    };
    watch.on(Event::Answered(watch.nodes[place].id, answer));
}
