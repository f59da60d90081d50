//! Steps of a call that take time: counted, timed, and each in a span.

use std::{future::Future, sync::Arc, thread, time::Duration};

use crate::{
    base::clock::{Clock, Nanos},
    telemetry::{functions::FunctionMetrics, span::Span, stats::Count},
};

/// Timed step in its span. A step that is dropped before its end is recorded as cancelled, or as a panic.
pub(crate) struct TimedSpan {
    span: Span,
    clock: Clock,
    began: Nanos,
    is_over: bool,
}

impl TimedSpan {
    pub(crate) fn begin(span: Span, clock: &Clock) -> Self {
        Self::since(clock.now(), span, clock)
    }

    pub(crate) fn since(began: Nanos, span: Span, clock: &Clock) -> Self {
        Self { span, clock: clock.clone(), began, is_over: false }
    }

    pub(crate) fn around<F: Future>(&self, step: F) -> impl Future<Output = F::Output> + use<F> {
        self.span.around(step)
    }

    /// Records the outcome, and returns the duration of the step.
    pub(crate) fn end(&mut self, outcome: &'static str) -> Nanos {
        let took = self.clock.now().saturating_sub(self.began);
        self.is_over = true;
        self.span.record(outcome, Duration::from_nanos(took));
        took
    }
}

impl Drop for TimedSpan {
    fn drop(&mut self) {
        if !self.is_over {
            self.end(if thread::panicking() { "panic" } else { "cancelled" });
        }
    }
}

/// Timed load. Its span is a child of the span that is current at its creation, wherever the load then runs.
pub(crate) struct LoadSpan {
    step: TimedSpan,
    function: Arc<FunctionMetrics>,
    /// Set by `begin`: the load was counted.
    has_begun: bool,
}

impl LoadSpan {
    pub(crate) fn new(clock: &Clock, function: &Arc<FunctionMetrics>) -> Self {
        let step = TimedSpan::begin(Span::load(function.name()), clock);
        Self { step, function: function.clone(), has_begun: false }
    }

    /// Begins the load. Waiting before this point is not part of its duration.
    pub(crate) fn begin(&mut self) {
        self.step.began = self.step.clock.now();
        self.has_begun = true;
    }

    /// Prepares the load to continue in a task of its own.
    pub(crate) fn leave_caller(&mut self) {
        self.step.span.leave_caller();
    }

    pub(crate) fn around<F: Future>(&self, load: F) -> impl Future<Output = F::Output> + use<F> {
        self.step.around(load)
    }

    pub(crate) fn ended(mut self, is_error: bool) {
        if is_error && self.has_begun {
            self.function.add(Count::LoadError);
        }
        let took = self.end(if is_error { "error" } else { "ok" });
        if let Some(took) = took.filter(|_| !is_error) {
            self.function.costs(took);
        }
    }

    /// Ends a load that returned a value or an error: the result is not examined.
    pub(crate) fn returned(mut self) {
        self.end("returned");
    }

    pub(crate) fn panicked(mut self) {
        self.function.add(Count::LoadPanic);
        self.end("panic");
    }

    /// Ends the step, and returns the duration of the load; `None` if it has not begun.
    fn end(&mut self, outcome: &'static str) -> Option<Nanos> {
        let took = self.step.end(outcome);
        if !self.has_begun {
            return None;
        }
        self.function.load().record(took);
        Some(took)
    }
}
