//! The end of a call, where the types of its body and of its result are known.
//!
//! The path of the call makes a [`Decision`]. This code acts on it: it runs the body in the caller if the
//! decision says so, and takes the result out of its slot. The part that depends on the types is small: a poll
//! of the body, and the slot. [`CallState`] has the rest.
//!
//! * `in_caller`: an async function.
//! * `blocking`: a function that is not async.

mod blocking;
mod in_caller;

use std::{
    future::poll_fn,
    mem,
    task::{Context, Poll, ready},
    thread,
};

pub(crate) use self::{
    blocking::{call_now, get_now, warm_now},
    in_caller::CallRun,
};
use crate::{
    call::{
        PreparedCall,
        control::{CacheOutcome, Reply, Terms},
        decision::{Deciding, Decision, DecisionStep, FailureReply},
        load::{Body, Panicked, TaskBody},
        pending::PendingLoad,
        publish::Rest,
    },
    value::policy::{LoadedValue, ResultSlot},
    warm::report::Warmed,
};

/// End of a call, whose result is in its slot.
pub(crate) struct CallEnd {
    outcome: CacheOutcome,
    /// The result is an error; `None` if it was not examined.
    is_error: Option<bool>,
    /// Body that has run in its task, and has the result.
    ran: Option<Box<dyn TaskBody>>,
}

impl CallEnd {
    fn new(outcome: CacheOutcome, is_error: Option<bool>) -> Self {
        Self { outcome, is_error, ran: None }
    }
}

/// Progress of a call beyond the hit path.
enum CallState {
    /// The call is not made yet.
    Prepared(PreparedCall, Option<Box<dyn TaskBody>>),
    Decided(Decision),
    Deciding(Deciding),
    /// The body runs in the caller.
    Running(PendingLoad),
    /// The result is there, and is still being published, because there is no runtime for that.
    Publishing(Rest, CallEnd),
    Ended,
}

impl From<DecisionStep> for CallState {
    fn from(step: DecisionStep) -> Self {
        match step {
            DecisionStep::Made(decision) => Self::Decided(decision),
            DecisionStep::Deciding(deciding) => Self::Deciding(deciding),
        }
    }
}

impl CallState {
    /// Makes a call that is not made yet, as far as it does not wait.
    fn begin(&mut self, terms: Terms) {
        *self = match mem::replace(self, Self::Ended) {
            Self::Prepared(prepared, task) => prepared.decide(terms, task).expect_poll().into(),
            state => state,
        };
    }

    fn poll(&mut self, cx: &mut Context<'_>, body: &mut dyn Body) -> Poll<Result<CallEnd, Panicked>> {
        loop {
            match self {
                Self::Decided(_) => {
                    let Self::Decided(decision) = mem::replace(self, Self::Ended) else { continue };
                    match act(decision, body.slot())? {
                        Ok(end) => return Poll::Ready(Ok(end)),
                        Err(next) => *self = next,
                    }
                }
                Self::Deciding(deciding) => {
                    let decision = ready!(deciding.as_mut().poll(cx));
                    *self = Self::Ended;
                    *self = Self::Decided(decision?);
                }
                Self::Running(load) => {
                    let loaded = ready!(load.poll(cx, body));
                    let Self::Running(load) = mem::replace(self, Self::Ended) else { continue };
                    match load.end(loaded, body.slot())? {
                        (end, None) => return Poll::Ready(Ok(end)),
                        (end, Some(rest)) => *self = Self::Publishing(rest, end),
                    }
                }
                Self::Publishing(rest, _) => {
                    ready!(rest.as_mut().poll(cx));
                    if let Self::Publishing(_, end) = mem::replace(self, Self::Ended) {
                        return Poll::Ready(Ok(end));
                    }
                }
                Self::Prepared(..) | Self::Ended => return Poll::Pending,
            }
        }
    }
}

/// Acts on a decision. Returns the next state if the call has not ended.
fn act(decision: Decision, slot: &mut dyn ResultSlot) -> Result<Result<CallEnd, CallState>, Panicked> {
    Ok(Ok(match decision {
        Decision::Reply(Reply { value: erased, outcome }, is_error) => {
            if !slot.restore(&*erased) {
                return Err(Panicked::Elsewhere);
            }
            CallEnd::new(outcome, Some(is_error))
        }
        Decision::Failure(failure) => {
            if !slot.restore(&*failure.reply.value) {
                return Ok(Err(CallState::Deciding(Box::pin(failure.load_alone()))));
            }
            CallEnd::new(failure.reply.outcome, Some(true))
        }
        Decision::TimedOut(outcome) => {
            slot.time_out();
            CallEnd::new(outcome, Some(true))
        }
        Decision::Ran(body, outcome, is_error) => CallEnd { outcome, is_error, ran: Some(body) },
        Decision::Load(load) => return Ok(Err(CallState::Running(load))),
    }))
}

impl PendingLoad {
    /// Polls the body. The result of a load that leads a flight is split.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut dyn Body,
    ) -> Poll<Option<thread::Result<LoadedValue>>> {
        match self {
            Self::Led(led) => led.poll(cx, body).map(Some),
            Self::Alone(run) => run.poll(cx, body).map(|()| None),
            Self::Bypass(_) => body.poll(cx).map(|()| None),
        }
    }

    /// Ends a load of which the result is in the slot.
    fn end(
        self,
        loaded: Option<thread::Result<LoadedValue>>,
        slot: &mut dyn ResultSlot,
    ) -> Result<(CallEnd, Option<Rest>), Panicked> {
        let (mut led, loaded) = match (self, loaded) {
            (Self::Led(led), Some(loaded)) => (led, loaded),
            (Self::Led(..), None) => return Err(Panicked::Lost),
            (Self::Alone(run), _) => {
                run.finish_unexamined();
                return Ok((CallEnd::new(CacheOutcome::Miss, None), None));
            }
            (Self::Bypass(reason), _) => {
                return Ok((CallEnd::new(CacheOutcome::Bypass(reason), None), None));
            }
        };
        let fallback = led.served_fallback.take();
        let (result, rest) = led.end(loaded);
        let output = result.as_ref().ok().copied();
        let reply = fallback.and_then(|fallback| fallback.reply_after(output));
        if let Some(Reply { value: erased, outcome }) = reply
            && slot.restore(&*erased)
        {
            return Ok((CallEnd::new(outcome, Some(false)), rest));
        }
        let output = result.map_err(Panicked::Here)?;
        Ok((CallEnd::new(CacheOutcome::Miss, Some(output.is_error)), rest))
    }
}

/// Runs the body of a task in the caller if the decision says so: there is no runtime, or nothing to store.
pub(crate) async fn run_task_here(
    decision: Decision,
    task: Option<Box<dyn TaskBody>>,
) -> Result<Decision, Panicked> {
    Ok(match (decision, task) {
        (Decision::Load(mut load), Some(mut body)) => {
            let loaded = poll_fn(|cx| load.poll(cx, &mut *body)).await;
            let (end, rest) = load.end(loaded, body.slot())?;
            if let Some(rest) = rest {
                rest.await;
            }
            Decision::Ran(body, end.outcome, end.is_error)
        }
        (Decision::Failure(failure), task) => Decision::Failure(Box::new(FailureReply { task, ..*failure })),
        (decision, _) => decision,
    })
}

impl FailureReply {
    /// Loads for this call only, as the error could not be restored. The call is counted already.
    async fn load_alone(self: Box<Self>) -> Result<Decision, Panicked> {
        let Self { context, task, .. } = *self;
        run_task_here(context.load_alone_uncounted().await, task).await
    }
}

impl CallEnd {
    /// Returns the outcome of a warm-up.
    fn warmed(mut self, slot: &mut dyn ResultSlot) -> Warmed {
        let is_error = self.is_error.unwrap_or_else(|| match &mut self.ran {
            Some(body) => body.slot().is_error(),
            None => slot.is_error(),
        });
        if is_error {
            return Warmed::Failed;
        }
        match self.outcome {
            CacheOutcome::Hit { .. } | CacheOutcome::Stale { .. } => Warmed::Present,
            CacheOutcome::Miss => Warmed::Loaded,
            CacheOutcome::Joined => Warmed::Joined,
            CacheOutcome::Bypass(_) => Warmed::Skipped,
        }
    }
}
