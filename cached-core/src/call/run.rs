//! A load, and what becomes of its value.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    thread,
    time::Duration,
};

use tokio::runtime::Handle;

use crate::{
    cache::{
        Cache, Mode,
        invalidation::{Invalidation, Target},
    },
    call::{
        Asked, Desk,
        load::Landed,
        publish::{Arrival, Told},
    },
    coherence::{tag_log::Moment, validity::Claim},
    error::shared::SharedLoadError,
    flight::{Landing, Leader, permits::Turn},
    l1::entry::Kept,
    l2::{
        lease::Lease,
        lookup::Stub,
        shared::{Fill, Life},
    },
    telemetry::step::Loading,
    value::{erased::Slot, policy::Settling},
};

/// A load that could have gone on for so long and did not has been abandoned.
const ABANDONED: Duration = Duration::from_secs(1);

/// More than this under way are neither stored nor asked about: the shared tier cannot keep up.
const MOST_LANDINGS: usize = 4096;

/// What a load stands on.
pub(crate) enum Ground {
    /// It may store its value for everyone.
    Leased(Lease),
    /// Somebody else may. It keeps its value in this process, if the tier then shows that nothing was said meanwhile.
    Beside(Claim),
    /// The tier cannot hold the value. It keeps its value in this process, as long as the tier has the stub.
    Stub(Stub),
    /// The tier could not be asked, or takes no part. It may keep its value in this process.
    Alone(Claim),
}

impl Ground {
    pub(crate) fn claim(&self) -> &Claim {
        match self {
            Self::Leased(lease) => &lease.claim,
            Self::Stub(stub) => &stub.claim,
            Self::Beside(claim) | Self::Alone(claim) => claim,
        }
    }
}

/// What a load stands on, and its turn.
type Start = (Ground, Turn);

/// Runs a load and lands its flight: in the caller, or in a task of its own.
pub struct Lander<R> {
    desk: Box<Desk<R>>,
    leader: Leader,
    /// `None` if it is still to be asked for.
    asked: Option<Start>,
    /// In the span of its caller, if one waits for it.
    loading: Option<Loading>,
    /// A value that is served if the load fails.
    spare: Option<Arc<Kept>>,
}

impl<R> Lander<R> {
    pub(crate) fn new(
        desk: Box<Desk<R>>,
        leader: Leader,
        ground: Ground,
        turn: Turn,
        spare: Option<Arc<Kept>>,
    ) -> Self {
        let loading = Loading::new(desk.cache.clock(), desk.cache.function(&desk.site));
        Self { desk, leader, asked: Some((ground, turn)), loading: Some(loading), spare }
    }

    /// One that asks the shared tier first.
    pub(crate) fn unasked(desk: Box<Desk<R>>, leader: Leader, spare: Arc<Kept>) -> Self {
        Self { desk, leader, asked: None, loading: None, spare: Some(spare) }
    }

    /// For a task of its own, with what the caller has around it.
    pub(crate) fn apart(mut self) -> Self {
        self.loading.iter_mut().for_each(Loading::leave_caller);
        self
    }

    /// The result, or what the load panicked with.
    pub(crate) async fn land(self, load: impl Future<Output = R>) -> thread::Result<Landed<R>> {
        let Self { desk, leader, asked, loading, spare } = self;
        let (leader, (mut ground, mut turn)) = match asked {
            Some(start) if leader.stand_on(start.0.claim()) => (leader, start),
            // Boxed, so that loads inside of loads do not add up on the stack.
            asked => match Box::pin(desk.stand(leader, asked, spare.clone())).await {
                Ok(start) => start,
                Err(end) => return end,
            },
        };
        let mut loading =
            loading.unwrap_or_else(|| Loading::new(desk.cache.clock(), desk.cache.function(&desk.site)));
        let since = desk.cache.shared().said.now();
        if let Ground::Leased(lease) = &mut ground {
            if desk.site.coalesces_here() {
                lease.give_back_at_close();
            } else {
                lease.keep(leader.is_at_work(ABANDONED));
            }
        }
        // The policies are the user's code as well.
        let load = loading.around(load);
        let settle = async {
            let out = desk.in_turn(&mut turn, &mut loading, load).await;
            desk.shape.settle(out, &Settling::now(desk.cache.clock(), desk.terms.ttl))
        };
        let settled = leader.watch(settle).await;
        // The next load may begin.
        drop(turn);
        let settled = match settled {
            Ok(settled) => settled,
            Err(panic) => {
                loading.panicked();
                spare.inspect(|kept| desk.let_rest(kept));
                ground.fail();
                leader.fail(Landing::Panicked);
                return Err(panic);
            }
        };
        let is_error = settled.is_error;
        loading.ended(is_error);
        let mut ttl = settled.ttl;
        let had_spare = spare.is_some();
        // Asked before the lease is given back, as that is a word about the name.
        let may_spare = spare.as_ref().is_some_and(|kept| desk.cache.may_serve(&desk.site, kept));
        if let Some(kept) = spare.filter(|_| is_error) {
            desk.let_rest(&kept);
            // It does not take the place of a value that may still be served.
            ttl = None;
        }
        match (settled.slot, ttl) {
            (Some(slot), ttl) => {
                let value = Loaded { slot, ttl, is_error, had_spare, since };
                // Boxed, so that loads inside of loads do not add up on the stack.
                if let Some(rest) = land(desk, leader, ground, value) {
                    rest.await;
                }
            }
            (None, _) => {
                ground.fail_with(None);
                if leader.hand_on() {
                    desk.cache.function(&desk.site).warn_of_errors();
                }
            }
        }
        Ok(Landed { out: settled.out, is_error, may_spare })
    }
}

impl<R> Desk<R> {
    /// What a load stands on when it begins, or its end, if there is a value.
    ///
    /// An invalidation may come between the answer of the tier and this. A load that began all the same would be refused, and those
    /// that follow would wait for it in vain: so the tier is asked again. If that falls time and again, they start over.
    async fn stand(
        &self,
        mut leader: Leader,
        mut asked: Option<Start>,
        spare: Option<Arc<Kept>>,
    ) -> Result<(Leader, Start), thread::Result<Landed<R>>> {
        const TRIES: usize = 3;

        let mut tries = 0;
        loop {
            tries += 1;
            let (ground, turn) = match asked.take() {
                Some(start) => start,
                None => {
                    let start;
                    (leader, start) = self.ask_first(leader, spare.clone()).await?;
                    start
                }
            };
            if leader.stand_on(ground.claim()) {
                return Ok((leader, (ground, turn)));
            }
            match ground {
                Ground::Leased(lease) if tries < TRIES => {
                    // To give it back is a word about its name.
                    leader.stand_down();
                    match leader.watch(lease.reassured()).await {
                        Ok(Some(lease)) => {
                            leader.stand_on(&lease.claim);
                            return Ok((leader, (Ground::Leased(lease), turn)));
                        }
                        Ok(None) => {}
                        Err(panic) => {
                            leader.fail(Landing::Panicked);
                            return Err(Err(panic));
                        }
                    }
                }
                // It was about the lease of the load beside which this one is. To ask again would be to wait for that.
                ground @ Ground::Beside(_) => return Ok((leader, (ground, turn))),
                ground if tries >= TRIES => {
                    leader.fall();
                    return Ok((leader, (ground, turn)));
                }
                _ => {}
            }
        }
    }

    /// What a load stands on that has asked nobody yet; or its end, if there is a value.
    async fn ask_first(
        &self,
        leader: Leader,
        spare: Option<Arc<Kept>>,
    ) -> Result<(Leader, Start), thread::Result<Landed<R>>> {
        let rested = spare.clone();
        let mut turn = self.turn(&leader);
        let reply = match self.ask(&leader, spare, &mut turn).await {
            Ok(Asked::Ground(ground)) => return Ok((leader, (ground, turn))),
            Ok(Asked::Hit(found, reply)) => {
                self.land_found(leader, found);
                reply
            }
            Ok(Asked::Kept(kept, reply)) => {
                leader.land(kept.slot.clone(), || ());
                reply
            }
            Ok(Asked::Failed(settled)) => {
                if let Some(kept) = rested {
                    self.let_rest(&kept);
                }
                return Err(Ok(self.land_failed(leader, *settled)));
            }
            Err(panic) => {
                leader.fail(Landing::Panicked);
                return Err(Err(panic));
            }
        };
        Err(Ok(Landed { out: reply.value, is_error: false, may_spare: false }))
    }

    /// The text of an error for callers in other processes, if they can have waited for this load.
    fn error_for_others(&self, slot: &dyn Slot, ground: &Ground) -> Option<SharedLoadError> {
        let is_awaited = matches!(ground, Ground::Leased(_)) && !self.site.coalesces_here();
        if is_awaited { self.shape.describe(slot) } else { None }
    }

    /// What the load returns, or what its callers are told if it takes too long.
    pub(crate) async fn in_time(&self, load: impl Future<Output = R>) -> R {
        let mut load = pin!(load);
        let Some(limit) = self.shape.load_timeout() else { return load.await };
        if let Some(out) = self.cache.clock().within(limit, &mut load).await {
            return out;
        }
        match self.too_late() {
            Some(out) => out,
            None => load.await,
        }
    }
}

impl Ground {
    /// See [`Lease::begin_return`].
    fn begin_return(&mut self) {
        if let Self::Leased(lease) = self {
            lease.begin_return();
        }
    }

    /// There is nothing to store.
    fn fail(self) {
        if let Self::Leased(lease) = self {
            lease.fail();
        }
    }

    /// The load has failed, with this error if it has a text.
    fn fail_with(self, error: Option<&SharedLoadError>) {
        if let Self::Leased(lease) = self {
            lease.fail_with(error);
        }
    }

    /// There is nothing to store.
    fn end(self, ended: &Ended) {
        match ended {
            Ended::Value => self.fail(),
            Ended::Error(error) => self.fail_with(error.as_ref()),
        }
    }
}

/// What a load that stores nothing has come to.
enum Ended {
    Value,
    /// With the text for callers that wait in other processes.
    Error(Option<SharedLoadError>),
}

/// What a load has found: a value, or an error that can be shared.
struct Loaded {
    slot: Arc<dyn Slot>,
    /// How long it may be kept; `None` if not at all.
    ttl: Option<Duration>,
    is_error: bool,
    /// There was an older value.
    had_spare: bool,
    since: Moment,
}

/// What is left to do, and keeps no caller waiting.
type Rest = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Ends a flight with what its load has found. Where there is no runtime to do it, it returns what is left to do.
fn land<R>(desk: Box<Desk<R>>, leader: Leader, ground: Ground, loaded: Loaded) -> Option<Rest> {
    let Loaded { slot, ttl, is_error, had_spare, since } = loaded;
    let ended = if is_error { Ended::Error(desk.error_for_others(&*slot, &ground)) } else { Ended::Value };
    let hasher = &*desk.cache.shared().hasher;
    let tags = if ttl.is_some() { desk.shape.value_tags(&*slot, hasher) } else { None };
    let encoder = if is_error { None } else { desk.shape.encoder(&slot) };
    let stale = desk.shape.stale();
    let is_renewed = desk.shape.is_renewed() || desk.site.warm_keys() > 0;
    let Desk { cache, site, entry, terms, .. } = *desk;
    let shared = cache.shared().clone();
    let takes_part = terms.shared && cache.mode() == Mode::On;
    let told = Told::new(&shared, tags.as_deref().unwrap_or_default(), since, &ground);
    // What the shared tier has is older than what was asked for anew.
    let is_newer = !terms.read && !is_error && takes_part;
    let arrival = Arrival { cache, site, entry, leader, slot, told, is_newer };

    let (Some(ttl), Some(_)) = (ttl, tags) else {
        // Without its tags nobody could invalidate it.
        let outdates = !is_error && (had_spare || !terms.read || terms.max_age.is_some());
        return pass_on(arrival, ground, ended, outdates);
    };
    if arrival.entry.is_shared && !terms.shared && arrival.cache.mode() == Mode::On {
        // It did not ask, so nobody would tell of it, and who follows may have come after an invalidation.
        ground.end(&ended);
        arrival.refuse();
        return None;
    }
    if let Ground::Alone(claim) = ground {
        arrival.alone(claim);
        return None;
    }
    let is_too_much = shared.background.len() > MOST_LANDINGS;
    // A lease over the value must not end it.
    let function = arrival.cache.function(&arrival.site);
    let lease = shared.lease_length(arrival.site.coalesces_here(), function);
    let spare = if is_renewed { lease } else { Duration::ZERO };
    let life = Life { since: shared.clock.now(), ttl, stale, spare };
    let fill = encoder.map(|encoder| Fill { encoder, created_ms: shared.clock.wall_ms(), life });
    arrival.leader.begin_landing();
    later(&arrival.cache.clone(), async move {
        match (ground, fill) {
            (Ground::Leased(lease), Some(fill)) if !is_too_much => Box::pin(arrival.store(lease, fill)).await,
            (Ground::Leased(lease), Some(_)) => arrival.leave(lease),
            (ground, Some(_)) if is_too_much => {
                ground.fail();
                arrival.refuse();
            }
            (Ground::Stub(stub), Some(fill)) => Box::pin(arrival.beside_stub(stub, fill.life.whole())).await,
            (ground, Some(_)) => Box::pin(arrival.beside(ground.claim().clone())).await,
            // An error is for this process only, and stands on no lease.
            (ground, None) => {
                let own_mark = shared.own_mark(&arrival.entry.name.text);
                let claim = Claim { mark: own_mark, line: shared.home.clone(), ..ground.claim().clone() };
                // Those who wait elsewhere are told that there will be nothing.
                ground.end(&ended);
                arrival.here(claim, 0);
            }
        }
    })
}

/// To those who follow, and to nobody else. `outdates`: what there was before is older.
fn pass_on(arrival: Arrival, mut ground: Ground, ended: Ended, outdates: bool) -> Option<Rest> {
    ground.begin_return();
    let (cache, target) =
        (arrival.cache.clone(), Target::Entry(arrival.site, Box::new(arrival.entry.clone())));
    let is_error = matches!(ended, Ended::Error(_));
    let finish = move |ground: Ground| {
        ground.end(&ended);
        if outdates {
            // A newer value that is not kept leaves no older one behind.
            Invalidation::new(cache, Ok(target)).spawn();
        }
    };
    let may_ask = !is_error && ground.claim().line.watches() && !matches!(ground, Ground::Alone(_));
    let arrival = if may_ask { arrival.land_unfollowed() } else { arrival.land() };
    let Some(arrival) = arrival else {
        finish(ground);
        return None;
    };
    arrival.leader.begin_landing();
    later(&arrival.cache.clone(), async move {
        arrival.pass_on(ground.claim()).await;
        finish(ground);
    })
}

/// Goes on in the background, where there is one.
fn later(cache: &Cache, rest: impl Future<Output = ()> + Send + 'static) -> Option<Rest> {
    let job = cache.shared().background.begin();
    let rest: Rest = Box::pin(async move {
        let _job = job;
        rest.await;
    });
    let Ok(runtime) = Handle::try_current() else { return Some(rest) };
    runtime.spawn(rest);
    None
}
