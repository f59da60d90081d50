//! The exploration of a model: runs it through its orders of steps, and prints how many there were.

use std::{
    future::Future,
    io::Write,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use loom::{
    model::Builder,
    sync::{Condvar, Mutex, MutexGuard},
    thread,
};

/// Orders of steps to try.
#[derive(Clone, Copy, Debug)]
pub(super) enum Orders {
    Every,
    /// Orders in which a thread that could continue has to wait for others at most this many times.
    Preemptions(usize),
}

/// Limit of steps. A thread takes more only in an endless loop.
const MAX_STEPS: usize = 20_000;

/// Runs `model` once for each order. The model must not depend on anything but loom.
pub(super) fn explore(name: &str, orders: Orders, model: impl Fn() + Send + Sync + 'static) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let mut builder = Builder::new();
    builder.max_branches = MAX_STEPS;
    builder.preemption_bound = match orders {
        Orders::Every => None,
        Orders::Preemptions(most) => Some(most),
    };
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let count = count.load(Ordering::Relaxed);
    let which = match orders {
        Orders::Every => "every order".to_owned(),
        Orders::Preemptions(most) => format!("every order with at most {most} preemptions"),
    };
    // Written directly, because the test harness captures `print!` and `eprint!`.
    let _ = writeln!(std::io::stderr(), "{name}: {count} executions explored ({which})");
}

/// Code of one thread.
pub(super) type ThreadBody = Box<dyn FnOnce()>;

/// Runs all bodies at the same time, the last one in this thread, and waits for them.
pub(super) fn run_concurrently<const N: usize>(bodies: [ThreadBody; N]) {
    let mut bodies = Vec::from(bodies);
    let last = bodies.pop();
    let threads: Vec<_> = bodies.into_iter().map(thread::spawn).collect();
    last.into_iter().for_each(|body| body());
    for thread in threads {
        thread.join().expect("a thread of the model panicked");
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("loom's locks are not poisoned")
}

/// Waits for a future in one of loom's threads. A lost wake is a deadlock, which loom finds.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let signal = Arc::new(Signal::default());
    let waker = Waker::from(signal.clone());
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        signal.wait();
    }
}

#[derive(Default)]
struct Signal {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    fn wait(&self) {
        let mut is_set = lock(&self.is_set);
        while !*is_set {
            is_set = self.changed.wait(is_set).expect("loom's locks are not poisoned");
        }
        *is_set = false;
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        *lock(&self.is_set) = true;
        self.changed.notify_one();
    }
}
