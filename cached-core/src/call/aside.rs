//! Loads that are not async.
//!
//! The path of a call is one future, and the load is polled in the middle of it. A function that calls itself would have all the
//! frames of that path under each of its levels. So a load that is not async does not run where it is polled: there it is asked
//! for, the path returns as if the load were waiting for something, and then the body runs on its caller's own stack.

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

use crate::{flight::Inside, telemetry::span::Entered};

/// What stands for the body in the path of the call.
pub(crate) struct Aside<R>(Rc<RefCell<Turn<R>>>);

enum Turn<R> {
    /// The path has not come to the load.
    Before,
    /// The body is to run here.
    Wanted(Place),
    Ended(thread::Result<R>),
    /// The path has it.
    Over,
}

/// What the load is inside of.
struct Place {
    inside: Inside,
    span: Entered,
}

impl<R> Aside<R> {
    /// For a call that loads nothing.
    pub(crate) fn never() -> Self {
        Self(Rc::new(RefCell::new(Turn::Over)))
    }
}

impl<R> Future for Aside<R> {
    type Output = R;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<R> {
        let mut turn = self.0.borrow_mut();
        let (next, polled) = match std::mem::replace(&mut *turn, Turn::Over) {
            Turn::Before => {
                (Turn::Wanted(Place { inside: Inside::here(), span: Entered::here() }), Poll::Pending)
            }
            Turn::Ended(Ok(out)) => (Turn::Over, Poll::Ready(out)),
            Turn::Ended(Err(panic)) => {
                drop(turn);
                resume_unwind(panic)
            }
            waiting => (waiting, Poll::Pending),
        };
        *turn = next;
        polled
    }
}

/// Blocks until the call has ended, and runs `body` if and when the call comes to its load.
///
/// What is on the stack while the body runs is this function's frame: everything else has returned.
pub(crate) fn drive<'a, R, T>(
    body: impl FnOnce() -> R,
    call: impl FnOnce(Aside<R>) -> Pin<Box<dyn Future<Output = T> + 'a>>,
) -> T {
    let turn = Rc::new(RefCell::new(Turn::Before));
    let mut call = call(Aside(turn.clone()));
    match until_wanted(call.as_mut(), &turn) {
        Next::Ended(out) => out,
        Next::Body(place) => {
            let ended = catch_unwind(AssertUnwindSafe(|| place.run(body)));
            *turn.borrow_mut() = Turn::Ended(ended);
            wait(call)
        }
    }
}

enum Next<T> {
    Ended(T),
    Body(Place),
}

#[inline(never)]
fn until_wanted<R, T>(mut call: Pin<&mut dyn Future<Output = T>>, turn: &RefCell<Turn<R>>) -> Next<T> {
    block_on(poll_fn(|cx| match call.as_mut().poll(cx) {
        Poll::Ready(out) => Poll::Ready(Next::Ended(out)),
        Poll::Pending => {
            let mut turn = turn.borrow_mut();
            match std::mem::replace(&mut *turn, Turn::Over) {
                Turn::Wanted(place) => Poll::Ready(Next::Body(place)),
                other => {
                    *turn = other;
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

impl Place {
    fn run<R>(self, body: impl FnOnce() -> R) -> R {
        let Self { inside, span } = self;
        let _span = span.again();
        inside.run(body)
    }
}
