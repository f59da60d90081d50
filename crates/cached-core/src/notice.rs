//! Warnings to the operator of a program, about what is no error of a call.

/// Says something about a function: as an event of `tracing` with that feature, otherwise on stderr. Neither a key nor a value is in
/// `what`.
pub(crate) fn warn(function: &str, what: &str) {
    #[cfg(feature = "tracing")]
    tracing::warn!(target: "cached_aside", function, "{what}");
    #[cfg(not(feature = "tracing"))]
    eprintln!("cached-aside: `{function}`: {what}");
}
