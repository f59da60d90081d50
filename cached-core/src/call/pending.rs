//! A load that is to run next, and the run of its body.
//!
//! The path of a call stops where the body is to run in the caller. The code that owns the body goes on from
//! there (see `drive`), because only that code knows the types of the body and of its result. So the path is
//! compiled once, and not for each function.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    thread,
};

use crate::{
    base::clock::nanos,
    call::{
        context::CallContext,
        control::Reason,
        fallback::{Fallback, LoadOutput},
        fill_right::FillRight,
        load::Body,
        publish::{LoadResult, Rest, publish},
    },
    coherence::{tag_log::LogPosition, validity::Validity},
    flight::{
        FlightResult, Leader,
        permits::{LoadTurn, TurnResult},
    },
    l1::entry::Entry,
    telemetry::{stats::Count, step::LoadSpan},
    value::policy::{LoadContext, LoadedValue, ResultSlot},
};

/// A load that is to run in the caller next.
pub(crate) enum PendingLoad {
    /// The call leads a flight.
    Led(Box<LedLoad>),
    /// The call loads for itself only: the value is neither stored nor shared.
    Alone(Box<BodyRun>),
    /// The function runs as if it had no attribute.
    Bypass(Reason),
}

/// The run of a body: in its turn, in its span, and within the time limit of the function.
pub(crate) struct BodyRun {
    pub(crate) context: Box<CallContext>,
    turn: LoadTurn,
    span: LoadSpan,
    has_begun: bool,
    /// The time limit has passed during the wait for the turn.
    is_too_late: bool,
    time_limit: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl BodyRun {
    pub(crate) fn new(context: Box<CallContext>, turn: LoadTurn, span: LoadSpan) -> Self {
        Self { context, turn, span, has_begun: false, is_too_late: false, time_limit: None }
    }

    /// Waits for the turn.
    pub(crate) async fn acquire_turn(&mut self) {
        self.is_too_late = self.turn.acquire().await == TurnResult::TooLate
            && self.context.policy().load_timeout().is_some();
    }

    /// Begins the run. Returns false if the time limit has passed already: then the result is in the slot.
    fn begin(&mut self, slot: &mut dyn ResultSlot) -> bool {
        if self.is_too_late {
            self.context.count_timeout();
            return !slot.time_out();
        }
        self.context.report(Count::Load);
        self.span.begin();
        true
    }

    /// Polls the body. When it is ready, the slot has its result, or that of the time limit.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, body: &mut dyn Body) -> Poll<()> {
        if !self.has_begun {
            self.has_begun = true;
            if !self.begin(body.slot()) {
                self.span.enter(|| body.cancel());
                return Poll::Ready(());
            }
            let limit = self.context.policy().load_timeout();
            self.time_limit = limit.map(|limit| {
                let clock = self.context.cache.clock().clone();
                let end = clock.now().saturating_add(nanos(limit));
                Box::pin(async move { clock.sleep_until(end).await }) as _
            });
        }
        if self.span.enter(|| body.poll(cx)).is_ready() {
            return Poll::Ready(());
        }
        let Some(time_limit) = &mut self.time_limit else { return Poll::Pending };
        ready!(time_limit.as_mut().poll(cx));
        self.span.enter(|| body.cancel());
        self.context.count_timeout();
        body.slot().time_out();
        Poll::Ready(())
    }

    fn split(&mut self, slot: &mut dyn ResultSlot) -> LoadedValue {
        slot.split(&LoadContext::new(self.span.end_of_body(), self.context.terms.ttl))
    }

    /// Ends the run of a load that is neither stored nor shared.
    pub(crate) fn finish_unexamined(self) {
        let Self { context, span, .. } = self;
        span.finish_unexamined(context.cache.function(&context.spec));
    }
}

/// A load that leads a flight, in its turn and with its fill right.
///
/// The order of the fields is that of their drop: a lease is released before the lead is passed on.
pub(crate) struct LedLoad {
    pub(crate) run: BodyRun,
    pub(crate) fill_right: FillRight,
    pub(crate) leader: Leader,
    /// Older entry that is served if the load fails.
    pub(crate) fallback: Option<Arc<Entry>>,
    /// Fallback with the context to serve it, for a load in the caller.
    pub(crate) served_fallback: Option<Fallback>,
    /// Position in the log of invalidated tags, at the start of the load; `None` if values have no tags.
    pub(crate) log_position: Option<LogPosition>,
}

impl LedLoad {
    /// Creates a load that stores its value in this process only, and needs no permit.
    pub(crate) fn for_this_process(context: Box<CallContext>, leader: Leader, validity: Validity) -> Self {
        let span = LoadSpan::new(context.cache.clock(), context.cache.function(&context.spec));
        let log_position = context.log_position();
        let run = BodyRun::new(context, LoadTurn::unlimited(), span);
        Self {
            run,
            fill_right: FillRight::LocalOnly(validity),
            leader,
            fallback: None,
            served_fallback: None,
            log_position,
        }
    }

    /// Polls the body, and splits its result. Panics of the body and of the policies are caught.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut dyn Body,
    ) -> Poll<thread::Result<LoadedValue>> {
        let Self { run, leader, .. } = self;
        leader.poll(cx, |cx| {
            ready!(run.poll(cx, body));
            Poll::Ready(run.split(body.slot()))
        })
    }

    /// Publishes the result, which ends the flight.
    ///
    /// The remaining work is returned if there is no runtime to run it.
    pub(crate) fn end(
        self,
        loaded: thread::Result<LoadedValue>,
    ) -> (thread::Result<LoadOutput>, Option<Rest>) {
        let Self { run, leader, fill_right, fallback, log_position, .. } = self;
        let BodyRun { context, turn, span, .. } = run;
        let function = context.cache.function(&context.spec);
        // The permit is returned: the next load may begin.
        drop(turn);
        let LoadedValue { erased, mut ttl, is_error } = match loaded {
            Ok(loaded) => loaded,
            Err(panic) => {
                span.finish_panicked(function);
                fallback.inspect(|entry| context.back_off(entry));
                fill_right.fail();
                leader.fail(FlightResult::Panicked);
                return (Err(panic), None);
            }
        };
        span.finish(function, is_error);
        let had_fallback = fallback.is_some();
        // Checked before the lease is released, because the release ends the epoch of the key.
        let may_serve_fallback =
            fallback.as_ref().is_some_and(|entry| context.cache.may_serve(&context.spec, entry));
        if let Some(entry) = fallback.filter(|_| is_error) {
            context.back_off(&entry);
            // An error does not replace a value that may still be served.
            ttl = None;
        }
        let rest = if let Some(erased) = erased {
            publish(
                context,
                leader,
                fill_right,
                LoadResult { erased, ttl, is_error, had_fallback, log_position },
            )
        } else {
            fill_right.fail_with(None);
            if leader.pass_lead() {
                context.cache.function(&context.spec).warn_unshared_errors();
            }
            None
        };
        (Ok(LoadOutput { is_error, may_serve_fallback }), rest)
    }
}

/// Bodies that are not async, which run on the caller's own stack.
impl PendingLoad {
    /// Begins the load. Returns false if its time limit has passed: then the result is in the slot.
    ///
    /// The panic of a load that leads a flight is caught.
    pub(crate) fn begin_now(&mut self, slot: &mut dyn ResultSlot) -> thread::Result<bool> {
        match self {
            Self::Led(led) => {
                let LedLoad { run, leader, .. } = &mut **led;
                leader.enter(|| run.begin(slot))
            }
            Self::Alone(run) => Ok(run.begin(slot)),
            Self::Bypass(_) => Ok(true),
        }
    }

    /// Runs a body. While it runs, the stack holds no frame of the path of the call.
    ///
    /// The panic of a load that leads a flight is caught.
    #[inline]
    pub(crate) fn run_now<T>(&mut self, body: impl FnOnce() -> T) -> thread::Result<T> {
        match self {
            Self::Led(led) => {
                let LedLoad { run, leader, .. } = &mut **led;
                leader.enter(|| run.span.enter(body))
            }
            Self::Alone(run) => Ok(run.span.enter(body)),
            Self::Bypass(_) => Ok(body()),
        }
    }
}

impl LedLoad {
    /// Splits the result of a body that is not async.
    pub(crate) fn split_now(&mut self, slot: &mut dyn ResultSlot) -> thread::Result<LoadedValue> {
        let Self { run, leader, .. } = self;
        leader.enter(|| run.split(slot))
    }
}
