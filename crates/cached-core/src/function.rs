//! What stands behind a function under `#[cached]`: one call with its arguments, and what can be done with it.

use std::{future::Future, time::Duration};

use pollster::block_on;

use crate::{
    Cache, CacheControl, Error,
    call::{Plan, Prepared, Start, start},
    control::{CacheOutcome, Layer, LoadRule, Reply, Terms},
    invalidation::Invalidation,
    keep_warm::Recipe,
    key::{KeyWriter, WriteKey},
    l1::Kept,
    load::Load,
    tags::Tags,
    warm::Warmed,
};

/// Whether a call is made as it stands, or is a handle for something else.
#[derive(Clone, Copy, Debug)]
pub enum Intent {
    /// The function is called: L1 is asked at once.
    Plain,
    /// One of its companions is.
    Beside,
}

/// A call whose key is written. From here on its arguments may go into the load.
pub struct Started<R> {
    plan: Plan<R>,
    start: Start<R>,
    /// The name in the shared tier, if it may be asked for.
    name: Option<Result<String, Error>>,
}

impl<R> Started<R> {
    /// Writes the key, and for a plain call looks into L1.
    #[inline]
    pub fn new(
        intent: Intent,
        plan: Plan<R>,
        cache: &Cache,
        write: impl Fn(&mut KeyWriter<'_>) -> Result<(), Error>,
    ) -> Self {
        match intent {
            Intent::Plain => Self { plan, start: start(cache, plan, write, |_| false), name: None },
            Intent::Beside => Self::beside(plan, cache, write),
        }
    }

    /// The same for a function that keeps its most used keys warm: a hit counts.
    #[inline]
    pub fn counted(
        intent: Intent,
        plan: Plan<R>,
        cache: &Cache,
        write: impl Fn(&mut KeyWriter<'_>) -> Result<(), Error>,
    ) -> Self {
        match intent {
            Intent::Plain => Self { plan, start: start(cache, plan, write, Kept::used), name: None },
            Intent::Beside => Self::beside(plan, cache, write),
        }
    }

    fn beside(plan: Plan<R>, cache: &Cache, write: impl WriteKey) -> Self {
        let schema = || (plan.shape)().schema(plan.site.schema_version());
        let prepared = Prepared::new(cache, plan.site, &write, schema);
        let name = prepared.entry.as_ref().map(|entry| entry.name.text.clone()).map_err(Clone::clone);
        Self { plan, start: Start::Miss(prepared), name: Some(name) }
    }

    /// Adds the tags of the call. A hit does not look at them.
    #[inline]
    #[must_use]
    pub fn tags(mut self, write: impl FnOnce(&mut Tags<'_>) -> Result<(), Error>) -> Self {
        if let Start::Miss(prepared) = &mut self.start {
            prepared.add_tags(write);
        }
        self
    }

    /// Adds how to load the value again when nobody asks. It is made for a hit that makes its key one of the most used.
    #[inline]
    #[must_use]
    pub fn keep(self, recipe: impl FnOnce() -> Recipe<R>) -> Self
    where
        R: Send + 'static,
    {
        let Self { plan, start, name } = self;
        let start = match start {
            Start::Hot(value, age, hot) => {
                let (prepared, kept) = *hot;
                prepared.keep_warm(&kept, plan.shape, recipe());
                Start::Hit(value, age)
            }
            Start::Miss(prepared) if name.is_some() => Start::Miss(prepared.kept_by(plan.shape, recipe)),
            start => start,
        };
        Self { plan, start, name }
    }

    /// Adds what to do on a miss. A hit has no use for it, and pays nothing for it.
    #[inline]
    pub fn load<F: Future<Output = R>>(self, load: impl FnOnce() -> Load<R, F>) -> Call<R, F> {
        let Self { plan, start, name } = self;
        let stage = match start {
            Start::Hit(value, age) | Start::Hot(value, age, _) => Stage::Hit(value, age),
            Start::Miss(prepared) => Stage::Miss(Box::new((prepared, load()))),
        };
        Call { plan, stage, name }
    }
}

/// One call of a cached function, with its arguments, not made yet.
///
/// A method's handle returns it (`handle = …`), and the companions of a free function are shorthands for it:
/// `f::invalidate(args)` is to `f` what `x.handle(args).invalidate()` is to `x.f`.
#[must_use = "a call does nothing until one of its methods is used"]
pub struct Call<R, F> {
    plan: Plan<R>,
    stage: Stage<R, F>,
    name: Option<Result<String, Error>>,
}

enum Stage<R, F> {
    Hit(R, Duration),
    /// Boxed, so that the future of a call is small, whatever its body is.
    Miss(Box<(Prepared, Load<R, F>)>),
}

impl<R, F: Future<Output = R>> Call<R, F> {
    /// Makes the call.
    pub async fn get(self) -> R {
        match self.stage {
            Stage::Hit(value, _) => value,
            Stage::Miss(_) => self.run(Terms::default()).await.value,
        }
    }

    /// Makes the call as `control` says, and tells where the value came from.
    pub async fn with<M: LoadRule>(self, control: CacheControl<M>) -> M::Reply<R> {
        match M::absent() {
            None => M::present(self.run(control.terms).await),
            Some(absent) => self.find(control.terms).await.map_or(absent, M::present),
        }
    }

    /// Runs the function and keeps the new value, whatever the cache has.
    pub async fn refresh(self) -> R {
        self.run(CacheControl::no_cache().terms).await.value
    }

    /// What the function would return if it is cached, without running it.
    pub async fn peek(self) -> Option<R> {
        self.find(Terms::default()).await.map(|reply| reply.value)
    }

    /// Sees to it that the value is there, and lets go of it: for [`warm`](crate::warm()).
    pub async fn warm(self) -> Warmed {
        match self.stage {
            Stage::Hit(..) => Warmed::Present,
            Stage::Miss(miss) => {
                let (prepared, load) = *miss;
                Box::pin(prepared.warm(Terms::default(), self.plan.shape, load)).await
            }
        }
    }

    /// Removes the value from every tier, and lets no load that has begun store one. Await what it returns.
    pub fn invalidate(self) -> Invalidation {
        match self.stage {
            Stage::Miss(miss) => miss.0.invalidate(),
            Stage::Hit(..) => Invalidation::nothing(),
        }
    }

    /// The name of the entry in the shared tier, for logs and for a look with `redis-cli`.
    ///
    /// # Errors
    /// [`is_key`](Error::is_key) if an argument cannot be part of a key.
    pub fn key(self) -> Result<String, Error> {
        self.name.unwrap_or_else(|| Err(Error::key("this call was made without a name")))
    }

    async fn run(self, terms: Terms) -> Reply<R> {
        match self.stage {
            Stage::Hit(value, age) => Reply::new(value, CacheOutcome::Hit { tier: Layer::L1, age }),
            Stage::Miss(miss) => {
                let (prepared, load) = *miss;
                let run = Box::pin(prepared.run(terms, (self.plan.shape)(), load));
                run.await.unwrap_or_else(|panicked| panicked.resume())
            }
        }
    }

    async fn find(self, terms: Terms) -> Option<Reply<R>> {
        match self.stage {
            Stage::Hit(value, age) => Some(Reply::new(value, CacheOutcome::Hit { tier: Layer::L1, age })),
            Stage::Miss(miss) => Box::pin(miss.0.find(terms, (self.plan.shape)())).await,
        }
    }
}

/// As [`Call`], of a function that is not async: its methods block.
#[must_use = "a call does nothing until one of its methods is used"]
pub struct SyncCall<R, F>(Call<R, F>);

impl<R, F: Future<Output = R>> SyncCall<R, F> {
    /// Blocks where `call` would wait.
    #[inline]
    pub fn new(call: Call<R, F>) -> Self {
        Self(call)
    }

    /// Makes the call.
    #[inline]
    pub fn get(self) -> R {
        match self.0.stage {
            Stage::Hit(value, _) => value,
            Stage::Miss(_) => block_on(self.0.get()),
        }
    }

    /// Makes the call as `control` says, and tells where the value came from.
    pub fn with<M: LoadRule>(self, control: CacheControl<M>) -> M::Reply<R> {
        block_on(self.0.with(control))
    }

    /// Runs the function and keeps the new value, whatever the cache has.
    pub fn refresh(self) -> R {
        block_on(self.0.refresh())
    }

    /// What the function would return if it is cached, without running it.
    pub fn peek(self) -> Option<R> {
        block_on(self.0.peek())
    }

    /// Sees to it that the value is there, and lets go of it: for [`warm`](crate::warm()).
    pub fn warm(self) -> Warmed {
        block_on(self.0.warm())
    }

    /// Removes the value, and lets no load that has begun store one.
    ///
    /// # Errors
    /// [`is_key`](Error::is_key) if an argument cannot be part of a key: then nothing was ever cached for it.
    pub fn invalidate(self) -> Result<(), Error> {
        block_on(self.0.invalidate())
    }

    pub(crate) fn invalidation(self) -> Invalidation {
        self.0.invalidate()
    }

    /// The name of the entry, for logs.
    ///
    /// # Errors
    /// [`is_key`](Error::is_key) if an argument cannot be part of a key.
    pub fn key(self) -> Result<String, Error> {
        self.0.key()
    }
}
