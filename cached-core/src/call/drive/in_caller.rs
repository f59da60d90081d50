//! The rest of a call of an async function, whose body runs in the caller unless it has a task of its own.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use super::{CallEnd, CallState};
use crate::{
    call::{
        PreparedCall,
        control::{Reply, Terms},
        load::{BodyParts, Load, Panicked, TakeResult, TaskLoad},
    },
    value::policy::{ResultPolicy, TypedSlot},
    warm::report::Warmed,
};

/// The rest of a call that L1 did not answer.
pub(crate) struct CallRun<R, F> {
    // The order of the fields is that of their drop: the body is dropped before its flight ends.
    body: Option<Pin<Box<F>>>,
    core: CallCore<R>,
}

/// The part of a call that does not depend on the type of its body.
struct CallCore<R> {
    slot: TypedSlot<R>,
    take: Option<TakeResult<R>>,
    state: CallState,
}

/// The result is never pinned, and the body has a box of its own.
impl<R, F> Unpin for CallRun<R, F> {}

impl<R> CallCore<R> {
    fn new(
        prepared: PreparedCall,
        terms: Terms,
        policy: Arc<dyn ResultPolicy<R>>,
        task: Option<TaskLoad<R>>,
    ) -> Self {
        let (task, take) = task.map(|task| task.into_parts(policy.clone())).unzip();
        let state = prepared.decide(terms, task).into();
        Self { slot: TypedSlot::new(policy), take, state }
    }

    fn finish(&mut self, end: Result<CallEnd, Panicked>) -> Result<Reply<R>, Panicked> {
        let CallEnd { outcome, ran, .. } = end?;
        let value = match (ran, self.take) {
            (Some(body), Some(take)) => take(body),
            _ => self.slot.take(),
        };
        // Each way to the end of a call fills the slot.
        value.map(|value| Reply::new(value, outcome)).ok_or(Panicked::Lost)
    }
}

impl<R, F: Future<Output = R>> CallRun<R, F> {
    pub(crate) fn new(
        prepared: PreparedCall,
        terms: Terms,
        policy: Arc<dyn ResultPolicy<R>>,
        load: Load<R, F>,
    ) -> Self {
        let (body, task) = match load {
            Load::Inline(body) => (Some(body), None),
            Load::Detached(task) => (None, Some(task)),
            Load::Never => (None, None),
        };
        Self { body, core: CallCore::new(prepared, terms, policy, task) }
    }

    /// Makes the call, and discards the value.
    pub(crate) async fn warm(mut self) -> Warmed {
        match poll_fn(|cx| self.poll_end(cx)).await {
            Ok(end) => end.warmed(&mut self.core.slot),
            Err(_) => Warmed::Panicked,
        }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<CallEnd, Panicked>> {
        let Self { body, core } = self;
        core.state.poll(cx, &mut BodyParts { slot: &mut core.slot, body })
    }
}

impl<R, F: Future<Output = R>> Future for CallRun<R, F> {
    type Output = Result<Reply<R>, Panicked>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let end = ready!(self.poll_end(cx));
        Poll::Ready(self.core.finish(end))
    }
}
