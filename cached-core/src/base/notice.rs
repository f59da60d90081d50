//! Warnings to the operator of a program that are not errors of a call.

#[cfg(not(feature = "tracing"))]
use std::{
    fmt,
    io::{self, Write as _},
};

/// Warns about a function: as an event of `tracing` with that feature, otherwise on stderr.
///
/// The message holds neither a key nor a value.
pub(crate) fn warn(function: &str, message: &str) {
    #[cfg(feature = "tracing")]
    tracing::warn!(target: "cached_aside", function, "{message}");
    #[cfg(not(feature = "tracing"))]
    write_line(format_args!("`{function}`: {message}"));
}

/// Writes one line to stderr. A failure, such as a closed stderr, is ignored.
#[cfg(not(feature = "tracing"))]
pub(crate) fn write_line(message: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "cached-aside: {message}");
}
