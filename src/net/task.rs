//! Tasks of a core: spawn, yield, wake. They run inside the reactor, in the order in which they were woken.
//!
//! A task stays for life on its core, so counting who holds it and putting it into the queue take no atomic
//! operation. glommio's own tasks could not: its executor runs the reactor, and the reactor runs these.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::{Future, poll_fn},
    mem::ManuallyDrop,
    pin::Pin,
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll, RawWaker, RawWakerVTable, Waker},
};

/// Tasks that wait for their turn, the next one first. Not dropped with its thread: a task that ended so late would
/// look for it, and a core ends with its process.
type Queue = ManuallyDrop<RefCell<VecDeque<Rc<dyn Run>>>>;

thread_local! {
    static QUEUE: Queue = const { ManuallyDrop::new(RefCell::new(VecDeque::new())) };
    /// The thread's number; 0 while it has no tasks.
    static HERE: Cell<u64> = const { Cell::new(0) };
}

/// The number of the thread that asks, which no other has or will have.
fn here() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    if HERE.get() == 0 {
        HERE.set(LAST.fetch_add(1, Ordering::Relaxed) + 1);
    }
    HERE.get()
}

/// A task of whatever future.
trait Run {
    /// Lets it go on up to where it waits.
    fn run(self: Rc<Self>);
}

/// One task.
struct Task<F> {
    /// The thread it belongs to.
    home: u64,
    /// It is in the queue.
    queued: Cell<bool>,
    /// `None` once it has ended.
    future: RefCell<Option<F>>,
}

impl<F: Future<Output = ()> + 'static> Run for Task<F> {
    fn run(self: Rc<Self>) {
        self.queued.set(false);
        // SAFETY: the reference that the waker stands for is `self`'s own, which outlives it; it is not dropped.
        let waker = unsafe { Waker::new(Rc::as_ptr(&self).cast(), Self::WAKER) };
        let waker = ManuallyDrop::new(waker);
        let mut place = self.future.borrow_mut();
        let Some(future) = place.as_mut() else { return };
        // SAFETY: the future lies in memory that is counted and never moved out of; it is dropped in place.
        let future = unsafe { Pin::new_unchecked(future) };
        if future.poll(&mut Context::from_waker(&waker)).is_ready() {
            *place = None;
        }
    }
}

impl<F: Future<Output = ()> + 'static> Task<F> {
    /// What a waker does. Its pointer comes from `Rc::into_raw` and stands for one reference.
    const WAKER: &'static RawWakerVTable = &RawWakerVTable::new(
        |data| {
            Self::at_home(data);
            // SAFETY: the waker that is cloned holds a reference, and this is the thread that counts them.
            unsafe { Rc::increment_strong_count(data.cast::<Self>()) };
            RawWaker::new(data, Self::WAKER)
        },
        |data| {
            Self::at_home(data);
            // SAFETY: takes over the reference of the waker, which is gone with this call.
            Self::schedule(&unsafe { Rc::from_raw(data.cast::<Self>()) });
        },
        |data| {
            Self::at_home(data);
            // SAFETY: the waker keeps its reference, so it is not given back here.
            Self::schedule(&ManuallyDrop::new(unsafe {
                Rc::from_raw(data.cast::<Self>())
            }));
        },
        |data| {
            Self::at_home(data);
            // SAFETY: gives back the reference of the waker, which is gone with this call.
            drop(unsafe { Rc::from_raw(data.cast::<Self>()) });
        },
    );

    /// Nobody but the task's own thread may touch what is counted without atomic operations.
    #[inline]
    fn at_home(data: *const ()) {
        // SAFETY: a waker holds a reference, so the task is there; `home` is written once, before that.
        let home = unsafe { (*data.cast::<Self>()).home };
        if home != HERE.get() {
            // Unwinding could drop another waker here.
            std::process::abort();
        }
    }

    /// Puts the task into the queue, unless it is there.
    #[inline]
    fn schedule(task: &Rc<Self>) {
        if !task.queued.replace(true) {
            let task = Rc::clone(task);
            QUEUE.with(|queue| queue.borrow_mut().push_back(task));
        }
    }
}

/// Starts a task on this core, at once up to where it first waits; it runs until it ends by itself.
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    let task = Task {
        home: here(),
        queued: Cell::new(false),
        future: RefCell::new(Some(future)),
    };
    Rc::new(task).run();
}

/// Lets every other runnable task of this core go first.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Runs every task that waits for its turn, each once; false when none did.
pub(super) fn run_all() -> bool {
    let count = QUEUE.with(|queue| queue.borrow().len());
    for _ in 0..count {
        let next = QUEUE.with(|queue| queue.borrow_mut().pop_front());
        next.expect("only this takes tasks out").run();
    }
    count > 0
}

/// True while some task is waiting for its turn.
pub(super) fn any_runnable() -> bool {
    QUEUE.with(|queue| !queue.borrow().is_empty())
}

/// A place for the waker of the one task that waits for something.
#[derive(Default)]
pub struct WakerCell(Cell<Option<Waker>>);

impl WakerCell {
    /// Remembers the task behind `context`, without a clone when it is the same task as before.
    #[inline]
    pub fn register(&self, context: &Context<'_>) {
        let kept = match self.0.take() {
            Some(waker) if waker.will_wake(context.waker()) => waker,
            _ => context.waker().clone(),
        };
        self.0.set(Some(kept));
    }

    /// Wakes the task that registered, if any.
    #[inline]
    pub fn wake(&self) {
        if let Some(waker) = self.0.take() {
            waker.wake_by_ref();
            // Kept, so that the task need not clone it again to wait again.
            self.0.set(Some(waker));
        }
    }

    /// Forgets the task.
    pub fn clear(&self) {
        self.0.take();
    }
}
