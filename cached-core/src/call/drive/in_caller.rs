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
        NewPolicy, PreparedCall,
        control::{Reply, Terms},
        load::{BodyParts, Load, Panicked, TakeResult, TaskLoad},
    },
    value::policy::{ResultPolicy, ResultSlot, TypedSlot},
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
    /// Creates the state of a function's call. Not inlined into the code of each body, and neither are the
    /// policies.
    #[inline(never)]
    fn of_function(prepared: PreparedCall, new_policy: NewPolicy<R>, task: Option<TaskLoad<R>>) -> Self {
        Self::new(prepared, new_policy(), task)
    }

    fn new(mut prepared: PreparedCall, policy: Arc<dyn ResultPolicy<R>>, task: Option<TaskLoad<R>>) -> Self {
        prepared.set_policy(policy.clone());
        let (task, take) = task.map(|task| task.into_parts(policy.clone())).unzip();
        Self { slot: TypedSlot::new(policy), take, state: CallState::Prepared(prepared, task) }
    }

    fn into_prepared(self) -> Option<PreparedCall> {
        match self.state {
            CallState::Prepared(prepared, _) => Some(prepared),
            _ => None,
        }
    }

    async fn find(mut self, terms: Terms) -> Option<Reply<R>> {
        let CallState::Prepared(prepared, _) = self.state else { return None };
        let Reply { value: erased, outcome } = Box::pin(prepared.find(terms)).await?;
        let value = if self.slot.restore(&*erased) { self.slot.take()? } else { return None };
        Some(Reply::new(value, outcome))
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

#[allow(
    clippy::unnecessary_box_returns,
    clippy::boxed_local,
    reason = "the call has one box from its beginning, and its caller holds a pointer"
)]
impl<R, F: Future<Output = R>> CallRun<R, F> {
    /// Creates the rest of a call of a function.
    pub(crate) fn of_function(
        prepared: PreparedCall,
        new_policy: NewPolicy<R>,
        load: Load<R, F>,
    ) -> Box<Self> {
        let (body, task) = load.into_parts();
        Box::new(Self { body, core: CallCore::of_function(prepared, new_policy, task) })
    }

    /// Creates the rest of a call of a keyspace.
    pub(crate) fn of_keyspace(
        prepared: PreparedCall,
        policy: Arc<dyn ResultPolicy<R>>,
        load: Load<R, F>,
    ) -> Box<Self> {
        let (body, task) = load.into_parts();
        Box::new(Self { body, core: CallCore::new(prepared, policy, task) })
    }

    /// Makes the call, as far as it does not wait.
    #[inline(never)]
    pub(crate) fn begin(mut self: Box<Self>, terms: Terms) -> Box<Self> {
        self.core.state.begin(terms);
        self
    }

    /// Returns the value if a tier has it, without a load and without a fill.
    pub(crate) async fn find(self: Box<Self>, terms: Terms) -> Option<Reply<R>> {
        self.core.find(terms).await
    }

    /// Returns the call without its body.
    pub(crate) fn into_prepared(self: Box<Self>) -> Option<PreparedCall> {
        self.core.into_prepared()
    }

    /// Returns whether a value could be stored. Otherwise, a load to warm the cache would be useless.
    pub(crate) fn may_store(&self) -> bool {
        matches!(&self.core.state, CallState::Prepared(prepared, _) if prepared.may_store())
    }

    /// Makes the call, and discards the value.
    pub(crate) async fn warm(mut self: Box<Self>, terms: Terms) -> Warmed {
        if !self.may_store() {
            return Warmed::Skipped;
        }
        self.core.state.begin(terms);
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
