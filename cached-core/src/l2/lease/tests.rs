//! Tests: a lease is renewed while its load progresses, and released when it cannot store a value.

mod fill;

use std::{future::Future, time::Duration};

use super::{
    renewer::{LeaseRenewer, TAG_RENEWAL_INTERVAL},
    *,
};
use crate::{
    base::race::within,
    cache::Cache,
    testing::{FakeTier, ManualClock},
    tier::{LeaseMode, LeaseRequest, Lookup, Note, Record, TagRequest, Tier},
};

const KEY: &str = "test:key";
const MINUTE: Duration = Duration::from_secs(60);
/// A lease that outlasts the test.
const LONG: Duration = Duration::from_secs(6_000);
const NANO: Duration = Duration::from_nanos(1);
const PATIENCE: Duration = Duration::from_secs(20);

/// The process under test, and another process on the same tier.
struct World {
    clock: ManualClock,
    tier: FakeTier,
    other: FakeTier,
    shared: Arc<Shared>,
    _cache: Cache,
}

impl World {
    fn new(lease: Duration) -> Self {
        Self::over(lease, |tier| tier)
    }

    /// Creates a cache over the tier that `tier_of` returns.
    fn over<T: Tier + 'static>(lease: Duration, tier_of: impl Fn(FakeTier) -> T) -> Self {
        let clock = ManualClock::new();
        let tier = FakeTier::new(&clock);
        let builder = Cache::builder().namespace("test").tier(tier_of(tier.same_connection())).lease(lease);
        let cache = builder.clock(clock.clock()).build().unwrap();
        Self { clock, other: tier.clone(), tier, shared: cache.shared().clone(), _cache: cache }
    }

    fn tag(&self) -> String {
        self.shared.tag_key("tag")
    }

    async fn lease(&self, tags: &[String]) -> Lease {
        self.lease_as(tags, LeaseMode::IfAbsent).await
    }

    async fn lease_as(&self, tags: &[String], mode: LeaseMode) -> Lease {
        self.lease_for(self.shared.lease, tags, mode).await
    }

    async fn lease_for(&self, lease: Duration, tags: &[String], mode: LeaseMode) -> Lease {
        let validity = self.shared.detached_validity(KEY, tags);
        let attempt = LeaseAttempt::new(&self.shared, KEY, lease);
        let request = LeaseRequest { key: KEY, token: attempt.token(), lease, mode };
        let tag_request = TagRequest { keys: tags, keep: MINUTE, needs_position: false };
        let leased = self.shared.tier.lease(&[request], tag_request).await.unwrap();
        let validity = Validity { feed: leased.feed, ..validity }.with_generations(leased.generations);
        let name = SharedKey { text: KEY.to_owned(), check: [0; 16], schema: 0 };
        attempt.into_lease(name, validity, MINUTE, None)
    }

    /// Returns the renewer of a lease, with a load that is progressing or not.
    fn renewer(&self, lease: &Lease, is_progressing: bool) -> LeaseRenewer<impl Fn() -> bool + use<>> {
        LeaseRenewer {
            shared: self.shared.clone(),
            name: KEY.to_owned(),
            token: lease.token,
            validity: lease.validity.clone(),
            keep: MINUTE,
            tags_renewed_at: lease.validity.checked_at,
            is_progressing: move || is_progressing,
        }
    }

    async fn record(&self) -> Record {
        self.other.lookup(&[Lookup::new(KEY)], &[]).await.unwrap().records.remove(0)
    }

    async fn is_leased(&self) -> bool {
        matches!(self.record().await, Record::Leased { .. })
    }

    async fn until_released(&self) {
        until(async || self.record().await == Record::Absent).await;
    }

    /// Returns the number of operations of all processes during a future.
    async fn count_round_trips<T>(&self, future: impl Future<Output = T>) -> (T, usize) {
        let before = self.tier.round_trips();
        let output = future.await;
        (output, self.tier.round_trips() - before)
    }
}

async fn until(condition: impl AsyncFn() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(within(PATIENCE, waiting).await.is_some(), "it does not happen");
}

#[tokio::test]
async fn lease_is_renewed_only_while_its_load_progresses() {
    let world = World::new(LONG);
    let lease = world.lease(&[]).await;
    assert_eq!(
        (lease.name(), lease.revision(), lease.journal().is_none()),
        (KEY, lease.token.revision(), true)
    );
    let mut renewer = world.renewer(&lease, true);
    assert_eq!(world.count_round_trips(renewer.renew()).await, (Some(LONG / 3), 1));
    world.clock.advance(10 * TAG_RENEWAL_INTERVAL);
    assert_eq!(
        world.count_round_trips(renewer.renew()).await,
        (Some(LONG / 3), 1),
        "there are no tags to be kept"
    );
    assert_eq!(world.count_round_trips(world.renewer(&lease, false).renew()).await, (Some(LONG / 10), 0));
    world.tier.set_down(true);
    assert_eq!(renewer.renew().await, Some(LONG / 10), "it may be there all the same");
    world.tier.set_down(false);
    world.tier.remove(KEY);
    assert_eq!(renewer.renew().await, None);
}

#[tokio::test]
async fn tag_generations_are_renewed_once_per_interval() {
    let world = World::new(LONG);
    let lease = world.lease(&[world.tag()]).await;
    let mut renewer = world.renewer(&lease, true);
    world.clock.advance(TAG_RENEWAL_INTERVAL);
    assert_eq!(world.count_round_trips(renewer.renew()).await, (Some(LONG / 3), 1));
    world.clock.advance(NANO);
    assert_eq!(world.count_round_trips(renewer.renew()).await, (Some(LONG / 3), 2));
    assert_eq!(world.count_round_trips(renewer.renew()).await, (Some(LONG / 3), 1));
    world.clock.advance(TAG_RENEWAL_INTERVAL + NANO);
    world.tier.set_down(true);
    assert_eq!(renewer.renew().await, Some(LONG / 10));
    world.tier.set_down(false);
    assert_eq!(world.count_round_trips(renewer.renew()).await, (Some(LONG / 3), 2), "they were not kept yet");
}

#[tokio::test]
async fn renewer_releases_the_lease_when_its_tag_is_invalidated() {
    for is_reported in [false, true] {
        let world = World::new(MINUTE);
        let lease = world.lease(&[world.tag()]).await;
        let mut renewer = world.renewer(&lease, true);
        let epoch = world.shared.epoch(KEY);
        world.tier.set_silent(!is_reported);
        world.other.delete(&[], &[world.tag()]).await.unwrap();
        assert_eq!(lease.validity.is_intact(), !is_reported);
        if !is_reported {
            assert!(renewer.renew().await.is_some(), "nothing shows it");
            world.clock.advance(TAG_RENEWAL_INTERVAL + NANO);
        }
        assert_eq!(renewer.renew().await, None);
        assert!(!world.is_leased().await && !epoch.is_alive());
    }
}

/// A tier may report a process's own changes.
#[tokio::test]
async fn renewer_takes_new_epochs_when_tags_are_unchanged() {
    let world = World::new(MINUTE);
    let lease = world.lease(&[world.tag()]).await;
    let mut renewer = world.renewer(&lease, true);
    for is_down in [false, true] {
        world.tier.set_down(is_down);
        world.shared.epochs.end(&world.tag());
        assert!(!renewer.validity.is_intact());
        assert!(renewer.renew().await.is_some());
        assert!(renewer.validity.is_intact());
        assert!(renewer.validity.generations().eq(lease.validity.generations()));
    }
}

/// Runs in real time: twice the length of a lease is six times as long as the renewal may take.
#[tokio::test]
async fn lease_is_renewed_before_it_ends() {
    let lease = Duration::from_secs(6);
    let world = World::new(lease);
    let mut held = world.lease(&[]).await;
    let before = world.tier.round_trips();
    held.renew_while(|| true);
    let renewed = async {
        while world.tier.round_trips() == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(within(2 * lease, renewed).await.is_some());
}

#[tokio::test]
async fn renewed_lease_is_released_at_once_when_its_tag_is_invalidated() {
    let world = World::new(LONG);
    let mut lease = world.lease(&[world.tag()]).await;
    lease.renew_while(|| true);
    world.other.delete(&[], &[world.tag()]).await.unwrap();
    until(async || !world.is_leased().await).await;
}

#[tokio::test]
async fn lease_is_released_on_close() {
    for is_renewed in [false, true] {
        let world = World::new(LONG);
        let mut lease = world.lease(&[]).await;
        if is_renewed {
            lease.renew_while(|| true);
        } else {
            lease.release_on_close();
        }
        world.shared.closing.send_replace(true);
        world.until_released().await;
    }
}

#[tokio::test]
async fn reconfirmed_lease_gets_new_epochs_only_if_it_still_holds() {
    for tags in [Vec::new(), vec!["test:%tag:tag".to_owned()]] {
        let world = World::new(MINUTE);
        let lease = world.lease(&tags).await;
        for name in tags.iter().map(String::as_str).chain([KEY]) {
            world.shared.epochs.end(name);
        }
        let before = lease.validity.generations().collect::<Vec<_>>();
        assert!(!lease.validity.is_intact());
        let lease = lease.reconfirm().await.expect("it is still there");
        assert!(lease.validity.is_intact() && lease.validity.generations().eq(before));
        world.tier.set_down(true);
        let lease = lease.reconfirm().await.expect("the fill will find out");
        world.tier.set_down(false);
        world.tier.remove(KEY);
        let epoch = world.shared.epoch(KEY);
        assert!(lease.reconfirm().await.is_none());
        assert!(!epoch.is_alive());
    }
}

/// The lease of a load for this process only is longer than others, because it is not renewed.
#[tokio::test]
async fn reconfirmed_lease_keeps_its_length() {
    let world = World::new(MINUTE / 60);
    let lease = world.lease_for(MINUTE, &[], LeaseMode::IfAbsent).await;
    world.shared.epochs.end(KEY);
    world.clock.advance(MINUTE / 2);
    let _lease = lease.reconfirm().await.expect("it is still there");
    assert_eq!(world.record().await, Record::Leased { left: MINUTE, is_retry: false });
}

#[tokio::test]
async fn reconfirm_releases_the_lease_when_its_tag_was_invalidated() {
    let world = World::new(MINUTE);
    let lease = world.lease(&[world.tag()]).await;
    world.other.delete(&[], &[world.tag()]).await.unwrap();
    assert!(lease.reconfirm().await.is_none());
    assert_eq!(world.record().await, Record::Absent);
    let next = world.lease(&[world.tag()]).await;
    assert!(next.reconfirm().await.is_some());
}

#[tokio::test]
async fn lease_without_a_value_is_released_with_its_reason() {
    let world = World::new(MINUTE);
    let epoch = world.shared.epoch(KEY);
    drop(world.lease(&[]).await);
    world.until_released().await;
    until(async || !epoch.is_alive()).await;

    world.lease(&[]).await.fail();
    until(async || world.record().await == Record::Failed).await;
    world.tier.remove(KEY);

    world.lease(&[]).await.fail_with(None);
    until(async || world.record().await == Record::Error(Note::default())).await;
    world.tier.remove(KEY);

    let validity = world.lease(&[]).await.abandon();
    world.until_released().await;
    assert!(validity.epoch.is_alive() && !validity.feed.is_tracked());
    world.shared.epochs.end(KEY);
    assert!(validity.is_intact(), "that may have been about the lease of another load");
}

#[tokio::test]
async fn announced_release_is_pending_until_it_is_done() {
    let world = World::new(MINUTE);
    let mut lease = world.lease(&[]).await;
    lease.announce_release();
    assert!(world.shared.pending_releases.is_pending(KEY));
    drop(lease);
    world.until_released().await;
    until(async || !world.shared.pending_releases.is_pending(KEY)).await;
}

#[tokio::test]
async fn lease_attempt_releases_the_lease_unless_refused() {
    let world = World::new(MINUTE);
    let request_lease = async |attempt: &LeaseAttempt<'_>| {
        let (token, lease) = (attempt.token(), MINUTE);
        let request = LeaseRequest { key: KEY, token, lease, mode: LeaseMode::IfAbsent };
        world
            .shared
            .tier
            .lease(&[request], TagRequest { keys: &[], keep: MINUTE, needs_position: false })
            .await
            .unwrap();
    };
    let attempt = LeaseAttempt::new(&world.shared, KEY, MINUTE);
    request_lease(&attempt).await;
    drop(attempt);
    world.until_released().await;

    let attempt = LeaseAttempt::new(&world.shared, KEY, MINUTE);
    request_lease(&attempt).await;
    let ((), round_trips) = world.count_round_trips(attempt.withdraw()).await;
    assert_eq!((round_trips, world.record().await), (1, Record::Absent));

    let ((), round_trips) = world
        .count_round_trips(async {
            LeaseAttempt::new(&world.shared, KEY, MINUTE).set_refused();
            tokio::task::yield_now().await;
        })
        .await;
    assert_eq!(round_trips, 0);
}
