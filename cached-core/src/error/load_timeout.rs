//! What a load ends in that took too long.

use std::{error, fmt, io, time::Duration};

/// A load took longer than the `load_timeout` of its function, or its caller has waited for too long.
///
/// A load has that long from the moment on that it runs. As long again may its call wait before that: for a place under `max_loads`,
/// which ends in this error, and for the load of another process, beside which it then loads. A call that follows the load of another
/// call ends in this error after twice that time. So a call takes no longer than that, but for one that is tried again because
/// the load that it waited for failed with an error that cannot be cloned. All of this is measured by the clock of the cache.
///
/// A function with that option returns a `Result` whose error is made of this one: it implements `From<LoadTimeout>`. So do
/// `String`, `std::io::Error`, `Box<dyn Error + Send + Sync>` and `anyhow::Error`.
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
    /// How long a load of the function may take.
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
