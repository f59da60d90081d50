//! The decision of a call beyond the hit path: a value, or a load that is to run next.

use std::{future::Future, pin::Pin};

use crate::{
    cache::Cache,
    call::{
        context::{CallContext, ErasedReply},
        control::{CacheOutcome, Reason, Reply},
        fallback::{Fallback, LoadOutput},
        load::{Panicked, TaskBody},
        pending::PendingLoad,
        run::{TaskContent, TaskOutput, TaskResult},
    },
    spec::FunctionSpec,
    telemetry::stats::Count,
};

/// Future of a decision.
pub(crate) type Deciding = Pin<Box<dyn Future<Output = Result<Decision, Panicked>> + Send>>;

/// A decision that was made at once, or its future.
pub(crate) enum DecisionStep {
    Made(Decision),
    Deciding(Deciding),
}

/// Outcome of a call, as far as code can decide it that does not know the return type.
pub(crate) enum Decision {
    /// A value that another call, or an earlier one, has loaded. The flag tells that it is an error.
    Reply(ErasedReply, bool),
    /// An error that another call, or an earlier one, has loaded. The user's code restores it, and may fail.
    Failure(Box<FailureReply>),
    /// The call has waited for as long as a load may take.
    TimedOut(CacheOutcome),
    /// The body has run in its task, and has the result. The flag tells that it is an error, if it was examined.
    Ran(Box<dyn TaskBody>, CacheOutcome, Option<bool>),
    /// The body is to run in the caller.
    Load(PendingLoad),
}

/// An error of another load, with what the call needs to load for itself if the error cannot be restored.
pub(crate) struct FailureReply {
    pub(crate) reply: ErasedReply,
    pub(crate) context: Box<CallContext>,
    pub(crate) task: Option<Box<dyn TaskBody>>,
}

impl DecisionStep {
    /// Counts the idle time of a leader from here on, because the call may be polled later, or never.
    pub(crate) fn expect_poll(self) -> Self {
        if let Self::Made(Decision::Load(PendingLoad::Led(led))) = &self {
            led.leader.expect_poll();
        }
        self
    }
}

impl Decision {
    /// Decides for the result of another load.
    pub(crate) fn reply(context: Box<CallContext>, reply: ErasedReply) -> Self {
        if context.policy().is_value(&*reply.value) {
            Self::Reply(reply, false)
        } else {
            Self::Failure(Box::new(FailureReply { reply, context, task: None }))
        }
    }

    /// Decides that the function runs as if it had no attribute.
    pub(crate) fn bypass(cache: &Cache, spec: &FunctionSpec, reason: Reason) -> Self {
        cache.count_of(spec, Count::Bypass);
        Self::Load(PendingLoad::Bypass(reason))
    }
}

/// Decides by the result of a load in a task, or by the value of `fallback` if the load failed.
pub(crate) fn settle(result: TaskResult, fallback: Option<&Fallback>) -> Result<Decision, Panicked> {
    let output = result.as_ref().ok().map(|ended| ended.output);
    if let Some(reply) = fallback.and_then(|fallback| fallback.reply_after(output)) {
        return Ok(Decision::Reply(reply, false));
    }
    let TaskOutput { content, output: LoadOutput { is_error, .. } } = result.map_err(Panicked::Here)?;
    Ok(match content {
        TaskContent::Own(body) => Decision::Ran(body, CacheOutcome::Miss, Some(is_error)),
        TaskContent::Shared(erased) => Decision::Reply(Reply::new(erased, CacheOutcome::Miss), is_error),
    })
}
