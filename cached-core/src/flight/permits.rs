//! Load permits: the limit of concurrent loads of a function (`max_loads`).
//!
//! Two kinds of loads need no permit, because their wait might never end: a load inside another one, and a
//! load that another load waits for.

use std::{
    collections::HashMap,
    future::{Future, pending, poll_fn},
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
    task::{Context, Poll},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    base::clock::{Clock, nanos},
    spec::FunctionSpec,
};

/// Free permits of each function that has a limit, by the fingerprint of the function.
#[derive(Debug, Default)]
pub(crate) struct LoadPermits(RwLock<HashMap<u64, Arc<Semaphore>>>);

impl LoadPermits {
    fn semaphore(&self, function: u64, limit: u32) -> Arc<Semaphore> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(permits) = known.get(&function) {
            return permits.clone();
        }
        drop(known);
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let make = || Arc::new(Semaphore::new(usize::try_from(limit).unwrap_or(usize::MAX >> 3)));
        all.entry(function).or_insert_with(make).clone()
    }
}

/// Turn of one load of a function.
///
/// It comes at once if the function has no limit, and otherwise when a permit is free. Dropping the turn
/// returns the permit.
pub(crate) struct LoadTurn(Option<Box<PermitQueue>>);

/// Result of a wait for the turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TurnResult {
    InTime,
    /// The time limit of the wait has passed, and no permit was free.
    TooLate,
}

/// Permit whose type is erased: it makes the drop of each call significant to Clippy, also where a user holds it.
type HeldPermit = Option<Box<dyn Send + Sync>>;

type Wait<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// State of a turn under a limit.
struct PermitQueue {
    permits: Arc<Semaphore>,
    state: PermitState,
    /// Ends when another load waits for this one, which needs no permit then.
    awaited_by_load: Wait<()>,
    /// Ends when the time limit of the wait has passed.
    limit: Wait<()>,
}

/// Permit of a turn.
enum PermitState {
    /// No permit was requested.
    None,
    /// A permit was requested. The request keeps its position in the queue, however often the wait is
    /// interrupted.
    Queued(Wait<Option<OwnedSemaphorePermit>>),
    Held(#[allow(dead_code, reason = "its drop returns the permit")] HeldPermit),
    Exempt,
    TooLate,
}

impl LoadPermits {
    /// Returns the turn of a load that has not begun.
    ///
    /// A load inside another one needs no permit, because the outer one may hold the permit that it would
    /// wait for. Neither does a load that another load waits for, which `awaited_by_load` signals. The wait for
    /// a permit ends `limit` from now, by `clock`.
    pub(crate) fn turn(
        &self,
        spec: &FunctionSpec,
        clock: &Clock,
        is_nested: bool,
        awaited_by_load: impl Future<Output = ()> + Send + 'static,
        limit: Option<Duration>,
    ) -> LoadTurn {
        let Some(cap) = spec.own_max_loads() else { return LoadTurn(None) };
        if is_nested {
            return LoadTurn(None);
        }
        let limit: Wait<()> = match limit {
            Some(limit) => {
                let clock = clock.clone();
                let until = clock.now().saturating_add(nanos(limit));
                Box::pin(async move { clock.sleep_until(until).await })
            }
            None => Box::pin(pending()),
        };
        let permits = self.semaphore(spec.fingerprint(), cap);
        LoadTurn(Some(Box::new(PermitQueue {
            permits,
            state: PermitState::None,
            awaited_by_load: Box::pin(awaited_by_load),
            limit,
        })))
    }
}

impl LoadTurn {
    /// Returns the turn of a load without a limit, which comes at once.
    pub(crate) fn unlimited() -> Self {
        Self(None)
    }

    /// Waits for the turn. A wait that is dropped keeps its position for the next one.
    pub(crate) async fn acquire(&mut self) -> TurnResult {
        match self.0.as_deref_mut() {
            Some(queue) => poll_fn(|cx| queue.poll(cx)).await,
            None => TurnResult::InTime,
        }
    }

    /// Checks for the turn without a wait; `None` if it has not come. The position in the queue is kept.
    pub(crate) async fn try_acquire(&mut self) -> Option<TurnResult> {
        let Some(queue) = self.0.as_deref_mut() else { return Some(TurnResult::InTime) };
        poll_fn(|cx| {
            Poll::Ready(match queue.poll(cx) {
                Poll::Ready(result) => Some(result),
                Poll::Pending => None,
            })
        })
        .await
    }

    /// Returns the permit, or the position in the queue: the load has to wait for something else first.
    pub(crate) fn release(&mut self) {
        if let Some(queue) = self.0.as_deref_mut()
            && !matches!(queue.state, PermitState::Exempt | PermitState::TooLate)
        {
            queue.state = PermitState::None;
        }
    }
}

impl PermitQueue {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<TurnResult> {
        loop {
            match &mut self.state {
                PermitState::Held(_) | PermitState::Exempt => return Poll::Ready(TurnResult::InTime),
                PermitState::TooLate => return Poll::Ready(TurnResult::TooLate),
                PermitState::None => {
                    let permits = self.permits.clone();
                    self.state =
                        PermitState::Queued(Box::pin(async move { permits.acquire_owned().await.ok() }));
                }
                PermitState::Queued(permit) => {
                    self.state = if let Poll::Ready(permit) = permit.as_mut().poll(cx) {
                        PermitState::Held(permit.map(|permit| Box::new(permit) as _))
                    } else if self.awaited_by_load.as_mut().poll(cx).is_ready() {
                        PermitState::Exempt
                    } else if self.limit.as_mut().poll(cx).is_ready() {
                        PermitState::TooLate
                    } else {
                        return Poll::Pending;
                    };
                }
            }
        }
    }
}
