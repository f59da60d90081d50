//! Function bodies, and the place where each runs.
//!
//! The path of a call knows neither the type of the body nor the return type. It reaches both through a
//! [`Body`]: a future, with a [`TypedSlot`] for its result. A body in a task of its own is a [`TaskBody`], which the
//! path owns. A body in the caller stays there, and the path stops where the body is to run: see `pending`.

use std::{
    any::Any,
    future::Future,
    panic::resume_unwind,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use crate::{
    flight::Panic,
    value::policy::{ResultPolicy, ResultSlot, TypedSlot},
};

/// A function body, and the place where it runs.
pub enum Load<R, F> {
    /// Runs in a task of its own, which goes on when the caller is dropped.
    Detached(TaskLoad<R>),
    /// Runs in the caller, usually because it borrows from the caller. If the caller is dropped, a follower
    /// loads again.
    Inline(Pin<Box<F>>),
    /// The call never loads.
    Never,
}

impl<R, F> Load<R, F> {
    /// Returns the body that runs in the caller, and the one in a task. At most one is there.
    pub(crate) fn into_parts(self) -> (Option<Pin<Box<F>>>, Option<TaskLoad<R>>) {
        match self {
            Self::Inline(body) => (Some(body), None),
            Self::Detached(task) => (None, Some(task)),
            Self::Never => (None, None),
        }
    }
}

/// A body that may move to another thread.
pub(crate) type BoxedLoad<R> = Pin<Box<dyn Future<Output = R> + Send>>;

/// A body in a task of its own, and the way of its result to the caller.
///
/// Only code that knows that the return type can move to another thread can make one.
pub struct TaskLoad<R> {
    body: BoxedLoad<R>,
    erase: EraseBody<R>,
    take: TakeResult<R>,
}

type EraseBody<R> = fn(BoxedLoad<R>, Arc<dyn ResultPolicy<R>>) -> Box<dyn TaskBody>;

/// Takes the result out of a body that has ended in its task.
pub(crate) type TakeResult<R> = fn(Box<dyn TaskBody>) -> Option<R>;

impl<R: Send + 'static> TaskLoad<R> {
    pub(crate) fn new(body: BoxedLoad<R>) -> Self {
        Self { body, erase: erase_body, take: take_result }
    }
}

impl<R> TaskLoad<R> {
    /// Returns the body for the path of the call, and the function that takes its result out again.
    pub(crate) fn into_parts(self, policy: Arc<dyn ResultPolicy<R>>) -> (Box<dyn TaskBody>, TakeResult<R>) {
        ((self.erase)(self.body, policy), self.take)
    }
}

/// Erases the return type of a body.
pub(crate) fn erase_body<R: Send + 'static>(
    body: BoxedLoad<R>,
    policy: Arc<dyn ResultPolicy<R>>,
) -> Box<dyn TaskBody> {
    Box::new(OwnedBody { slot: TypedSlot::new(policy), body: Some(body) })
}

fn take_result<R: Send + 'static>(body: Box<dyn TaskBody>) -> Option<R> {
    let mut body: Box<OwnedBody<R>> = body.into_any().downcast().ok()?;
    body.slot.take()
}

/// A function body, with the place for its result.
pub(crate) trait Body {
    /// Polls the body. When it is ready, its result is in the slot, and the body itself is dropped.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Drops the body.
    fn cancel(&mut self);

    fn slot(&mut self) -> &mut dyn ResultSlot;
}

/// A [`Body`] that can move to a task.
pub(crate) trait TaskBody: Body + Send {
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

/// A future, and the slot for its output.
pub(crate) struct BodyParts<'a, R, F: ?Sized> {
    pub(crate) slot: &'a mut TypedSlot<R>,
    pub(crate) body: &'a mut Option<Pin<Box<F>>>,
}

impl<R, F: Future<Output = R> + ?Sized> Body for BodyParts<'_, R, F> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(body) = self.body else { return Poll::Pending };
        let Poll::Ready(result) = body.as_mut().poll(cx) else { return Poll::Pending };
        self.slot.put(result);
        self.cancel();
        Poll::Ready(())
    }

    fn cancel(&mut self) {
        *self.body = None;
    }

    fn slot(&mut self) -> &mut dyn ResultSlot {
        self.slot
    }
}

/// A body in a task of its own, and the slot for its output.
struct OwnedBody<R> {
    slot: TypedSlot<R>,
    body: Option<BoxedLoad<R>>,
}

impl<R> OwnedBody<R> {
    fn parts(&mut self) -> BodyParts<'_, R, dyn Future<Output = R> + Send> {
        BodyParts { slot: &mut self.slot, body: &mut self.body }
    }
}

impl<R> Body for OwnedBody<R> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.parts().poll(cx)
    }

    fn cancel(&mut self) {
        self.body = None;
    }

    fn slot(&mut self) -> &mut dyn ResultSlot {
        &mut self.slot
    }
}

impl<R: Send + 'static> TaskBody for OwnedBody<R> {
    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// Reason why a call has no result.
pub(crate) enum Panicked {
    /// The load of this call panicked, with this payload.
    Here(Panic),
    /// The load that this call waited for panicked, and so did the second attempt.
    Elsewhere,
    /// The runtime that ran the load was shut down.
    Lost,
}

impl Panicked {
    /// Panics, as the function would without a cache.
    pub(crate) fn resume(self) -> ! {
        match self {
            Self::Here(panic) => resume_unwind(panic),
            Self::Elsewhere => panic!("the load of a cached function panicked in another call, twice"),
            Self::Lost => panic!("the runtime that ran the load of a cached function was shut down"),
        }
    }
}
