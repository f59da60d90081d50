//! Error of a load that exceeded its `load_timeout`.

use std::{error, fmt, io, time::Duration};

/// Error of a load, or of a wait for one, that exceeded the `load_timeout` of its function.
///
/// A load may take that long from the time at which it starts to run. Before that, its call may wait as long
/// again. When that wait runs out, a call that needs a permit under `max_loads` ends in this error. A call
/// that waits for the load of another process then loads beside that process. A call that follows the load of
/// another call ends in this error after twice that time, or after that time once if loads of the key fail one
/// after the other.
///
/// So a call takes at most twice that time. The one exception is a call that is retried because the load it
/// followed failed with an error that cannot be cloned. All of these times are measured by the clock of the
/// cache.
///
/// A function with that option returns a `Result`, and its error type implements `From<LoadTimeout>`.
/// `String`, `std::io::Error`, `Box<dyn Error + Send + Sync>` and `anyhow::Error` have that `From` already.
///
/// ```
/// # extern crate cached_core as cached_aside;
/// use cached_aside::{LoadTimeout, cached};
///
/// #[derive(Clone, Debug)]
/// enum AskError {
///     TooSlow,
/// }
///
/// impl From<LoadTimeout> for AskError {
///     fn from(_: LoadTimeout) -> Self {
///         Self::TooSlow
///     }
/// }
///
/// #[cached("answer", ttl = "30m", load_timeout = "2m")]
/// async fn answer(question: &str) -> Result<String, AskError> {
///     Ok(question.to_uppercase())
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadTimeout {
    /// Longest time that a load of the function may take.
    pub limit: Duration,
}

impl fmt::Display for LoadTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the load took longer than {:?}", self.limit)
    }
}

impl error::Error for LoadTimeout {}

impl From<LoadTimeout> for String {
    fn from(timeout: LoadTimeout) -> Self {
        timeout.to_string()
    }
}

impl From<LoadTimeout> for io::Error {
    fn from(timeout: LoadTimeout) -> Self {
        Self::new(io::ErrorKind::TimedOut, timeout)
    }
}
