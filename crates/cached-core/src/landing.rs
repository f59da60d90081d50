//! A load, and where its value goes.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    thread,
    time::Duration,
};

use futures_timer::Delay;
use tokio::runtime::Handle;

use crate::{
    cache::{Cache, Entry, Mode},
    call::Desk,
    claim::Claim,
    either::{Either, either},
    flight::{Landing, Leader},
    invalidation::{Invalidation, Target},
    key::Key,
    lease::{Lease, Verdict},
    line::Line,
    planted,
    said::Moment,
    shape::Settling,
    shared::{Fill, Life, Shared},
    site::Site,
    slot::Slot,
    stats::Count,
    tier::{Ask, Tier},
};

/// How long those who follow wait to hear whether the value was stored.
const VERDICT_PATIENCE: Duration = Duration::from_millis(50);

/// A load that could have gone on for so long and did not has been abandoned.
const ABANDONED: Duration = Duration::from_secs(1);

/// More than this under way are not stored: the shared tier cannot keep up.
const MOST_FILLS: usize = 4096;

/// What a load stands on.
pub(crate) enum Ground {
    /// It may store its value for everyone.
    Leased(Lease),
    /// Somebody else may. It keeps its value in this process, if the tier then shows that nothing was said meanwhile.
    Beside(Claim),
    /// The tier could not be asked, or takes no part. It may keep its value in this process.
    Alone(Claim),
}

impl Ground {
    pub(crate) fn claim(&self) -> &Claim {
        match self {
            Self::Leased(lease) => &lease.claim,
            Self::Beside(claim) | Self::Alone(claim) => claim,
        }
    }
}

/// Runs a load and lands its flight: in the caller, or in a task of its own.
pub struct Lander<R> {
    desk: Desk<R>,
    leader: Leader,
    ground: Ground,
    /// When it began, for tags that only the value tells.
    since: Moment,
}

impl<R> Lander<R> {
    pub(crate) fn new(desk: Desk<R>, leader: Leader, ground: Ground) -> Self {
        let since = desk.cache.shared().said.now();
        Self { desk, leader, ground, since }
    }

    /// The result, or what the load panicked with.
    pub(crate) async fn land(self, load: impl Future<Output = R>) -> thread::Result<R> {
        let Self { desk, leader, mut ground, since } = self;
        desk.note(Count::Load);
        leader.stand_on(ground.claim());
        if let (Ground::Leased(lease), false) = (&mut ground, desk.site.coalesces_here()) {
            lease.keep(leader.is_at_work(ABANDONED));
        }
        // The policies are the user's code as well.
        let settle =
            async { desk.shape.settle(load.await, &Settling::now(desk.cache.clock(), desk.terms.ttl)) };
        let settled = match leader.watch(settle).await {
            Ok(settled) => settled,
            Err(panic) => {
                desk.cache.count(Count::LoadPanic);
                ground.fail();
                leader.fail(Landing::Panicked);
                return Err(panic);
            }
        };
        if settled.is_error {
            desk.cache.count(Count::LoadError);
        }
        match (settled.slot, settled.ttl) {
            (Some(slot), Some(ttl)) => {
                let value = Kept { slot, ttl, is_error: settled.is_error, since };
                // Boxed, so that loads inside of loads do not add up on the stack.
                if let Some(storing) = keep(desk, leader, ground, value) {
                    storing.await;
                }
            }
            (Some(slot), None) => {
                let is_newer = !settled.is_error && (!desk.terms.read || desk.terms.max_age.is_some());
                ground.fail();
                if is_newer {
                    // A newer value that is not kept leaves no older one behind.
                    leader.land(slot, || ());
                    Invalidation::new(desk.cache, Ok(Target::Entry(desk.site, desk.entry))).spawn();
                } else {
                    leader.land(slot, || ());
                }
            }
            (None, _) => {
                ground.fail();
                leader.fail(Landing::Unshared);
            }
        }
        Ok(settled.out)
    }
}

impl Ground {
    /// There is nothing to store.
    fn fail(self) {
        if let Self::Leased(lease) = self {
            lease.fail();
        }
    }
}

/// A value that is to be kept.
struct Kept {
    slot: Arc<dyn Slot>,
    ttl: Duration,
    is_error: bool,
    since: Moment,
}

/// Keeps a value, and does not keep its caller waiting, unless there is no runtime to do it: then it returns what is left
/// to do.
fn keep<R>(
    desk: Desk<R>,
    leader: Leader,
    ground: Ground,
    value: Kept,
) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
    let Kept { slot, ttl, is_error, since } = value;
    let Some(value_tags) = desk.shape.value_tags(&*slot) else {
        // Nobody could invalidate it.
        ground.fail();
        leader.land(slot, || ());
        return None;
    };
    if desk.entry.is_shared && !desk.terms.shared && desk.cache.mode() == Mode::On {
        // Nobody would tell of it, nor wait for it to be forgotten.
        ground.fail();
        leader.land(slot, || ());
        return None;
    }
    let encoder = if is_error { None } else { desk.shape.encoder(&slot) };
    let Desk { cache, site, entry, terms, .. } = desk;
    let keys = value_tags.iter().map(|tag| cache.shared().tag_key(tag)).collect();
    let value_tags = ValueTags { keys, since };
    let is_too_much = cache.shared().background.len() > MOST_FILLS;
    // What the shared tier has is older than what was asked for anew.
    let takes_part = terms.shared && cache.mode() == Mode::On;
    let outdated = (!terms.read && !is_error && takes_part).then(|| entry.clone());
    let arrival = Arrival { cache, site, key: entry.key.clone(), leader, slot };
    if let Ground::Alone(claim) = ground {
        arrival.alone(claim, &value_tags, outdated.as_ref(), entry.is_shared);
        return None;
    }
    let job = arrival.cache.shared().background.begin();
    arrival.leader.begin_landing();
    let clock = arrival.cache.clock();
    let life = Life { since: clock.now(), ttl };
    let fill = encoder.map(|encoder| Fill { encoder, created_ms: clock.wall_ms(), life });
    let rest: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
        let _job = job;
        match (ground, fill) {
            (Ground::Leased(lease), Some(fill)) if !is_too_much => {
                arrival.store(lease, fill, value_tags, outdated.as_ref()).await;
            }
            (Ground::Leased(lease), Some(_)) => {
                let stamp = lease.stamp();
                arrival.undecided(lease.leave(), stamp, &value_tags);
            }
            (Ground::Beside(claim) | Ground::Alone(claim), Some(_)) => {
                arrival.beside(claim, &entry, &value_tags).await;
            }
            // An error is for this process only, and stands on no lease.
            (ground, None) => {
                let shared = arrival.cache.shared();
                let own_mark = shared.own_mark(&entry.name.text);
                let claim = Claim { mark: own_mark, line: shared.home.clone(), ..ground.claim().clone() };
                // Those who wait elsewhere are told that there will be nothing.
                ground.fail();
                arrival.here(claim, 0);
            }
        }
    });
    let Ok(runtime) = Handle::try_current() else { return Some(rest) };
    runtime.spawn(rest);
    None
}

/// Tags that the value told.
struct ValueTags {
    keys: Vec<String>,
    /// When the load began.
    since: Moment,
}

impl ValueTags {
    /// A claim for this process only, with these tags; none if one of them was invalidated here meanwhile.
    fn added_to(&self, claim: Claim, shared: &Arc<Shared>, is_shared: bool) -> Option<Claim> {
        if self.keys.is_empty() {
            return Some(claim);
        }
        let marks: Vec<_> = self.keys.iter().map(|tag| (shared.mark(tag), 0)).collect();
        // Only then: what is said later ends the marks.
        if shared.said.is_about(&self.keys, self.since) {
            return None;
        }
        // Nobody tells of tags that were not asked for.
        let line = if is_shared { Line::silent() } else { claim.line.clone() };
        let tags = claim.tags.into_vec().into_iter().chain(marks).collect();
        Some(Claim { tags, line, ..claim })
    }
}

/// A value that was loaded, on its way to those who want it.
struct Arrival {
    cache: Cache,
    site: Site,
    key: Key,
    leader: Leader,
    slot: Arc<dyn Slot>,
}

impl Arrival {
    /// Into L1, on this claim.
    fn here(self, claim: Claim, stamp: u64) {
        let Self { cache, site, key, leader, slot } = self;
        let fill = |claim| cache.l1().insert(&site, &key, slot.clone(), claim, stamp);
        let stored = leader.land_on(claim, slot.clone(), fill);
        cache.note(if stored { Count::Fill } else { Count::RejectedFill }, &site, key.as_ref());
    }

    /// To nobody but its caller.
    fn refuse(self) {
        self.cache.note(Count::RejectedFill, &self.site, self.key.as_ref());
        self.leader.reject(self.slot);
    }

    /// Of a load that may not store for others.
    fn alone(self, claim: Claim, value_tags: &ValueTags, outdated: Option<&Entry>, is_shared: bool) {
        let cache = self.cache.clone();
        match value_tags.added_to(claim, cache.shared(), is_shared) {
            Some(claim) => self.here(claim, 0),
            None => self.refuse(),
        }
        if let Some(entry) = outdated {
            cache.forget_shared(entry);
        }
    }

    /// Of a load beside another one's lease. What was said until now about what it stands on is heard before the answer to
    /// a question that is asked now.
    async fn beside(self, claim: Claim, entry: &Entry, value_tags: &ValueTags) {
        if planted!("kept-beside-unasked") {
            return self.here(claim, 0);
        }
        // Nobody would tell, or had told, of tags that only the value knows.
        if !claim.line.watches() || !value_tags.keys.is_empty() {
            return self.refuse();
        }
        let shared = self.cache.shared().clone();
        let ask = Ask { key: &entry.name.text, known: Some(0) };
        match shared.tier.look(&[ask], &[]).await {
            Ok(seen) if Arc::ptr_eq(&seen.line, &claim.line) => self.here(claim, 0),
            Ok(_) => self.refuse(),
            // It cannot be asked any more.
            Err(_) => self.here(claim.silenced(shared.clock.now()), 0),
        }
    }

    /// Into the shared tier, and if that takes it, into L1.
    async fn store(self, mut lease: Lease, fill: Fill, value_tags: ValueTags, outdated: Option<&Entry>) {
        let counters = self.cache.counters().clone();
        let stand_on = self.leader.standing();
        let stamp = lease.stamp();
        // Its mark is taken here, before it can be known that nothing was said.
        let here_only = lease.here_only();
        let before = lease.claim.clone();
        let cache = self.cache.clone();
        let mut arrival = Some(self);
        let mut land_undecided = || {
            if let Some(arrival) = arrival.take() {
                let claim = if before.is_intact() { here_only.clone() } else { before.clone() };
                arrival.undecided(claim, stamp, &value_tags);
            }
        };
        if planted!("l1-fill-before-verdict") {
            land_undecided();
        }
        let verdict = {
            let mut filling = pin!(lease.fill(fill, &value_tags.keys, &counters, stand_on));
            match either(&mut filling, Delay::new(VERDICT_PATIENCE)).await {
                Either::Left(verdict) => verdict,
                Either::Right(()) => {
                    // Redis is slow. Those who follow get the value, which this process keeps for a moment.
                    land_undecided();
                    filling.await
                }
            }
        };
        if matches!(verdict, Verdict::Undecided) {
            land_undecided();
            lease.leave();
            if let Some(entry) = outdated {
                cache.forget_shared(entry);
            }
            return;
        }
        let Some(arrival) = arrival else { return };
        match verdict {
            Verdict::Stored(claim) => arrival.here(claim, stamp),
            Verdict::Rejected if planted!("followers-take-rejected-value") => {
                arrival.leader.land(arrival.slot, || ());
            }
            Verdict::Rejected | Verdict::Undecided => arrival.refuse(),
        }
    }

    /// It is not known whether the shared tier has it: what the load stood on counts.
    fn undecided(self, claim: Claim, stamp: u64, value_tags: &ValueTags) {
        let shared = self.cache.shared().clone();
        // If the value tells tags, a stamp would let the entry be confirmed without them.
        let stamp = if value_tags.keys.is_empty() { stamp } else { 0 };
        match value_tags.added_to(claim, &shared, true) {
            Some(claim) => self.here(claim, stamp),
            None => self.refuse(),
        }
    }
}
