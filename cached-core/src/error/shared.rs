//! The error of a failed load as text, for the callers that waited for the load.

use std::{error, fmt, io, iter::successors, sync::Arc};

/// Greatest number of levels: the error and its sources.
const MAX_LEVELS: usize = 32;

/// The error of a failed load, as the callers that waited for the load see it.
///
/// It holds the message of the error and those of its sources. The caller that loaded gets the error itself.
/// If the type is `Clone`, the waiting callers get copies. Otherwise they get an error of the same type that
/// its `From<SharedLoadError>` makes of this one: the text that `Display` printed for the error and for each
/// [`source`](error::Error::source) below it, up to 32 levels. It cannot be downcast to the types of those
/// errors, and has no backtrace. Callers in other processes get up to 4 KiB of the text.
///
/// `anyhow::Error`, `eyre::Report`, `Box<dyn Error + Send + Sync>` and [`io::Error`] have that `From`. An
/// error type of your own needs an implementation:
///
/// ```
/// # extern crate cached_core as cached_aside;
/// use cached_aside::{SharedLoadError, cached};
///
/// #[derive(Debug)]
/// enum UserError {
///     Db(std::io::Error),
///     /// Of the load of another call.
///     Shared(SharedLoadError),
/// }
///
/// impl std::fmt::Display for UserError {
///     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
///         match self {
///             Self::Db(error) => write!(f, "the database: {error}"),
///             Self::Shared(error) => error.fmt(f),
///         }
///     }
/// }
///
/// impl std::error::Error for UserError {}
///
/// impl From<SharedLoadError> for UserError {
///     fn from(error: SharedLoadError) -> Self {
///         Self::Shared(error)
///     }
/// }
///
/// #[cached("user", ttl = "5m")]
/// async fn user(id: u64) -> Result<String, UserError> {
///     std::fs::read_to_string(format!("users/{id}")).map_err(UserError::Db)
/// }
/// ```
#[derive(Clone)]
pub struct SharedLoadError(Arc<ErrorLevel>);

struct ErrorLevel {
    message: String,
    kind: Option<io::ErrorKind>,
    source: Option<SharedLoadError>,
}

impl SharedLoadError {
    /// Captures the text of `error` and of its sources.
    ///
    /// The cache calls this. It is public for tests of a `From<SharedLoadError>`.
    pub fn new(error: &(dyn error::Error + 'static)) -> Self {
        let causes = successors(error.source(), |cause| cause.source());
        let causes = causes.take(MAX_LEVELS - 1).map(|cause| (cause.to_string(), kind_of(cause)));
        let source = Self::from_levels(causes.collect());
        Self(Arc::new(ErrorLevel { message: error.to_string(), kind: kind_of(error), source }))
    }

    /// Creates an error of one level from its text.
    pub(crate) fn from_text(text: &str) -> Self {
        Self(Arc::new(ErrorLevel { message: text.to_owned(), kind: None, source: None }))
    }

    /// Builds the error from its levels, from the outermost to the innermost.
    ///
    /// Returns `None` if there is no level. At most `MAX_LEVELS` are kept.
    pub(crate) fn from_levels(levels: Levels) -> Option<Self> {
        let wrap = |source, (message, kind)| Some(Self(Arc::new(ErrorLevel { message, kind, source })));
        levels.into_iter().take(MAX_LEVELS).rev().fold(None, wrap)
    }

    /// Iterates over the messages and kinds, from the outermost to the innermost.
    pub(crate) fn levels(&self) -> impl Iterator<Item = (&str, Option<io::ErrorKind>)> {
        let levels = successors(Some(self), |error| error.0.source.as_ref());
        levels.map(|error| (error.0.message.as_str(), error.0.kind))
    }

    /// Returns the kind of the outermost [`io::Error`] among the error and its sources, if there was one.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        self.levels().find_map(|(_, kind)| kind)
    }
}

type Levels = Vec<(String, Option<io::ErrorKind>)>;

fn kind_of(error: &(dyn error::Error + 'static)) -> Option<io::ErrorKind> {
    if let Some(SharedLoadError(level)) = error.downcast_ref::<SharedLoadError>() {
        return level.kind;
    }
    error.downcast_ref::<io::Error>().map(io::Error::kind)
}

/// Prints the message of the outermost error alone.
impl fmt::Display for SharedLoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.message)
    }
}

impl fmt::Debug for SharedLoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("SharedLoadError");
        debug.field("message", &self.0.message);
        if let Some(kind) = self.0.kind {
            debug.field("kind", &kind);
        }
        if let Some(source) = &self.0.source {
            debug.field("source", source);
        }
        debug.finish()
    }
}

impl error::Error for SharedLoadError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source as _)
    }
}

/// Keeps the message and the kind of the original error.
impl From<SharedLoadError> for io::Error {
    fn from(error: SharedLoadError) -> Self {
        Self::new(error.io_kind().unwrap_or(io::ErrorKind::Other), error)
    }
}

/// Keeps the message alone.
impl From<SharedLoadError> for String {
    fn from(error: SharedLoadError) -> Self {
        error.to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[derive(Debug)]
    struct Outer(io::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("outer")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn shared_error_has_the_messages_of_the_error_and_its_causes() {
        let shared = SharedLoadError::new(&Outer(io::Error::new(io::ErrorKind::NotFound, "inner")));
        assert_eq!(shared.to_string(), "outer");
        let source = shared.source().expect("there is a cause");
        assert_eq!((source.to_string().as_str(), source.source().is_none()), ("inner", true));
        assert_eq!(shared.io_kind(), Some(io::ErrorKind::NotFound));
    }

    #[test]
    fn io_error_from_shared_error_keeps_kind_and_repeats_no_text() {
        let again = io::Error::from(SharedLoadError::new(&io::Error::new(io::ErrorKind::TimedOut, "slow")));
        assert_eq!((again.kind(), again.to_string().as_str()), (io::ErrorKind::TimedOut, "slow"));
        assert!(again.source().is_none());
        // The conversion can be repeated any number of times.
        let again = io::Error::from(SharedLoadError::new(&again));
        assert_eq!((again.kind(), again.to_string().as_str()), (io::ErrorKind::TimedOut, "slow"));
    }

    #[test]
    fn endless_chain_of_causes_is_cut_off() {
        #[derive(Debug)]
        struct Endless;
        impl fmt::Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("and")
            }
        }
        impl Error for Endless {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(self)
            }
        }
        assert_eq!(SharedLoadError::new(&Endless).levels().count(), MAX_LEVELS);
    }
}
