//! Warnings to the operator of a program, about what is no error of a call.

#[cfg(not(feature = "tracing"))]
use std::{
    fmt,
    io::{self, Write as _},
};

/// Says something about a function: as an event of `tracing` with that feature, otherwise on stderr. Neither a key nor a value is in
/// `what`.
pub(crate) fn warn(function: &str, what: &str) {
    #[cfg(feature = "tracing")]
    tracing::warn!(target: "cached_aside", function, "{what}");
    #[cfg(not(feature = "tracing"))]
    line(format_args!("`{function}`: {what}"));
}

/// One line on stderr, if that is still open: nothing fails because it is not.
#[cfg(not(feature = "tracing"))]
pub(crate) fn line(what: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "cached-aside: {what}");
}
