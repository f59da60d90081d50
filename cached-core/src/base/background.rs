//! Jobs that go on in the background after the caller has its answer, and the flush that waits for them.

use std::{
    collections::BTreeSet,
    future::{Future, poll_fn},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use tokio::{runtime::Handle, sync::watch};

use crate::base::race::within;

/// Registry of the jobs under way.
#[derive(Debug)]
pub(crate) struct Background {
    jobs: Mutex<Jobs>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Jobs {
    next: u64,
    under_way: BTreeSet<u64>,
}

/// Guard of one job, which is under way until this is dropped.
#[derive(Debug)]
pub(crate) struct Job {
    background: Arc<Background>,
    number: u64,
}

impl Background {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { jobs: Mutex::default(), changed: watch::Sender::new(()) })
    }

    pub(crate) fn begin(self: &Arc<Self>) -> Job {
        let mut jobs = self.jobs();
        let number = jobs.next;
        jobs.next += 1;
        jobs.under_way.insert(number);
        Job { background: self.clone(), number }
    }

    /// Spawns `work` as a job on this thread's runtime. Without a runtime, it is dropped unrun.
    pub(crate) fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        if let Ok(runtime) = Handle::try_current() {
            let job = self.begin();
            runtime.spawn(async move {
                let _job = job;
                work.await;
            });
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.jobs().under_way.len()
    }

    /// Waits for at most `limit` until all current jobs have ended. Returns whether they have.
    ///
    /// A job on a runtime that is not driven never ends.
    pub(crate) async fn flush(&self, limit: Duration) -> bool {
        let now = self.jobs().next;
        let mut changed = self.changed.subscribe();
        let all = async {
            while self.jobs().under_way.first().is_some_and(|first| *first < now) {
                // `changed` fails only if the sender is dropped, and `self` holds the sender.
                let _ = changed.changed().await;
            }
        };
        within(limit, all).await.is_some()
    }

    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.background.jobs().under_way.remove(&self.number);
        self.background.changed.send_replace(());
    }
}

/// Yields once, so that other tasks run first.
pub(crate) async fn yield_now() {
    let mut has_yielded = false;
    poll_fn(|cx| {
        if mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
