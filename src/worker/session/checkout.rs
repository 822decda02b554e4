//! A server connection for a request: from the node that takes it, now or after a wait, with the session's settings.

use std::{
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::{
    apply_settings::Unbrought,
    link::Link,
    task::{End, Session, shutting_down},
};
use crate::session::request::Request;
use crate::{
    cluster::settings::PoolMode,
    ids::NodeId,
    limits::{HOLD_LOOK_MS, POSITION_ASK_MS_MAX, POSITION_WAIT_MS, POSITION_WAIT_MS_MAX},
    net::Elapsed,
    protocol::{ErrorReport, SqlState, backend::ErrorFields},
    worker::{
        clients::{ClientState, Kill},
        pool::{
            lease::Lease,
            node_pool::Pool,
            waiter::{CheckoutError, Urgency},
        },
        route,
    },
};

/// Outcome of a look for a server connection that waits for nothing.
enum AtHand {
    /// It has its server connection.
    Linked,
    /// There is one that may refuse the session's settings, or may have less than the request must see.
    Unfit(Lease),
    /// There is none.
    Nothing,
}

/// Outcome of taking on a server connection that was found for a request.
enum Taken {
    /// The request has it, or was refused.
    Done,
    /// The server does not let the session be who it is.
    Refused(NodeId),
    /// The node may not have come as far as the request must see.
    Unproved(NodeId),
    /// Another node is about to take its place.
    Leaving,
}

/// How waiting for a node ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    /// The cluster is another one.
    Changed,
    /// The request is refused.
    Refused,
}

/// Standbys whose positions are not known for the connections that there are: for the moment another node has to do.
#[derive(Default)]
struct Unproved {
    /// A bit each.
    nodes: u64,
    /// How often nobody else was there.
    waits: u64,
    /// How often it was waited though there may be another one.
    looks: u64,
}

impl Unproved {
    fn add(&mut self, node: NodeId) {
        self.nodes |= 1 << (node.0 % 64);
    }

    /// True for as long as it takes to ask a node.
    fn is_soon(&mut self) -> bool {
        self.looks += 1;
        self.looks * POSITION_WAIT_MS <= POSITION_ASK_MS_MAX
    }

    /// Nobody else is there: true when they should be looked at once more, a moment later.
    fn may_wait(&mut self) -> bool {
        let is_it = std::mem::take(&mut self.nodes) != 0;
        self.waits += u64::from(is_it);
        is_it && self.waits * POSITION_WAIT_MS < POSITION_WAIT_MS_MAX
    }
}

impl Session {
    /// Gets a server connection with the session's settings, or has the request refused.
    #[inline]
    pub(super) async fn acquire(&mut self) -> Result<(), End> {
        if self.awaits_facts() {
            Box::pin(self.wait_for_facts()).await;
        }
        let insists = self.placement.insists_on_primary();
        let request = self.request();
        let found = match self.acquire_at_once(&request) {
            AtHand::Linked => return Ok(()),
            AtHand::Unfit(lease) => Some(lease),
            AtHand::Nothing => None,
        };
        // Who waits can afford the memory, and who does not need not have it.
        Box::pin(self.acquire_later(request, insists, found)).await
    }

    /// True when its statements cannot be judged yet, and soon can: nothing was ever known of the database, or the session
    /// itself has changed it.
    #[inline]
    fn awaits_facts(&self) -> bool {
        if self.bounds.trusts_functions || self.pools.mode() == PoolMode::Session {
            return false;
        }
        let (shared, now) = (&self.worker.shared, self.worker.reactor.now());
        let classifier = &self.pools.classifier;
        classifier.is_behind(shared, now, self.made_schema)
    }

    /// Waits for what the control core finds, for a bounded time.
    #[cold]
    async fn wait_for_facts(&mut self) {
        let start = self.worker.reactor.now();
        while self.awaits_facts() {
            let limit = start + self.pools.classifier.patience();
            if self.worker.reactor.now() > limit || self.info.kill.get() == Some(Kill::Stop) {
                self.pools.classifier.give_up();
                break;
            }
            self.worker.reactor.sleep(Duration::from_millis(1)).await;
            self.pools.keep_up(&self.worker);
        }
        // Whatever is not known now is feared.
        self.made_schema = 0;
    }

    /// Gets a server connection if one is at hand and nothing is to be waited for.
    #[inline]
    fn acquire_at_once(&mut self, request: &Request) -> AtHand {
        let Some(node) = self.place(request, 0) else {
            return AtHand::Nothing;
        };
        let pool = self.pools.pool(&self.worker, node);
        let Some(lease) = self.connection_at_hand(&pool) else {
            return AtHand::Nothing;
        };
        if !self.is_proved_for(&lease, request) {
            return AtHand::Unfit(lease);
        }
        self.hold_to_what_was_told(&lease);
        if lease
            .backend()
            .differs(&self.parameters.current, self.owner())
            && self.may_be_refused(&lease)
        {
            return AtHand::Unfit(lease);
        }
        self.link(lease, request);
        AtHand::Linked
    }

    /// `insists`: the request needs the primary, whatever is known of it.
    async fn acquire_later(
        &mut self,
        mut request: Request,
        insists: bool,
        mut found: Option<Lease>,
    ) -> Result<(), End> {
        let (mut held_since, mut avoid) = (None, 0);
        let mut unproved = Unproved::default();
        loop {
            if let Some(lease) = found.take() {
                match self.take_on(lease, &request).await? {
                    Taken::Done => return Ok(()),
                    Taken::Leaving => {}
                    // It was opened just now, most likely, and is being asked.
                    Taken::Unproved(_) if unproved.is_soon() => self.wait_for_position().await,
                    Taken::Unproved(node) => unproved.add(node),
                    // A standby may not know of a new role yet.
                    Taken::Refused(node) if self.is_elsewhere(node) => request = Request::Write,
                    Taken::Refused(_) => {
                        self.conversation.refuse(identity_is_gone());
                        return Ok(());
                    }
                }
            }
            let Some(node) = self.place(&request, avoid | unproved.nodes) else {
                if unproved.may_wait() {
                    self.wait_for_position().await;
                    continue;
                }
                match Box::pin(self.hold(&mut held_since)).await? {
                    Held::Changed if insists => continue,
                    Held::Changed => {
                        // By what is known of the database by now it may be a proven read.
                        request = self.request();
                        continue;
                    }
                    Held::Refused => return Ok(()),
                }
            };
            let pool = self.pools.pool(&self.worker, node);
            found = match self.connection_at_hand(&pool) {
                None if self.is_better_at_primary(&pool) => {
                    request = Request::Write;
                    continue;
                }
                Some(lease) => Some(lease),
                None => match self.wait_for_server(&pool).await {
                    Ok(lease) if self.info.cancel.is_dequeued() => {
                        lease.into_iter().for_each(Lease::release);
                        let why = self.why_cancelled();
                        self.conversation.refuse(why);
                        return Ok(());
                    }
                    Ok(Some(lease)) => Some(lease),
                    Ok(None) if self.info.kill.get() == Some(Kill::Stop) => {
                        return Err(shutting_down());
                    }
                    Ok(None) => return Err(End::Done),
                    Err(CheckoutError::Moved) => continue,
                    // Another node may take what this one cannot.
                    Err(CheckoutError::Unreachable(_) | CheckoutError::Refused(_))
                        if self.is_elsewhere(node) =>
                    {
                        avoid |= 1 << (node.0 % 64);
                        continue;
                    }
                    Err(error) => {
                        self.conversation.refuse(statement_error(error));
                        return Ok(());
                    }
                },
            };
        }
    }

    /// Gives back a connection that was not used.
    #[cold]
    fn put_back(&mut self, lease: Lease) {
        match self.kept.is_on() {
            true => self.keep(lease),
            false => lease.release(),
        }
    }

    /// True when it is not the primary that was to take the request.
    fn is_elsewhere(&self, node: NodeId) -> bool {
        self.worker
            .with_snapshot(|snapshot| snapshot.primary != Some(node))
    }

    /// A server connection has been found.
    async fn take_on(&mut self, mut lease: Lease, request: &Request) -> Result<Taken, End> {
        let node = lease.backend().info.node;
        if !self.is_proved_for(&lease, request) {
            self.put_back(lease);
            return Ok(Taken::Unproved(node));
        }
        self.hold_to_what_was_told(&lease);
        if self.may_be_refused(&lease) {
            lease = match Box::pin(self.bring(lease)).await {
                Ok(lease) => lease,
                Err(Unbrought::Refused(_))
                    if self.parameters.current.has_identity() || self.is_elsewhere(node) =>
                {
                    return Ok(Taken::Refused(node));
                }
                Err(Unbrought::Refused(error)) => return Err(settings_refused(error.as_deref())),
                Err(Unbrought::NoConnection(error)) => {
                    self.conversation.refuse(statement_error(error));
                    return Ok(Taken::Done);
                }
            };
            // Meanwhile the cluster may have become another one ...
            if self
                .worker
                .with_snapshot(|snapshot| snapshot.is_leaving(node))
            {
                self.put_back(lease);
                return Ok(Taken::Leaving);
            }
            // ... and this another connection.
            if !self.is_proved_for(&lease, request) {
                self.put_back(lease);
                return Ok(Taken::Unproved(node));
            }
        }
        self.link(lease, request);
        Ok(Taken::Done)
    }

    async fn wait_for_position(&self) {
        let pause = Duration::from_millis(POSITION_WAIT_MS);
        self.worker.reactor.sleep(pause).await;
    }

    /// No node can take the request: waits until the cluster has changed, for a bounded time.
    #[cold]
    async fn hold(&mut self, since: &mut Option<Instant>) -> Result<Held, End> {
        let (epoch, limit) = self
            .worker
            .with_snapshot(|snapshot| (snapshot.epoch, snapshot.settings.failover.hold));
        let now = self.worker.reactor.now();
        let deadline = *since.get_or_insert(now) + limit;
        self.begin_waiting();
        let worker = Rc::clone(&self.worker);
        let (client, info) = (&self.client, &self.info);
        let changed = poll_fn(|context| {
            info.waker.register(context);
            if worker.with_snapshot(|snapshot| snapshot.epoch) != epoch {
                return Poll::Ready(Some(Held::Changed));
            }
            if info.kill.get() == Some(Kill::Stop) || info.cancel.is_dequeued() {
                return Poll::Ready(Some(Held::Refused));
            }
            client.poll_broken(context).map(|()| None)
        });
        // What is known of the database may be others' news.
        let look = deadline.min(now + Duration::from_millis(HOLD_LOOK_MS));
        let held = worker.reactor.deadline(look, changed).await;
        self.end_waiting();
        match held {
            Ok(Some(Held::Changed)) => return Ok(Held::Changed),
            Ok(Some(Held::Refused)) if self.info.cancel.is_dequeued() => {
                let why = self.why_cancelled();
                self.conversation.refuse(why);
            }
            Ok(Some(Held::Refused)) => return Err(shutting_down()),
            Ok(None) => return Err(End::Done),
            Err(Elapsed) if self.worker.reactor.now() < deadline => return Ok(Held::Changed),
            Err(Elapsed) => self.conversation.refuse(route::no_node()),
        }
        Ok(Held::Refused)
    }

    fn begin_waiting(&mut self) {
        self.info.state.set(ClientState::Waiting);
        self.info.cancel.clear();
        self.intake.pending.detach();
    }

    fn end_waiting(&self) {
        self.info.state.set(ClientState::Idle);
    }

    #[cold]
    async fn wait_for_server(&mut self, pool: &Rc<Pool>) -> Result<Option<Lease>, CheckoutError> {
        self.begin_waiting();
        let (client, info) = (&self.client, &self.info);
        let gone = |context: &Context<'_>| {
            info.waker.register(context);
            if info.kill.get() == Some(Kill::Stop) || info.cancel.is_dequeued() {
                Poll::Ready(())
            } else {
                // Whose sending half is closed has said its last word, and is still there to hear.
                client.poll_broken(context)
            }
        };
        let lease = pool.checkout(&self.worker, Urgency::Statement, gone).await;
        self.end_waiting();
        lease
    }

    /// The connection is the session's, for this request.
    #[inline]
    fn link(&mut self, lease: Lease, request: &Request) {
        let mut link = Link::new(lease);
        self.begin_purpose(&mut link, request);
        self.send_settings(&mut link.lease);
        self.info
            .server
            .replace(Some(Rc::clone(&link.backend().info)));
        self.info.state.set(ClientState::Active);
        self.link = Some(link);
    }
}

/// A new server connection does not take the session's settings. `error`: the body of what the server said.
pub(super) fn settings_refused(error: Option<&[u8]>) -> End {
    let fields = error.and_then(|body| ErrorFields::read(body).ok());
    let message = fields.map(|fields| String::from_utf8_lossy(fields.message()).into_owned());
    let report = ErrorReport::fatal(
        SqlState::CONNECTION_FAILURE,
        "the session's settings could not be carried to another server connection",
    );
    End::Told(match message {
        Some(message) => report.with_detail(format!("the server said: {message}")),
        None => report,
    })
}

/// The role or session user that a session had taken cannot be taken any more.
fn identity_is_gone() -> ErrorReport {
    ErrorReport::error(
        SqlState::INSUFFICIENT_PRIVILEGE,
        "the server does not let this session be who it was",
    )
    .with_detail("Its role or session user may have been dropped, or its membership revoked.")
    .with_hint("Use SET ROLE or RESET ROLE in a new session.")
}

/// Error for a statement that no server takes.
fn statement_error(error: CheckoutError) -> ErrorReport {
    match error {
        CheckoutError::Own(report) | CheckoutError::Unreachable(report) => report,
        CheckoutError::Moved => route::no_node(),
        CheckoutError::Refused(body) => {
            let fields = ErrorFields::read(&body).ok();
            let sqlstate = fields
                .and_then(|fields| fields.sqlstate())
                .unwrap_or(SqlState::CANNOT_CONNECT_NOW);
            let message = fields.map_or_else(String::new, |fields| {
                String::from_utf8_lossy(fields.message()).into_owned()
            });
            ErrorReport::error(sqlstate, message)
                .with_detail("The server refused a new connection.")
        }
    }
}
