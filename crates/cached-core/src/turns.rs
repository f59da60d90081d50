//! Writes to one name of the shared tier, one after the other.
//!
//! Values are handed over in the background. Without an order, the value of a load that ended before an invalidation
//! could arrive after it.

use std::{
    collections::{BTreeSet, HashMap},
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use futures_timer::Delay;
use tokio::sync::watch;

/// The writes under way.
#[derive(Debug)]
pub(crate) struct Turns {
    queue: Mutex<Queue>,
    batch: Mutex<()>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Queue {
    next: u64,
    all: BTreeSet<u64>,
    by_name: HashMap<String, BTreeSet<u64>>,
}

/// A place in the queue of a name. The writes behind it wait until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Arc<Turns>,
    name: String,
    number: u64,
}

impl Turns {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { queue: Mutex::default(), batch: Mutex::default(), changed: watch::Sender::new(()) })
    }

    /// Takes the next place.
    pub(crate) fn take(self: &Arc<Self>, name: &str) -> Turn {
        let mut queue = self.queue();
        let number = queue.next;
        queue.next += 1;
        queue.all.insert(number);
        queue.by_name.entry(name.to_owned()).or_default().insert(number);
        Turn { turns: self.clone(), name: name.to_owned(), number }
    }

    /// Held by one who takes several turns and keeps them: two who took them crosswise would wait for each other.
    pub(crate) fn batch(&self) -> MutexGuard<'_, ()> {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many writes are under way.
    pub(crate) fn len(&self) -> usize {
        self.queue().all.len()
    }

    /// Waits until the writes to `name` that are under way now are over, but no longer than `limit`; whether they are.
    pub(crate) async fn pass(&self, name: &str, limit: Duration) -> bool {
        let now = self.queue().next;
        self.until(limit, |queue| {
            queue.by_name.get(name).and_then(BTreeSet::first).is_none_or(|first| *first >= now)
        })
        .await
    }

    /// Waits until every write that is under way now is over.
    pub(crate) async fn flush(&self) {
        let now = self.queue().next;
        let over = |queue: &Queue| queue.all.first().is_none_or(|first| *first >= now);
        while !self.until(Duration::from_secs(3600), over).await {}
    }

    /// Whether `condition` came true in time.
    async fn until(&self, limit: Duration, condition: impl Fn(&Queue) -> bool) -> bool {
        let mut changed = self.changed.subscribe();
        if condition(&self.queue()) {
            return true;
        }
        let mut alarm = pin!(Delay::new(limit));
        let mut wait = pin!(async {
            // It fails only without a sender, and `self` holds one.
            while changed.changed().await.is_ok() && !condition(&self.queue()) {}
        });
        poll_fn(|cx| match wait.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(true),
            Poll::Pending => alarm.as_mut().poll(cx).map(|()| false),
        })
        .await
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Waits until the writes before are over, but no longer than `limit`; whether they are.
    pub(crate) async fn come(&self, limit: Duration) -> bool {
        let mine = |queue: &Queue| {
            queue.by_name.get(&self.name).and_then(BTreeSet::first).is_none_or(|first| *first >= self.number)
        };
        self.turns.until(limit, mine).await
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut queue = self.turns.queue();
        queue.all.remove(&self.number);
        if let Some(numbers) = queue.by_name.get_mut(&self.name) {
            numbers.remove(&self.number);
            if numbers.is_empty() {
                queue.by_name.remove(&self.name);
            }
        }
        drop(queue);
        self.turns.changed.send_replace(());
    }
}
