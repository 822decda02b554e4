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
    /// Functions of a waker. Its pointer comes from `Rc::into_raw` and stands for one reference.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts how often it is run, and waits `left` times.
    fn counted(
        left: u32,
        runs: &Rc<Cell<u32>>,
        waker: &Rc<WakerCell>,
    ) -> impl Future<Output = ()> + use<> {
        let (runs, waker, mut left) = (Rc::clone(runs), Rc::clone(waker), left);
        poll_fn(move |context| {
            runs.set(runs.get() + 1);
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            waker.register(context);
            Poll::Pending
        })
    }

    #[test]
    fn a_task_runs_at_once_and_then_once_for_all_wakes_before_its_turn() {
        let (runs, waker) = <(Rc<Cell<u32>>, Rc<WakerCell>)>::default();
        spawn(counted(2, &runs, &waker));
        assert_eq!(runs.get(), 1);
        assert!(!any_runnable() && !run_all());
        waker.wake();
        waker.wake();
        assert!(any_runnable() && run_all());
        assert_eq!(runs.get(), 2);
        assert!(!run_all());
    }

    #[test]
    fn who_is_woken_first_runs_first_and_who_is_woken_meanwhile_runs_next_time() {
        let order = Rc::new(RefCell::new(Vec::new()));
        let wakers: Vec<Rc<WakerCell>> = (0..3).map(|_| Rc::default()).collect();
        for (number, waker) in wakers.iter().enumerate() {
            let (waker, order, first) =
                (Rc::clone(waker), Rc::clone(&order), Rc::clone(&wakers[0]));
            spawn(poll_fn(move |context| {
                order.borrow_mut().push(number);
                waker.register(context);
                if number == 2 {
                    first.wake();
                }
                Poll::<()>::Pending
            }));
        }
        assert!(run_all());
        order.borrow_mut().clear();
        for number in [2, 1] {
            wakers[number].wake();
        }
        assert!(run_all());
        assert_eq!(*order.borrow(), [2, 1]);
        assert!(run_all());
        assert_eq!(*order.borrow(), [2, 1, 0]);
        assert!(!run_all());
    }

    #[test]
    fn a_task_may_wake_itself() {
        let turns = Rc::new(Cell::new(0));
        let inner = Rc::clone(&turns);
        spawn(async move {
            for _ in 0..3 {
                inner.set(inner.get() + 1);
                yield_now().await;
            }
        });
        while run_all() {}
        assert_eq!(turns.get(), 3);
    }

    #[test]
    fn what_has_ended_is_dropped_and_wakes_in_vain() {
        struct Dropped(Rc<Cell<u32>>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        let (runs, waker) = <(Rc<Cell<u32>>, Rc<WakerCell>)>::default();
        let drops = Rc::new(Cell::new(0));
        let (guard, future) = (Dropped(Rc::clone(&drops)), counted(1, &runs, &waker));
        spawn(async move {
            let _guard = guard;
            future.await;
        });
        assert_eq!(drops.get(), 0);
        waker.wake();
        run_all();
        assert_eq!((runs.get(), drops.get()), (2, 1));
        waker.wake();
        assert!(run_all());
        assert_eq!((runs.get(), drops.get()), (2, 1));
        // The cell has the last reference there is.
        assert_eq!(Rc::strong_count(&drops), 1);
        waker.clear();
        assert_eq!(Rc::strong_count(&waker), 1);
    }

    #[test]
    fn a_task_that_nobody_can_wake_is_dropped() {
        let (runs, waker) = <(Rc<Cell<u32>>, Rc<WakerCell>)>::default();
        let task = counted(1, &runs, &waker);
        spawn(task);
        assert_eq!(Rc::strong_count(&runs), 2);
        waker.clear();
        assert_eq!(Rc::strong_count(&runs), 1);
    }

    #[test]
    fn a_panic_ends_that_task_alone() {
        let broken = std::panic::AssertUnwindSafe(|| spawn(async { panic!("on purpose") }));
        assert!(std::panic::catch_unwind(broken).is_err());
        let (runs, waker) = <(Rc<Cell<u32>>, Rc<WakerCell>)>::default();
        spawn(counted(1, &runs, &waker));
        waker.wake();
        assert!(run_all());
        assert_eq!(runs.get(), 2);
    }
}
