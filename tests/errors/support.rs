//! A backend that fails, and crowds of callers.

use std::{
    error::Error,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use cached_aside::Cache;
use tokio::{
    sync::Semaphore,
    task::{JoinSet, LocalSet, yield_now},
};

/// Loads that are counted, and wait until a test lets them through.
#[derive(Clone)]
pub(crate) struct Source(Arc<Inner>);

struct Inner {
    runs: AtomicUsize,
    running: AtomicUsize,
    max_running: AtomicUsize,
    gate: Semaphore,
}

impl Source {
    pub(crate) fn gated() -> Self {
        Self(Arc::new(Inner {
            runs: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            max_running: AtomicUsize::new(0),
            gate: Semaphore::new(0),
        }))
    }

    /// Returns the number of this run, from 1, when it is let through.
    pub(crate) async fn run(&self) -> usize {
        let run = self.0.runs.fetch_add(1, SeqCst) + 1;
        let running = self.0.running.fetch_add(1, SeqCst) + 1;
        self.0.max_running.fetch_max(running, SeqCst);
        self.0.gate.acquire().await.unwrap().forget();
        self.0.running.fetch_sub(1, SeqCst);
        run
    }

    pub(crate) fn release(&self, loads: usize) {
        self.0.gate.add_permits(loads);
    }

    pub(crate) fn release_all(&self) {
        self.release(Semaphore::MAX_PERMITS / 2);
    }

    /// Returns the number of loads that run now.
    pub(crate) fn running(&self) -> usize {
        self.0.running.load(SeqCst)
    }

    pub(crate) fn runs(&self) -> usize {
        self.0.runs.load(SeqCst)
    }

    /// Returns the greatest number of loads that ran at the same time.
    pub(crate) fn max_running(&self) -> usize {
        self.0.max_running.load(SeqCst)
    }
}

pub(crate) fn cache() -> Cache {
    Cache::builder().build().unwrap()
}

/// Makes this number of calls of one key, and returns their results.
///
/// All calls are waiting before the first load ends.
pub(crate) async fn call_concurrently<T: 'static, F>(
    cache: &Cache,
    source: &Source,
    callers: usize,
    call: impl Fn() -> F,
) -> Vec<T>
where
    F: Future<Output = T> + 'static,
{
    let begin = async {
        let mut calls = JoinSet::new();
        for _ in 0..callers {
            calls.spawn_local(call());
        }
        while cache.stats().waiting < callers as u64 - 1 {
            yield_now().await;
        }
        source.release_all();
        calls.join_all().await
    };
    LocalSet::new().run_until(begin).await
}

/// Reason for which loads fail.
#[derive(Debug)]
pub(crate) struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bank is closed")
    }
}

impl Error for Closed {}

/// Error that has `Closed` as its source.
#[derive(Debug)]
pub(crate) struct NoRate(pub(crate) Closed);

impl fmt::Display for NoRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no rate")
    }
}

impl Error for NoRate {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

/// Returns the text of an error with its sources, like `{:#}` of `anyhow`.
pub(crate) fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
