//! The main future of a worker core: submit, sleep, turn completions into wake-ups, let tasks run.
//!
//! The meaning of a completion is told in `accept`, `connect`, `receive`, `send` and `close`; this file owns the
//! turn, and never looks at a byte.

use std::{
    future::Future,
    io,
    rc::Rc,
    time::{Duration, Instant},
};

use super::{
    core::{Core, Reactor},
    ring::{
        buffers::Buffers,
        operation::Operation,
        probe::{self, ProbeError},
        uring::{Completion, Ring, Wait},
        wake::WakeHandle,
    },
    task,
    timer::{self, Elapsed, Sleep},
};
use crate::{
    limits::{
        CLIENT_BUFFER_BYTES, REGISTERED_DESCRIPTORS_MAX, SERVER_BUFFER_BYTES, TASK_ROUNDS_MAX,
    },
    time,
};

/// Memory for receive buffers of one worker, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct BufferSizes {
    /// For clients.
    pub client: usize,
    /// For servers.
    pub server: usize,
}

/// A time against which a turn is short.
const FAR: Duration = Duration::from_millis(20);

impl Reactor {
    /// Sets up the ring of the calling thread. `wake` is how other threads reach it.
    pub fn new(sizes: BufferSizes, wake: WakeHandle) -> Result<Self, ProbeError> {
        let ring = Ring::new().map_err(probe::ring_refused)?;
        probe::operations(&ring)?;
        let registered_max = match probe::table_lets_go() {
            true => ring.make_table(REGISTERED_DESCRIPTORS_MAX),
            false => Ok(0),
        }
        .map_err(probe::table_refused)?;
        let register = |group, bytes, total| {
            Buffers::register(&ring, group, bytes, total).map_err(probe::buffers_refused)
        };
        let client_buffers = register(0, CLIENT_BUFFER_BYTES, sizes.client)?;
        let server_buffers = register(1, SERVER_BUFFER_BYTES, sizes.server)?;
        let core = Core::new(ring, registered_max, client_buffers, server_buffers, wake);
        let reactor = Self {
            core: Rc::new(core),
        };
        reactor.core.watch_wake();
        Ok(reactor)
    }

    /// Runs the core until `done` says so, which it is asked once a turn.
    pub async fn run(&self, mut done: impl FnMut() -> bool) -> io::Result<()> {
        let mut completions = Vec::with_capacity(256);
        loop {
            // Tasks that wake tasks get a few rounds before the next system call, but cannot keep I/O waiting.
            for _ in 0..TASK_ROUNDS_MAX {
                if !task::run_all() {
                    break;
                }
            }
            if done() {
                return Ok(());
            }
            self.core.turn(&mut completions)?;
        }
    }

    /// The time at which this turn began; costs no system call.
    #[inline]
    pub fn now(&self) -> Instant {
        self.core.now.get()
    }

    /// Ends at `deadline`.
    pub fn sleep_until(&self, deadline: Instant) -> Sleep {
        Sleep::new(Rc::clone(&self.core.timers), deadline)
    }

    /// Ends after `time`.
    pub fn sleep(&self, time: Duration) -> Sleep {
        self.sleep_until(time::now() + time)
    }

    /// `future`'s value, unless `deadline` comes first; then it is dropped.
    pub async fn deadline<T>(
        &self,
        deadline: Instant,
        future: impl Future<Output = T>,
    ) -> Result<T, Elapsed> {
        timer::first(self.sleep_until(deadline), future).await
    }

    /// Ends when another thread called [`WakeHandle::wake`] since the last time.
    pub async fn woken(&self) {
        std::future::poll_fn(|context| {
            if self.core.latch.is_set.take() {
                return std::task::Poll::Ready(());
            }
            self.core.latch.waker.register(context);
            std::task::Poll::Pending
        })
        .await;
    }

    /// Makes the task behind `context` hear of what happens to parked streams.
    pub fn keep_parked(&self, context: &std::task::Context<'_>) {
        self.core.keeper.register(context);
    }

    /// Wakes the task that looks after parked streams.
    pub fn wake_keeper(&self) {
        self.core.keeper.wake();
    }

    /// True when something is to be sent that the next turn will start to send.
    pub fn has_queued_sends(&self) -> bool {
        !self.core.queued.borrow().is_empty()
    }

    /// Sockets in the table, those being closed included.
    pub fn sockets(&self) -> usize {
        self.core.sockets()
    }

    /// Receive buffers that nobody holds, of all there are: clients, then servers.
    pub fn free_buffers(&self) -> [(usize, usize); 2] {
        [&self.core.client_buffers, &self.core.server_buffers]
            .map(|buffers| (buffers.free(), buffers.count()))
    }
}

impl Core {
    /// One turn: everything queued goes out, then sleep, then completions become wake-ups.
    fn turn(self: &Rc<Self>, completions: &mut Vec<Completion>) -> io::Result<()> {
        self.settle_unread();
        self.feed_starved();
        self.client_buffers.offer();
        self.server_buffers.offer();
        self.start_sends();
        self.enter(completions)?;
        self.submitted();
        self.now.set(time::now());
        for completion in completions.drain(..) {
            self.dispatch(completion);
        }
        self.finish_instant_sends();
        self.timers.expire(self.now.get());
        Ok(())
    }

    /// Submits everything and sleeps. The sends of this turn are decided when it returns, because the kernel
    /// has taken every entry by then.
    fn enter(&self, completions: &mut Vec<Completion>) -> io::Result<()> {
        let mut wait = self.wait();
        let mut ring = self.ring.borrow_mut();
        loop {
            ring.enter(wait)?;
            ring.drain(completions);
            if ring.is_submitted() {
                return Ok(());
            }
            wait = Wait::No;
        }
    }

    /// How long this turn may sleep.
    fn wait(&self) -> Wait {
        if task::any_runnable() || self.sends.borrow().are_awaited {
            return Wait::No;
        }
        match self.timers.first() {
            None => Wait::Forever,
            Some(deadline) => match deadline.saturating_duration_since(self.now.get()) {
                // It is late by what this turn takes: nobody reads the clock for so little.
                time if time >= FAR => Wait::For(time),
                _ => match deadline.saturating_duration_since(time::now()) {
                    Duration::ZERO => Wait::No,
                    time => Wait::For(time),
                },
            },
        }
    }

    fn dispatch(self: &Rc<Self>, completion: Completion) {
        match Operation::of(completion.user_data) {
            Operation::Ignored => {}
            Operation::Registered => assert!(
                completion.result >= 0,
                "the ring's table has a place for each slot"
            ),
            Operation::Accept => self.accepted(completion),
            Operation::Wake => self.rung(completion),
            operation => self.dispatch_socket(operation, completion),
        }
    }

    fn dispatch_socket(self: &Rc<Self>, operation: Operation, completion: Completion) {
        let socket = self.socket_of(completion.user_data);
        match operation {
            Operation::Receive => self.received(&socket, completion),
            Operation::Send => self.sent(&socket, completion.result),
            _ => self.connected(&socket, completion.result),
        }
        self.try_finish_close(&socket);
    }

    /// Arms the watch on the event descriptor of other threads.
    fn watch_wake(&self) {
        let entry = io_uring::opcode::PollAdd::new(
            io_uring::types::Fd(self.latch.handle.raw()),
            libc::POLLIN as u32,
        )
        .multi(true)
        .build()
        .user_data((Operation::Wake as u64) << 60);
        // SAFETY: the entry names no memory, and the handle keeps the descriptor open.
        unsafe { self.push(&entry) }
    }

    fn rung(&self, completion: Completion) {
        self.latch.handle.reset();
        self.latch.is_set.set(true);
        self.latch.waker.wake();
        if !completion.more() {
            self.watch_wake();
        }
    }
}
