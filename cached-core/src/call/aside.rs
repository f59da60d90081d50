//! Execution of function bodies that are not async.
//!
//! The path of a call is one future, which polls the load in its middle. If a synchronous body ran there,
//! each level of a recursive function would have all the frames of that path below it. So the poll only
//! requests the body, and the path returns as if the load were waiting. `drive` then runs the body on the
//! caller's own stack, and polls the path again with the result.
//!
//! `api::function` calls `drive` for functions that are not async.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    thread,
};

use pollster::block_on;

use crate::{flight::CapturedChain, telemetry::span::Entered};

/// Future that takes the place of the body in the path of a call.
pub(crate) struct Aside<R>(Rc<RefCell<BodyState<R>>>);

/// Progress of the body.
enum BodyState<R> {
    /// The path has not reached the load.
    Before,
    /// The path has requested the body, which is to run in this place.
    Requested(LoadScope),
    Ended(thread::Result<R>),
    /// The path has taken the result, or there is no body to run.
    Done,
}

/// Surroundings of the load: the enclosing loads, and the current span.
struct LoadScope {
    chain: CapturedChain,
    span: Entered,
}

impl<R> Aside<R> {
    /// Creates the future for a call that never loads.
    pub(crate) fn never() -> Self {
        Self(Rc::new(RefCell::new(BodyState::Done)))
    }
}

impl<R> Future for Aside<R> {
    type Output = R;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<R> {
        let mut state = self.0.borrow_mut();
        let (next, polled) = match std::mem::replace(&mut *state, BodyState::Done) {
            BodyState::Before => (
                BodyState::Requested(LoadScope { chain: CapturedChain::capture(), span: Entered::current() }),
                Poll::Pending,
            ),
            BodyState::Ended(Ok(out)) => (BodyState::Done, Poll::Ready(out)),
            BodyState::Ended(Err(panic)) => {
                drop(state);
                resume_unwind(panic)
            }
            waiting => (waiting, Poll::Pending),
        };
        *state = next;
        polled
    }
}

/// Blocks until the call has ended, and runs `body` if the call reaches its load.
///
/// While the body runs, the stack holds the frame of this function only: all frames of the path have
/// returned.
pub(crate) fn drive<'a, R, T>(
    body: impl FnOnce() -> R,
    call: impl FnOnce(Aside<R>) -> Pin<Box<dyn Future<Output = T> + 'a>>,
) -> T {
    let state = Rc::new(RefCell::new(BodyState::Before));
    let mut call = call(Aside(state.clone()));
    match poll_until_requested(call.as_mut(), &state) {
        BodyStep::Ended(out) => out,
        BodyStep::Body(scope) => {
            let ended = catch_unwind(AssertUnwindSafe(|| scope.run(body)));
            *state.borrow_mut() = BodyState::Ended(ended);
            wait(call)
        }
    }
}

/// Reason why the first part of the call has returned.
enum BodyStep<T> {
    Ended(T),
    Body(LoadScope),
}

/// Polls the call until it ends or requests its body.
#[inline(never)]
fn poll_until_requested<R, T>(
    mut call: Pin<&mut dyn Future<Output = T>>,
    state: &RefCell<BodyState<R>>,
) -> BodyStep<T> {
    block_on(poll_fn(|cx| match call.as_mut().poll(cx) {
        Poll::Ready(out) => Poll::Ready(BodyStep::Ended(out)),
        Poll::Pending => {
            let mut state = state.borrow_mut();
            match std::mem::replace(&mut *state, BodyState::Done) {
                BodyState::Requested(scope) => Poll::Ready(BodyStep::Body(scope)),
                other => {
                    *state = other;
                    Poll::Pending
                }
            }
        }
    }))
}

#[inline(never)]
fn wait<T>(call: Pin<Box<dyn Future<Output = T> + '_>>) -> T {
    block_on(call)
}

impl LoadScope {
    /// Runs the body in these surroundings.
    fn run<R>(self, body: impl FnOnce() -> R) -> R {
        let Self { chain, span } = self;
        let _span = span.reenter();
        chain.run(body)
    }
}
