//! Waiting for a condition instead of for a fixed time.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Time after which a test fails if a condition is still false.
///
/// The time is far longer than any condition needs. A cluster election in which the votes arrive too late is
/// repeated after eight seconds.
pub const PATIENCE: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(2);

/// Blocks until `condition` is true.
///
/// # Panics
/// Panics if it is still false after [`PATIENCE`]; the message names `description`.
pub fn eventually(description: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "still not true after {PATIENCE:?}: {description}");
        thread::sleep(PAUSE);
    }
}

/// Waits until `condition` is true, without blocking the tokio runtime.
///
/// # Panics
/// Panics if it is still false after [`PATIENCE`]; the message names `description`.
pub async fn eventually_async(description: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "still not true after {PATIENCE:?}: {description}");
        tokio::time::sleep(PAUSE).await;
    }
}
