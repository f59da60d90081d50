//! The handle of a function under `#[cached]`: one call with its arguments, and its operations.
//!
//! Generated code makes a `Started` of the arguments, which looks into L1, and a `Call` or `SyncCall` of
//! that. A hit runs inlined in its caller. All other state is boxed, and all other code is out of line, so
//! that it takes no space in the frames and futures of callers. `call` has the path beyond the hit.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use pollster::block_on;

use crate::{
    cache::{Absent, Cache, invalidation::Invalidation},
    call::{
        CallSpec, PreparedCall,
        aside::{self, Aside},
        control::{CacheControl, CacheOutcome, Layer, LoadRule, Reply, Terms},
        hit,
        keep_warm::Recipe,
        load::{Load, Panicked},
        schema,
    },
    error::Error,
    key::{Parts, WriteKey},
    l1::entry::Entry,
    l2::tags::Tags,
    value::erased::ErasedValue,
    warm::report::Warmed,
};

/// Purpose of a call that is being started.
#[derive(Clone, Copy, Debug)]
pub enum Intent {
    /// The function is called: L1 is asked at once.
    Plain,
    /// A companion of the function is called.
    Companion,
}

/// A call with its key written.
///
/// From here on, its arguments may go into the load.
pub struct Started<R>(Stage<R, Box<Missed<R>>>);

/// A call that L1 did not answer, or that belongs to a companion.
struct Missed<R> {
    call_spec: CallSpec<R>,
    intent: Intent,
    prepared: PreparedCall,
}

impl<R> Missed<R> {
    /// Creates the state in a box, or each caller would reserve space for it.
    #[cold]
    fn new(
        intent: Intent,
        call_spec: CallSpec<R>,
        cache: &Cache,
        parts: &dyn WriteKey,
        Absent(is_absent): Absent,
    ) -> Box<Self> {
        let prepared = PreparedCall::new(cache, call_spec.spec, parts, || schema(call_spec));
        let prepared = PreparedCall { is_absent, ..prepared };
        Box::new(Self { call_spec, intent, prepared })
    }
}

/// Progress of a call.
enum Stage<R, M> {
    Hit(R),
    /// A hit that may make its key one of the most used.
    Hot(R, Box<(Missed<R>, Arc<Entry>)>),
    /// No hit. The state is in boxes, so that a caller holds little.
    Miss(M),
}

impl<R> Started<R> {
    /// Writes the key, and for a plain call looks into L1.
    ///
    /// `restore` converts a slot to the return value. Each function has a closure type of its own for it, and
    /// thereby a copy of this code of its own.
    #[allow(
        clippy::inline_always,
        reason = "the compiler then folds the constant fields of the `FunctionSpec`"
    )]
    #[inline(always)]
    pub fn new(
        intent: Intent,
        call_spec: CallSpec<R>,
        cache: &Cache,
        parts: &impl Parts,
        restore: impl Fn(&dyn ErasedValue) -> Option<R>,
    ) -> Self {
        let absent = match intent {
            Intent::Plain => match hit(cache, call_spec.spec, parts, |entry| restore(&*entry.slot)) {
                Ok(value) => return Self(Stage::Hit(value)),
                Err(absent) => absent,
            },
            Intent::Companion => Absent(false),
        };
        Self(Stage::Miss(Missed::new(intent, call_spec, cache, parts, absent)))
    }

    /// Starts a call like [`new`](Self::new), and counts a hit as a use.
    ///
    /// For functions with `keep_warm`.
    #[allow(
        clippy::inline_always,
        reason = "the compiler then folds the constant fields of the `FunctionSpec`"
    )]
    #[inline(always)]
    pub fn counted(
        intent: Intent,
        call_spec: CallSpec<R>,
        cache: &Cache,
        parts: &impl Parts,
        restore: impl Fn(&dyn ErasedValue) -> Option<R>,
    ) -> Self {
        let take =
            |entry: &Arc<Entry>| Some((restore(&*entry.slot)?, entry.add_heat().then(|| entry.clone())));
        let absent = match intent {
            Intent::Plain => match hit(cache, call_spec.spec, parts, take) {
                Ok((value, None)) => return Self(Stage::Hit(value)),
                Ok((value, Some(entry))) => {
                    let missed = Missed::new(intent, call_spec, cache, parts, Absent(false));
                    return Self(Stage::Hot(value, Box::new((*missed, entry))));
                }
                Err(absent) => absent,
            },
            Intent::Companion => Absent(false),
        };
        Self(Stage::Miss(Missed::new(intent, call_spec, cache, parts, absent)))
    }

    /// Adds the tags of the call. A hit does not compute them.
    #[inline]
    #[must_use]
    pub fn tags(mut self, write: impl FnOnce(&mut Tags<'_>) -> Result<(), Error>) -> Self {
        if let Stage::Miss(missed) = &mut self.0 {
            missed.prepared.add_tags(write);
        }
        self
    }

    /// Adds the recipe to load the value again without a call.
    ///
    /// It is made for a hit that may make its key one of the most used.
    #[inline]
    #[must_use]
    pub fn recipe(self, recipe: impl FnOnce() -> Recipe<R>) -> Self
    where
        R: Send + 'static,
    {
        Self(match self.0 {
            Stage::Hot(value, hot) => {
                let (missed, entry) = *hot;
                missed.prepared.keep_warm(&entry, missed.call_spec.new_policy, recipe());
                Stage::Hit(value)
            }
            Stage::Miss(mut missed) if matches!(missed.intent, Intent::Companion) => {
                missed.prepared.add_renewer(missed.call_spec.new_policy, recipe);
                Stage::Miss(missed)
            }
            stage => stage,
        })
    }

    /// Adds the load for a miss. A hit does not create it, and pays nothing for it.
    #[inline]
    pub fn load<F: Future<Output = R>>(self, load: impl FnOnce() -> Load<R, F>) -> Call<R, F> {
        Call(match self.0 {
            Stage::Hit(value) | Stage::Hot(value, _) => Stage::Hit(value),
            Stage::Miss(missed) => Stage::Miss((missed, Box::new(load()))),
        })
    }

    /// Adds the body of a function that is not async, for a miss.
    #[inline]
    pub fn body<F: FnOnce() -> R>(self, body: F) -> SyncCall<R, F> {
        SyncCall(match self.0 {
            Stage::Hit(value) | Stage::Hot(value, _) => Stage::Hit(value),
            Stage::Miss(missed) => Stage::Miss((missed, body)),
        })
    }
}

/// One call of a cached function, with its arguments, that is not made yet.
///
/// The handle of a method returns one (`handle = …`), and the companions of a free function are shorthands
/// for it. `f::invalidate(args)` does for a function `f` the same as `x.handle(args).invalidate()` for a
/// method `x.f`.
#[must_use = "a call does nothing until one of its methods is used"]
pub struct Call<R, F>(Stage<R, Miss<R, F>>);

/// State and load of a call, which are added at different times.
type Miss<R, F> = (Box<Missed<R>>, Box<Load<R, F>>);

impl<R, F: Future<Output = R>> Call<R, F> {
    /// Makes the call.
    pub async fn get(self) -> R {
        match self.make() {
            Ok(value) => value,
            Err(future) => future.await,
        }
    }

    /// Makes the call for generated code.
    ///
    /// Returns the value if L1 had it, or else the future to await.
    #[doc(hidden)]
    #[inline]
    pub fn make(self) -> Result<R, impl Future<Output = R>> {
        match self.0 {
            Stage::Hit(value) | Stage::Hot(value, _) => Ok(value),
            Stage::Miss((missed, load)) => Err(Making(run(missed, load, Terms::default()))),
        }
    }

    /// Makes the call under `control`, and returns the value with its origin.
    pub async fn with<M: LoadRule>(self, control: CacheControl<M>) -> M::Reply<R> {
        match M::absent() {
            None => M::present(self.run(control.terms).await),
            Some(absent) => self.find(control.terms).await.map_or(absent, M::present),
        }
    }

    /// Runs the function and stores the new value, even if one is cached.
    pub async fn refresh(self) -> R {
        self.run(CacheControl::no_cache().terms).await.value
    }

    /// Returns the cached value, without running the function.
    ///
    /// `None` if no tier has the value.
    pub async fn peek(self) -> Option<R> {
        self.find(Terms::default()).await.map(|reply| reply.value)
    }

    /// Ensures that the value is cached, and discards it, for [`warm`](crate::warm()).
    pub async fn warm(self) -> Warmed {
        match self.0 {
            Stage::Hit(_) | Stage::Hot(..) => Warmed::Present,
            Stage::Miss((missed, load)) => {
                let Missed { call_spec, prepared, .. } = *missed;
                Box::pin(prepared.warm(Terms::default(), call_spec.new_policy, *load)).await
            }
        }
    }

    /// Removes the value from every tier, once the result is awaited.
    ///
    /// A load that has begun does not store its value afterwards.
    pub fn invalidate(self) -> Invalidation {
        match self.0 {
            Stage::Miss((missed, _)) => missed.prepared.invalidate(),
            Stage::Hit(_) | Stage::Hot(..) => Invalidation::nothing(),
        }
    }

    /// Returns the name of the entry in the shared tier, for logs and `redis-cli`.
    ///
    /// # Errors
    /// [`is_key`](Error::is_key) if an argument cannot be part of a key.
    pub fn key(self) -> Result<String, Error> {
        match self.0 {
            Stage::Miss((missed, _)) => missed.prepared.entry_key.map(|entry| entry.shared_key.text),
            Stage::Hit(_) | Stage::Hot(..) => {
                Err(Error::key("the key of this call is unknown: a hit does not compute it"))
            }
        }
    }

    async fn run(self, terms: Terms) -> Reply<R> {
        match self.0 {
            Stage::Hit(value) | Stage::Hot(value, _) => hit_reply(value),
            Stage::Miss((missed, load)) => {
                run(missed, load, terms).await.unwrap_or_else(|panicked| panicked.resume())
            }
        }
    }

    async fn find(self, terms: Terms) -> Option<Reply<R>> {
        match self.0 {
            Stage::Hit(value) | Stage::Hot(value, _) => Some(hit_reply(value)),
            Stage::Miss((missed, _)) => {
                let Missed { call_spec, prepared, .. } = *missed;
                Box::pin(prepared.find(terms, (call_spec.new_policy)())).await
            }
        }
    }
}

/// Returns the reply of a plain call that L1 had answered when the call was started.
fn hit_reply<R>(value: R) -> Reply<R> {
    Reply::new(value, CacheOutcome::Hit { tier: Layer::L1, age: Duration::ZERO })
}

/// Creates the boxed future of a call, which thereby takes no space in the frames that poll it.
///
/// Kept out of the code of a hit.
#[cold]
#[allow(clippy::boxed_local, reason = "the callers pass boxes")]
fn run<R, F: Future<Output = R>>(
    missed: Box<Missed<R>>,
    load: Box<Load<R, F>>,
    terms: Terms,
) -> Pin<Box<impl Future<Output = Result<Reply<R>, Panicked>>>> {
    let Missed { call_spec, prepared, .. } = *missed;
    Box::pin(prepared.run(terms, (call_spec.new_policy)(), *load))
}

/// Future of a plain call that L1 did not answer.
struct Making<F>(Pin<Box<F>>);

impl<R, F: Future<Output = Result<Reply<R>, Panicked>>> Future for Making<F> {
    type Output = R;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        let reply = self.0.as_mut().poll(cx);
        reply.map(|reply| reply.unwrap_or_else(|panicked| panicked.resume()).value)
    }
}

/// A [`Call`] of a function that is not async: its methods block.
#[must_use = "a call does nothing until one of its methods is used"]
pub struct SyncCall<R, F>(Stage<R, (Box<Missed<R>>, F)>);

impl<R, F: FnOnce() -> R> SyncCall<R, F> {
    /// Makes the call.
    #[inline]
    pub fn get(self) -> R {
        match self.0 {
            Stage::Hit(value) | Stage::Hot(value, _) => value,
            Stage::Miss((missed, body)) => get(missed, body),
        }
    }

    /// Makes the call under `control`, and returns the value with its origin.
    pub fn with<M: LoadRule>(self, control: CacheControl<M>) -> M::Reply<R> {
        self.drive(|call| call.with(control))
    }

    /// Runs the function and stores the new value, even if one is cached.
    pub fn refresh(self) -> R {
        self.drive(Call::refresh)
    }

    /// Returns the cached value, without running the function.
    ///
    /// `None` if no tier has the value.
    pub fn peek(self) -> Option<R> {
        block_on(self.without_load().peek())
    }

    /// Ensures that the value is cached, and discards it, for [`warm`](crate::warm()).
    pub fn warm(self) -> Warmed {
        self.drive(Call::warm)
    }

    /// Removes the value. A load that has begun does not store its value afterwards.
    ///
    /// # Errors
    /// [`is_key`](Error::is_key) if an argument cannot be part of a key: then nothing was ever cached for it.
    pub fn invalidate(self) -> Result<(), Error> {
        block_on(self.invalidation())
    }

    pub(crate) fn invalidation(self) -> Invalidation {
        self.without_load().invalidate()
    }

    /// Returns the name of the entry, for logs.
    ///
    /// # Errors
    /// [`is_key`](Error::is_key) if an argument cannot be part of a key.
    pub fn key(self) -> Result<String, Error> {
        self.without_load().key()
    }

    /// Makes an async call, and blocks where that would wait.
    fn drive<T, A: Future<Output = T>>(self, make: impl FnOnce(Call<R, Aside<R>>) -> A) -> T {
        match self.0 {
            Stage::Miss((missed, body)) => aside::drive(body, |load| {
                Box::pin(make(Call(Stage::Miss((missed, Box::new(Load::Inline(load)))))))
            }),
            Stage::Hit(value) | Stage::Hot(value, _) => block_on(make(Call(Stage::Hit(value)))),
        }
    }

    /// Returns a call that cannot load.
    fn without_load(self) -> Call<R, Aside<R>> {
        Call(match self.0 {
            Stage::Miss((missed, _)) => Stage::Miss((missed, Box::new(Load::Inline(Aside::never())))),
            Stage::Hit(value) | Stage::Hot(value, _) => Stage::Hit(value),
        })
    }
}

/// Makes a call that L1 did not answer.
///
/// Not inlined, so that a miss takes no space in the frame of the caller.
#[cold]
#[inline(never)]
fn get<R, F: FnOnce() -> R>(missed: Box<Missed<R>>, body: F) -> R {
    let ended = aside::drive(body, |load| run(missed, Box::new(Load::Inline(load)), Terms::default()));
    match ended {
        Ok(reply) => reply.value,
        Err(panicked) => panicked.resume(),
    }
}
