//! The path of one call, top to bottom: key, L1, single-flight, L2, load, fill.

use std::{
    future::{Future, poll_fn},
    panic::resume_unwind,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    thread,
    time::Duration,
};

use futures_timer::Delay;
use tokio::{runtime::Handle, task::JoinHandle};

use crate::{
    Error,
    cache::{Cache, Entry, Mode as CacheMode},
    control::{CacheOutcome, Layer, Reason, Reply, Terms},
    flight::{Arrival, Follower, Landing, Leader, Panic, Role},
    key::{WriteKey, with_identity},
    shape::{Settling, Shape},
    shared::{Fill, Life, Put},
    site::Site,
    slot::Slot,
    stats::Count,
};

/// What generated code knows of a function besides its arguments.
pub struct Plan<R> {
    /// Where the function stands.
    pub site: &'static Site,
    /// The value in a slot, as the function returns it.
    pub hit: fn(&dyn Slot) -> Option<R>,
    /// The return type with the policies. Called on a miss.
    pub shape: fn() -> Box<dyn Shape<R>>,
}

impl<R> Clone for Plan<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Plan<R> {}

/// A call that has its key. A plain call has looked into L1 with it already.
pub(crate) enum Start<R> {
    Hit(R, Duration),
    Miss(Prepared),
}

/// A call that has to go further than L1.
pub(crate) struct Prepared {
    pub(crate) cache: Cache,
    pub(crate) site: Site,
    pub(crate) entry: Result<Entry, Error>,
}

/// Steps 1 and 2 of a plain call: encode the key into this thread's buffer, and look into L1. A hit ends here, without
/// an allocation.
#[inline]
pub(crate) fn start<R>(cache: &Cache, plan: Plan<R>, write: impl WriteKey) -> Start<R> {
    let on = cache.mode() != CacheMode::Off;
    let found = with_identity(plan.site, &write, |key| {
        let (slot, age) = if on { cache.look(plan.site, key) } else { None }.ok_or_else(|| key.owned())?;
        (plan.hit)(&*slot).map(|value| (value, age)).ok_or_else(|| key.owned())
    });
    match found {
        Ok(Ok((value, age))) => {
            cache.count(Count::HitL1);
            Start::Hit(value, age)
        }
        Ok(Err(key)) => {
            let schema = || (plan.shape)().schema(plan.site.schema_version());
            let entry = cache.entry(plan.site, key, write, schema);
            Start::Miss(Prepared { cache: cache.clone(), site: *plan.site, entry })
        }
        Err(error) => Start::Miss(Prepared { cache: cache.clone(), site: *plan.site, entry: Err(error) }),
    }
}

impl Prepared {
    /// Step 1 alone, for the operations beside the call.
    pub(crate) fn new(
        cache: &Cache,
        site: &Site,
        write: impl WriteKey,
        schema: impl FnOnce() -> u64,
    ) -> Self {
        let key = with_identity(site, &write, |key| key.owned());
        let entry = key.and_then(|key| cache.entry(site, key, write, schema));
        Self { cache: cache.clone(), site: *site, entry }
    }

    /// The rest of a call that missed L1.
    pub(crate) async fn run<R, F: Future<Output = R>>(
        self,
        terms: Terms,
        shape: Box<dyn Shape<R>>,
        load: Load<R, F>,
    ) -> Result<Reply<R>, Panicked> {
        let Self { cache, site, entry, .. } = self;
        let entry = match entry {
            _ if !terms.on || cache.mode() == CacheMode::Off => {
                return Ok(bypass(&cache, Reason::Off, load).await);
            }
            Err(_) => {
                cache.count(Count::KeyRefused);
                return Ok(bypass(&cache, Reason::Key, load).await);
            }
            Ok(entry) => entry,
        };
        let desk = Desk { cache, site, entry, terms, shape };

        if let Some((_, reply)) = desk.ask_l1() {
            return Ok(reply);
        }
        if !terms.store {
            return Ok(match desk.ask_l2().await {
                Some((_, reply)) => reply,
                None => desk.load_alone(load).await,
            });
        }
        let leader = match desk.join().await? {
            Joined::Lead(leader) => leader,
            Joined::Reply(reply) => return Ok(reply),
            Joined::Alone => return Ok(desk.load_alone(load).await),
            Joined::Recurse => return Ok(bypass(&desk.cache, Reason::Recursion, load).await),
        };
        // The flight before this one may have ended between the look into L1 and the join.
        if let Some((slot, reply)) = desk.ask_l1() {
            leader.land(slot, || ());
            return Ok(reply);
        }
        match leader.watch(desk.ask_l2()).await {
            Ok(Some((slot, reply))) => {
                leader.land(slot.clone(), || desk.fill_l1(slot));
                return Ok(reply);
            }
            Ok(None) => {}
            Err(panic) => {
                leader.fail(Landing::Panicked);
                return Err(Panicked::Here(panic));
            }
        }
        desk.cache.count(Count::Miss);
        leader.expect_poll();
        let lander = Lander { desk, leader };
        let value = match load {
            Load::Inline(future) => lander.land(future).await,
            Load::Detached(future, spawn) => match Handle::try_current() {
                Ok(runtime) => match spawn(&runtime, lander, future).await {
                    Ok(value) => value,
                    Err(end) => return Err(end.try_into_panic().map_or(Panicked::Lost, Panicked::Here)),
                },
                Err(_) => lander.land(future).await,
            },
        };
        Ok(Reply::new(value.map_err(Panicked::Here)?, CacheOutcome::Miss))
    }

    /// What the tiers have, without a load and without a trace in them.
    pub(crate) async fn find<R>(self, terms: Terms, shape: Box<dyn Shape<R>>) -> Option<Reply<R>> {
        let Self { cache, site, entry, .. } = self;
        if !terms.on || cache.mode() == CacheMode::Off {
            return None;
        }
        let desk = Desk { cache, site, entry: entry.ok()?, terms, shape };
        let found = match desk.ask_l1() {
            None => desk.ask_l2().await,
            found => found,
        };
        found.map(|(_, reply)| reply)
    }

    pub(crate) async fn invalidate(self) -> Result<(), Error> {
        self.cache.invalidate(&self.site, &self.entry?).await
    }
}

/// How a body runs.
pub enum Load<R, F> {
    /// In a task of its own: nothing that happens to the caller ends it.
    Detached(Pin<Box<dyn Future<Output = R> + Send>>, Spawn<R>),
    /// In the caller, because it borrows from it. When the caller goes away, a follower loads again.
    Inline(F),
}

/// Starts the task. Only where the body's type was known could it be seen that it may move to another thread.
pub type Spawn<R> =
    fn(&Handle, Lander<R>, Pin<Box<dyn Future<Output = R> + Send>>) -> JoinHandle<thread::Result<R>>;

impl<R, F: Future<Output = R>> Load<R, F> {
    async fn here(self) -> R {
        match self {
            Self::Detached(future, _) => future.await,
            Self::Inline(future) => future.await,
        }
    }
}

async fn bypass<R, F: Future<Output = R>>(cache: &Cache, reason: Reason, load: Load<R, F>) -> Reply<R> {
    cache.count(Count::Bypass);
    Reply::new(load.here().await, CacheOutcome::Bypass(reason))
}

/// One call at work.
struct Desk<R> {
    cache: Cache,
    site: Site,
    entry: Entry,
    terms: Terms,
    shape: Box<dyn Shape<R>>,
}

/// Why there is no result.
pub(crate) enum Panicked {
    /// This call's load panicked, with this.
    Here(Panic),
    /// The load that this call waited for panicked, and so did the second try.
    Elsewhere,
    /// The runtime that ran the load was shut down.
    Lost,
}

impl Panicked {
    /// Goes on as the function would have without a cache.
    pub(crate) fn resume(self) -> ! {
        match self {
            Self::Here(panic) => resume_unwind(panic),
            Self::Elsewhere => panic!("the load of a cached function panicked in another call, twice"),
            Self::Lost => panic!("the runtime that ran the load of a cached function was shut down"),
        }
    }
}

enum Joined<R> {
    Lead(Leader),
    Reply(Reply<R>),
    Alone,
    Recurse,
}

impl<R> Desk<R> {
    fn ask_l1(&self) -> Option<(Arc<dyn Slot>, Reply<R>)> {
        if !self.terms.read {
            return None;
        }
        let (slot, age) = self.cache.look(&self.site, self.entry.key.as_ref())?;
        let value = self.fresh_enough(age)?.shape.restore(&*slot)?;
        self.cache.count(Count::HitL1);
        Some((slot, Reply::new(value, CacheOutcome::Hit { tier: Layer::L1, age })))
    }

    async fn ask_l2(&self) -> Option<(Arc<dyn Slot>, Reply<R>)> {
        if !self.terms.read || !self.terms.shared || self.cache.mode() != CacheMode::On {
            return None;
        }
        let name = self.entry.name.as_ref()?;
        let slot = self.cache.shared().get(name, &*self.shape, self.cache.counters()).await?;
        let age = slot.meta().age(self.cache.clock().now());
        let value = self.fresh_enough(age)?.shape.restore(&*slot)?;
        self.cache.count(Count::HitL2);
        Some((slot, Reply::new(value, CacheOutcome::Hit { tier: Layer::L2, age })))
    }

    fn fresh_enough(&self, age: Duration) -> Option<&Self> {
        self.terms.max_age.is_none_or(|max| age <= max).then_some(self)
    }

    /// Single-flight: leads, or waits for the one who does.
    async fn join(&self) -> Result<Joined<R>, Panicked> {
        // A follower whose flights are invalidated again and again takes what it gets in the end: the value was
        // true at some moment of its call.
        const RETRIES: usize = 2;
        let (flights, key) = (self.cache.flights(), &self.entry.key);
        if !self.terms.read {
            return Ok(Joined::Lead(flights.depart(key)));
        }
        for retry in 0.. {
            let follower = match flights.join(key, retry == RETRIES) {
                Role::Lead(leader) => return Ok(Joined::Lead(leader)),
                Role::Recurse => return Ok(Joined::Recurse),
                Role::Follow(follower) => follower,
            };
            match arrive(follower).await {
                Arrival::Lead(leader) => return Ok(Joined::Lead(leader)),
                Arrival::Superseded => {}
                Arrival::Landed(Landing::Unshared) => return Ok(Joined::Alone),
                Arrival::Landed(Landing::Panicked) => return Err(Panicked::Elsewhere),
                Arrival::Landed(Landing::Shared(slot)) => {
                    let age = slot.meta().age(self.cache.clock().now());
                    if self.fresh_enough(age).is_none() {
                        return Ok(Joined::Lead(flights.depart(key)));
                    }
                    let Some(value) = self.shape.restore(&*slot) else { return Ok(Joined::Alone) };
                    self.cache.count(Count::Joined);
                    return Ok(Joined::Reply(Reply::new(value, CacheOutcome::Joined)));
                }
            }
        }
        Ok(Joined::Alone)
    }

    /// Loads for this caller only.
    async fn load_alone<F: Future<Output = R>>(&self, load: Load<R, F>) -> Reply<R> {
        self.cache.count(Count::Miss);
        self.cache.count(Count::Load);
        Reply::new(load.here().await, CacheOutcome::Miss)
    }

    fn fill_l1(&self, slot: Arc<dyn Slot>) {
        self.cache.l1().insert(&self.site, &self.entry.key, slot);
    }

    /// What is to go to the shared tier, if anything. Its turn is taken at once: an invalidation from now on comes after
    /// it.
    fn fill_l2(&self, slot: &Arc<dyn Slot>, ttl: Duration) -> Option<Put> {
        let shared = self.cache.shared();
        let name = self.entry.name.as_ref()?;
        let encoder = self.shape.encoder(slot)?;
        let on = self.terms.shared && self.cache.mode() == CacheMode::On;
        let clock = self.cache.clock();
        let fill = Fill { encoder, created_ms: clock.wall_ms(), life: Life { since: clock.now(), ttl } };
        on.then(|| Put { name: name.clone(), fill, turn: shared.turns.take(&name.text) })
    }

    /// A newer value that is not kept leaves no older one behind.
    fn drop_older(&self) {
        self.cache.l1().remove(&self.site, &self.entry.key);
        if let Some(name) = &self.entry.name {
            self.cache.shared().delete_later(&name.text);
        }
    }
}

/// Waits for the leader, and takes over from one that is not polled any more.
async fn arrive(mut follower: Follower) -> Arrival {
    const PATIENCE: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(8);

    let mut look_after = PATIENCE;
    loop {
        // Not the runtime's timer: there may be no runtime, or one that was built without.
        let mut alarm = pin!(Delay::new(look_after));
        let first = poll_fn(|cx| match Pin::new(&mut follower).poll(cx) {
            Poll::Ready(arrival) => Poll::Ready(Some(arrival)),
            Poll::Pending => alarm.as_mut().poll(cx).map(|()| None),
        });
        if let Some(arrival) = first.await.or_else(|| follower.overtake(PATIENCE).map(Arrival::Lead)) {
            return arrival;
        }
        look_after = (look_after * 2).min(LONGEST);
    }
}

/// Runs a load and lands its flight: in the caller, or in a task of its own.
pub struct Lander<R> {
    desk: Desk<R>,
    leader: Leader,
}

impl<R> Lander<R> {
    /// The result, or what the load panicked with.
    pub(crate) async fn land(self, load: impl Future<Output = R>) -> thread::Result<R> {
        let Self { desk, leader } = self;
        let cache = &desk.cache;
        cache.count(Count::Load);
        // The policies are the user's code as well.
        let settle = async { desk.shape.settle(load.await, &Settling::now(cache.clock(), desk.terms.ttl)) };
        let settled = match leader.watch(settle).await {
            Ok(settled) => settled,
            Err(panic) => {
                cache.count(Count::LoadPanic);
                leader.fail(Landing::Panicked);
                return Err(panic);
            }
        };
        if settled.is_error {
            cache.count(Count::LoadError);
        }
        match (settled.slot, settled.ttl) {
            (Some(slot), Some(ttl)) => {
                let mut put = None;
                let stored = leader.land(slot.clone(), || {
                    desk.fill_l1(slot.clone());
                    put = desk.fill_l2(&slot, ttl);
                });
                cache.count(if stored { Count::Fill } else { Count::RejectedFill });
                if let Some(put) = put {
                    cache.shared().put_later(put, cache.counters());
                }
            }
            (Some(slot), None) => {
                let is_newer = !settled.is_error && (!desk.terms.read || desk.terms.max_age.is_some());
                leader.land(slot, || {
                    if is_newer {
                        desk.drop_older();
                    }
                });
            }
            (None, _) => leader.fail(Landing::Unshared),
        }
        Ok(settled.out)
    }
}
