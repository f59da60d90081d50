//! Spans of the `tracing` crate around the steps that wait. Without the feature, they compile to nothing.
//!
//! A hit has no span. A span names the function and its outcome, and never an argument or a value.

use std::time::Duration;

/// Description of a span that this crate creates.
#[cfg(feature = "tracing")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpanInfo {
    /// Name of the span, which does not change.
    pub name: &'static str,
    /// Level of the span: `info` or `debug`.
    pub level: &'static str,
    /// Values that the field `outcome` can hold.
    pub outcomes: &'static [&'static str],
}

/// All spans that this crate creates, with the target `cached_aside`.
///
/// Each has the fields `function`, `outcome` and `duration_us`.
#[cfg(feature = "tracing")]
pub const SPANS: &[SpanInfo] = &[
    SpanInfo {
        name: "cached_aside.load",
        level: "info",
        outcomes: &["ok", "error", "returned", "panic", "cancelled"],
    },
    SpanInfo {
        name: "cached_aside.lookup",
        level: "debug",
        outcomes: &["value", "absent", "leased", "error", "cancelled"],
    },
    SpanInfo {
        name: "cached_aside.fill",
        level: "debug",
        outcomes: &["stored", "rejected", "undecided", "stubbed", "cancelled"],
    },
    SpanInfo {
        name: "cached_aside.invalidate",
        level: "debug",
        outcomes: &["ok", "not_propagated", "not_confirmed", "cancelled"],
    },
];

#[cfg(feature = "tracing")]
mod on {
    use std::future::Future;

    use tracing::{Instrument, field::Empty};

    use super::{Duration, millionths};

    /// Span that has begun.
    pub(crate) struct Span {
        span: tracing::Span,
        /// Span of the caller, which a step that leaves its caller enters if no subscriber enables `span`.
        caller: Option<tracing::Span>,
    }

    macro_rules! span {
        ($level:ident, $name:literal, $function:ident) => {
            Self {
                span: tracing::span!(
                    target: "cached_aside",
                    tracing::Level::$level,
                    $name,
                    function = $function,
                    outcome = Empty,
                    duration_us = Empty,
                ),
                caller: None,
            }
        };
    }

    /// Spans of the steps, each a child of the caller's current span.
    impl Span {
        pub(crate) fn load(function: &'static str) -> Self {
            span!(INFO, "cached_aside.load", function)
        }

        pub(crate) fn lookup(function: &'static str) -> Self {
            span!(DEBUG, "cached_aside.lookup", function)
        }

        pub(crate) fn fill(function: &'static str) -> Self {
            span!(DEBUG, "cached_aside.fill", function)
        }

        pub(crate) fn invalidate(function: &'static str) -> Self {
            span!(DEBUG, "cached_aside.invalidate", function)
        }

        /// Prepares the step to leave its caller. Its work stays inside the caller's span, even if no
        /// subscriber enables this span.
        pub(crate) fn detach(&mut self) {
            self.caller = self.span.is_disabled().then(tracing::Span::current);
        }

        pub(crate) fn instrument<F: Future>(&self, step: F) -> impl Future<Output = F::Output> + use<F> {
            step.instrument(self.caller.as_ref().unwrap_or(&self.span).clone())
        }

        /// Runs a part of the step inside of the span.
        pub(crate) fn enter<T>(&self, part: impl FnOnce() -> T) -> T {
            self.caller.as_ref().unwrap_or(&self.span).in_scope(part)
        }

        pub(crate) fn record(&self, outcome: &'static str, took: Duration) {
            self.span.record("outcome", outcome).record("duration_us", millionths(took));
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod on {
    use super::Duration;

    pub(crate) struct Span;

    #[allow(clippy::unused_self, reason = "same signature as with the feature")]
    impl Span {
        pub(crate) fn load(_: &'static str) -> Self {
            Self
        }

        pub(crate) fn lookup(_: &'static str) -> Self {
            Self
        }

        pub(crate) fn fill(_: &'static str) -> Self {
            Self
        }

        pub(crate) fn invalidate(_: &'static str) -> Self {
            Self
        }

        pub(crate) fn detach(&mut self) {}

        pub(crate) fn instrument<F>(&self, step: F) -> F {
            step
        }

        pub(crate) fn enter<T>(&self, part: impl FnOnce() -> T) -> T {
            part()
        }

        pub(crate) fn record(&self, _: &'static str, _: Duration) {}
    }
}

pub(crate) use on::Span;

#[cfg(feature = "tracing")]
fn millionths(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}
