//! Steps of a call that take time: counted, timed, and each in a span.

use std::{future::Future, thread, time::Duration};

use crate::{
    base::clock::{Clock, Nanos},
    telemetry::{functions::FunctionMetrics, span::Span, stats::Count},
};

/// Timed step in its span. A step that is dropped before its end is recorded as cancelled, or as a panic.
pub(crate) struct TimedSpan {
    span: Span,
    clock: Clock,
    started_at: Nanos,
    is_ended: bool,
}

impl TimedSpan {
    pub(crate) fn begin(span: Span, clock: &Clock) -> Self {
        Self::started_at(clock.now(), span, clock)
    }

    pub(crate) fn started_at(start: Nanos, span: Span, clock: &Clock) -> Self {
        Self { span, clock: clock.clone(), started_at: start, is_ended: false }
    }

    pub(crate) fn instrument<F: Future>(&self, step: F) -> impl Future<Output = F::Output> + use<F> {
        self.span.instrument(step)
    }

    /// Records the outcome, and returns the duration of the step.
    pub(crate) fn end(&mut self, outcome: &'static str) -> Nanos {
        self.end_at(self.clock.now(), outcome)
    }

    fn end_at(&mut self, end: Nanos, outcome: &'static str) -> Nanos {
        let took = end.saturating_sub(self.started_at);
        self.is_ended = true;
        self.span.record(outcome, Duration::from_nanos(took));
        took
    }
}

impl Drop for TimedSpan {
    fn drop(&mut self) {
        if !self.is_ended {
            self.end(if thread::panicking() { "panic" } else { "cancelled" });
        }
    }
}

/// Timed load. Its span is a child of the span that is current at its creation, wherever the load then runs.
pub(crate) struct LoadSpan {
    step: TimedSpan,
    /// Set by `begin`: the load was counted.
    has_started: bool,
    /// Time at which the body ended, if that was read.
    ended_at: Option<Nanos>,
}

impl LoadSpan {
    pub(crate) fn new(clock: &Clock, function: &FunctionMetrics) -> Self {
        // The time is read when the load begins.
        let step = TimedSpan::started_at(Nanos::MAX, Span::load(function.name()), clock);
        Self { step, has_started: false, ended_at: None }
    }

    /// Begins the load. Waiting before this point is not part of its duration.
    pub(crate) fn begin(&mut self) {
        self.step.started_at = self.step.clock.now();
        self.has_started = true;
    }

    /// Prepares the load to continue in a task of its own.
    pub(crate) fn detach(&mut self) {
        self.step.span.detach();
    }

    /// Runs a part of the load inside of its span.
    pub(crate) fn enter<T>(&self, part: impl FnOnce() -> T) -> T {
        self.step.span.enter(part)
    }

    /// Returns the time at which the body ended, which is now.
    pub(crate) fn end_of_body(&mut self) -> Nanos {
        *self.ended_at.insert(self.step.clock.now())
    }

    /// Ends a load of `function`.
    pub(crate) fn finish(mut self, function: &FunctionMetrics, is_error: bool) {
        if is_error && self.has_started {
            function.add(Count::LoadError);
        }
        let took = self.end(function, if is_error { "error" } else { "ok" });
        if let Some(took) = took.filter(|_| !is_error) {
            function.record_load_time(took);
        }
    }

    /// Ends a load that returned a value or an error: the result is not examined.
    pub(crate) fn finish_unexamined(mut self, function: &FunctionMetrics) {
        self.end(function, "returned");
    }

    pub(crate) fn finish_panicked(mut self, function: &FunctionMetrics) {
        function.add(Count::LoadPanic);
        self.end(function, "panic");
    }

    /// Ends the step, and returns the duration of the load; `None` if it has not started.
    fn end(&mut self, function: &FunctionMetrics, outcome: &'static str) -> Option<Nanos> {
        let end = self.ended_at.unwrap_or_else(|| self.step.clock.now());
        let took = self.step.end_at(end, outcome);
        if !self.has_started {
            return None;
        }
        function.load_latency().record(took);
        Some(took)
    }
}
