//! Warm-up: loads a list of keys before the first calls for them.
//!
//! `warm` takes an iterator, and `warm_from` a function that is polled. `source` holds the two kinds of
//! input, `run` the future, and `report` its result. Nothing here depends on the cache: the caller passes the
//! function that makes the call for one key.

pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod source;

use std::{
    fmt,
    future::{Future, IntoFuture},
    marker::PhantomData,
    task::{Context, Poll},
    time::Duration,
};

use crate::warm::{
    report::{WarmOutcome, WarmReport},
    run::Warming,
    source::{WarmList, WarmSource, WarmStream},
};

/// Default number of keys that are warmed at a time.
const CONCURRENCY: usize = 16;

/// Warms a cached function for a list of arguments.
///
/// A value that is in no tier is loaded, and a value in the shared tier is copied into this process. Await it
/// at start, before the port is opened.
///
/// `each` makes the call for one item: `user::warm(id)` for a function, `shop.price_entry(item).warm()` for a
/// method that has a handle, and [`Keyspace::warm`](crate::Keyspace::warm). They return a
/// [`Warmed`](crate::Warmed), and no value is kept longer than its call. The next item is taken from the
/// iterator only when a key may start. So the iterator may be long, or endless if there is a
/// [`deadline`](Warm::deadline).
///
/// Several processes that warm the same keys load each of them once, as any callers do, and a function's
/// `max_loads` holds. Errors and panics of loads are counted, and do not end the warm-up. It needs no runtime
/// of its own.
///
/// ```
/// # extern crate cached_core as cached_aside;
/// use std::time::Duration;
/// use cached_aside::warm;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cached_core::Error> {
/// # let cache = cached_core::Cache::builder().build()?;
/// let users = cache.keyspace::<u64, String>("user", Duration::from_secs(300))?;
/// let report = warm([7_u64, 8, 9], |id| {
///     let users = &users;
///     async move { users.warm(&id, || async { Ok::<_, std::io::Error>(format!("user {id}")) }).await }
/// })
/// .concurrency(8)
/// .deadline(Duration::from_secs(30))
/// .on_progress(|report| println!("{report}"))
/// .await;
/// assert_eq!((report.loaded, report.failed), (3, 0));
/// # Ok(()) }
/// ```
pub fn warm<I, F, Fut>(items: I, each: F) -> Warm<WarmList<I::IntoIter>, F>
where
    I: IntoIterator,
    F: FnMut(I::Item) -> Fut,
    Fut: Future<Output: WarmOutcome>,
{
    Warm::new(WarmList(items.into_iter()), each)
}

/// Warms a cached function, like [`warm`], for arguments that arrive one by one.
///
/// `next` is polled for each argument, and returns `None` at the end. It is polled only when a key may start,
/// so nothing is buffered.
///
/// `|cx| rows.poll_next_unpin(cx)` takes a `Stream` (with `StreamExt` of the crate `futures`),
/// `|cx| receiver.poll_recv(cx)` a channel of tokio.
///
/// ```
/// # extern crate cached_core as cached_aside;
/// use cached_aside::warm_from;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let (sender, mut receiver) = tokio::sync::mpsc::channel(4);
/// tokio::spawn(async move {
///     for id in 0..100 {
///         let _ = sender.send(id).await;
///     }
/// });
/// # mod user { pub async fn warm(_: u64) -> cached_core::Warmed { cached_core::Warmed::Loaded } }
/// let report = warm_from(|cx| receiver.poll_recv(cx), |id| user::warm(id)).await;
/// assert_eq!(report.loaded, 100);
/// # }
/// ```
pub fn warm_from<T, N, F, Fut>(next: N, each: F) -> Warm<WarmStream<N, T>, F>
where
    N: FnMut(&mut Context<'_>) -> Poll<Option<T>>,
    F: FnMut(T) -> Fut,
    Fut: Future<Output: WarmOutcome>,
{
    Warm::new(WarmStream(next, PhantomData), each)
}

/// A warm-up that starts when it is awaited, made by [`warm`] and [`warm_from`].
///
/// It may be dropped at any time, which has the effect of a deadline that has passed.
#[must_use = "nothing is warmed until this is awaited"]
pub struct Warm<S, F, P = fn(&WarmReport)> {
    pub(crate) source: S,
    pub(crate) each: F,
    pub(crate) concurrency: usize,
    pub(crate) deadline: Option<Duration>,
    pub(crate) on_progress: P,
}

impl<S, F> Warm<S, F> {
    fn new(source: S, each: F) -> Self {
        Self { source, each, concurrency: CONCURRENCY, deadline: None, on_progress: |_| () }
    }

    /// Calls `on_progress` after each key with the report so far. It must return at once.
    pub fn on_progress<P: FnMut(&WarmReport)>(self, on_progress: P) -> Warm<S, F, P> {
        let Self { source, each, concurrency, deadline, .. } = self;
        Warm { source, each, concurrency, deadline, on_progress }
    }
}

impl<S, F, P> Warm<S, F, P> {
    /// Sets the number of keys that are warmed at a time: 16 by default. Zero counts as one.
    pub fn concurrency(self, concurrency: usize) -> Self {
        Self { concurrency: concurrency.max(1), ..self }
    }

    /// Limits the time of the warm-up, from its first poll on. The default is no limit.
    ///
    /// After the deadline no key is started, and the warm-up ends. Keys under way are counted as
    /// [`unfinished`](WarmReport::unfinished). A load in a task of its own goes on, and its value is kept. A
    /// load that runs in its caller, as those of methods and keyspaces do, is dropped.
    ///
    /// The time is that of the machine, and not that of the cache's clock.
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline: Some(deadline), ..self }
    }
}

impl<S, F, Fut, P> IntoFuture for Warm<S, F, P>
where
    S: WarmSource,
    F: FnMut(S::Item) -> Fut,
    Fut: Future<Output: WarmOutcome>,
    P: FnMut(&WarmReport),
{
    type Output = WarmReport;
    type IntoFuture = Warming<S, F, Fut, P>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { source, each, concurrency, deadline, on_progress } = self;
        Warming::new(source, each, concurrency, deadline, on_progress)
    }
}

impl<S, F, P> fmt::Debug for Warm<S, F, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Warm")
            .field("concurrency", &self.concurrency)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
