//! How many loads of a function go on at a time.

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

/// Of each function that has a limit, by its site's print, the places that are free.
#[derive(Debug, Default)]
pub(crate) struct LoadPermits(RwLock<HashMap<u64, Arc<Semaphore>>>);

impl LoadPermits {
    fn of(&self, function: u64, limit: u32) -> Arc<Semaphore> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(places) = known.get(&function) {
            return places.clone();
        }
        drop(known);
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let make = || Arc::new(Semaphore::new(usize::try_from(limit).unwrap_or(usize::MAX >> 3)));
        all.entry(function).or_insert_with(make).clone()
    }
}

/// The turn of one load of a function: at once where the function has no limit, and otherwise when one of its places is
/// free. It ends, and the place is free again, when this is dropped.
pub(crate) struct LoadTurn(Option<Box<Queue>>);

/// What became of a wait for the turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    InTime,
    /// The limit of the wait has passed, and no place was free.
    TooLate,
}

type Wait<T> = Pin<Box<dyn Future<Output = T> + Send>>;

struct Queue {
    places: Arc<Semaphore>,
    place: Place,
    /// The load needs no place any more, because another load waits for it.
    wanted: Wait<()>,
    /// No longer than until then.
    limit: Wait<()>,
}

enum Place {
    /// Not asked for.
    None,
    /// The wait keeps its position in the queue, however often it is interrupted.
    Queued(Wait<Option<OwnedSemaphorePermit>>),
    Held(#[allow(dead_code, reason = "it is given back when it is dropped")] Option<OwnedSemaphorePermit>),
    Exempt,
    TooLate,
}

impl LoadPermits {
    /// The turn of a load that has not begun. A load inside of another one needs no place: the outer one may hold the place
    /// that it would wait for. Neither does one of which another load comes to wait, as `wanted` tells. The wait for a place
    /// ends after `limit` from now on, by `clock`.
    pub(crate) fn turn(
        &self,
        site: &FunctionSpec,
        clock: &Clock,
        is_nested: bool,
        wanted: impl Future<Output = ()> + Send + 'static,
        limit: Option<Duration>,
    ) -> LoadTurn {
        let Some(cap) = site.load_cap() else { return LoadTurn(None) };
        if is_nested {
            return LoadTurn(None);
        }
        let limit: Wait<()> = match limit {
            Some(limit) => {
                let clock = clock.clone();
                let until = clock.now().saturating_add(nanos(limit));
                Box::pin(async move { clock.until(until).await })
            }
            None => Box::pin(pending()),
        };
        let places = self.of(site.print(), cap);
        LoadTurn(Some(Box::new(Queue { places, place: Place::None, wanted: Box::pin(wanted), limit })))
    }
}

impl LoadTurn {
    /// Of a function without a limit.
    pub(crate) fn at_once() -> Self {
        Self(None)
    }

    /// Waits for it. A wait that is dropped keeps its position for the next one.
    pub(crate) async fn come(&mut self) -> Came {
        match self.0.as_deref_mut() {
            Some(queue) => poll_fn(|cx| queue.poll(cx)).await,
            None => Came::InTime,
        }
    }

    /// The same without a wait; `None` if it has not come. Its position in the queue is taken.
    pub(crate) async fn come_now(&mut self) -> Option<Came> {
        let Some(queue) = self.0.as_deref_mut() else { return Some(Came::InTime) };
        poll_fn(|cx| {
            Poll::Ready(match queue.poll(cx) {
                Poll::Ready(came) => Some(came),
                Poll::Pending => None,
            })
        })
        .await
    }

    /// Gives the place back, or the position in the queue: there is something else to be waited for first.
    pub(crate) fn pass(&mut self) {
        if let Some(queue) = self.0.as_deref_mut()
            && !matches!(queue.place, Place::Exempt | Place::TooLate)
        {
            queue.place = Place::None;
        }
    }
}

impl Queue {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Came> {
        loop {
            match &mut self.place {
                Place::Held(_) | Place::Exempt => return Poll::Ready(Came::InTime),
                Place::TooLate => return Poll::Ready(Came::TooLate),
                Place::None => {
                    let places = self.places.clone();
                    self.place = Place::Queued(Box::pin(async move { places.acquire_owned().await.ok() }));
                }
                Place::Queued(place) => {
                    self.place = if let Poll::Ready(place) = place.as_mut().poll(cx) {
                        Place::Held(place)
                    } else if self.wanted.as_mut().poll(cx).is_ready() {
                        Place::Exempt
                    } else if self.limit.as_mut().poll(cx).is_ready() {
                        Place::TooLate
                    } else {
                        return Poll::Pending;
                    };
                }
            }
        }
    }
}
