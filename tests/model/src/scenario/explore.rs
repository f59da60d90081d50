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
const MOST_STEPS: usize = 20_000;

/// Runs `model` once for each order. The model must not depend on anything but loom.
pub(super) fn explore(name: &str, orders: Orders, model: impl Fn() + Send + Sync + 'static) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let mut builder = Builder::new();
    builder.max_branches = MOST_STEPS;
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
pub(super) type Act = Box<dyn FnOnce()>;

/// Runs all acts at the same time, the last one in this thread, and waits for them.
pub(super) fn together<const N: usize>(acts: [Act; N]) {
    let mut acts = Vec::from(acts);
    let last = acts.pop();
    let threads: Vec<_> = acts.into_iter().map(thread::spawn).collect();
    last.into_iter().for_each(|act| act());
    for thread in threads {
        thread.join().expect("a thread of the model panicked");
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("loom's locks are not poisoned")
}

/// Waits for a future in one of loom's threads. A lost wake is a deadlock, which loom finds.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(bell.clone());
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        bell.wait();
    }
}

#[derive(Default)]
struct Bell {
    has_rung: Mutex<bool>,
    ringing: Condvar,
}

impl Bell {
    fn wait(&self) {
        let mut has_rung = lock(&self.has_rung);
        while !*has_rung {
            has_rung = self.ringing.wait(has_rung).expect("loom's locks are not poisoned");
        }
        *has_rung = false;
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *lock(&self.has_rung) = true;
        self.ringing.notify_one();
    }
}
