//! Loading a list of keys before anybody asks for them.

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

/// How many keys are warmed at a time, where nobody says.
const CONCURRENCY: usize = 16;

/// Warms a cached function for a list of arguments: what is in no tier is loaded, and what is in the shared tier comes into
/// this process. Await it at start, before the port is opened.
///
/// `each` makes the call for one item: `user::warm(id)` for a function, `shop.price_entry(item).warm()` for a method that
/// has a handle, and [`Keyspace::warm`](crate::Keyspace::warm). They return a [`Warmed`](crate::Warmed), and no value is kept longer than
/// its call. An iterator is asked for the next item when there is a place for it, so it may be long, or endless if there
/// is a [`deadline`](Warm::deadline).
///
/// Several processes that warm the same keys load each of them once, as any callers do, and a function's `max_loads` holds.
/// Errors and panics of loads are counted, and end nothing. Needs no runtime of its own.
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

/// As [`warm`], for arguments that come one after the other: `next` is polled for each, and is `None` at the end. It is
/// asked when there is a place for the next key, so nothing is buffered.
///
/// `|cx| rows.poll_next_unpin(cx)` takes a `Stream` (with `StreamExt` of the crate `futures`), `|cx| receiver.poll_recv(cx)` a
/// channel of tokio.
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

/// A warm-up that has not begun: it does when it is awaited. Made by [`warm`] and [`warm_from`].
///
/// It may be dropped at any time: that is as if its deadline had come.
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

    /// Is called with what has come of it so far, after each key. It is to return at once.
    pub fn on_progress<P: FnMut(&WarmReport)>(self, on_progress: P) -> Warm<S, F, P> {
        let Self { source, each, concurrency, deadline, .. } = self;
        Warm { source, each, concurrency, deadline, on_progress }
    }
}

impl<S, F, P> Warm<S, F, P> {
    /// How many keys are asked for at a time: 16 if this is not called. Zero counts as one.
    pub fn concurrency(self, concurrency: usize) -> Self {
        Self { concurrency: concurrency.max(1), ..self }
    }

    /// How long it may take, from when it is first polled; by default for ever. After that none is begun, and it ends, with
    /// those under way counted as [`unfinished`](WarmReport::unfinished): a load in a task of its own goes on, and its value is kept;
    /// one that runs in its caller, as those of methods and keyspaces do, is dropped.
    ///
    /// The time is the machine's, whatever clock the cache has.
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
