mod fill;

use super::{keeper::SEEDED_FOR, *};
use crate::{
    base::race::within,
    cache::Cache,
    testing::{FakeTier, ManualClock},
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

    async fn lease_as(&self, tags: &[String], take: LeaseMode) -> Lease {
        let claim = self.shared.silent_claim(KEY, tags);
        let pledge = LeaseAttempt::new(&self.shared, KEY);
        let (token, lease) = (pledge.token(), self.shared.lease);
        let wanted = LeaseRequest { key: KEY, token, lease, take };
        let ask = TagRequest { keys: tags, keep: MINUTE, more: false };
        let leased = self.shared.tier.lease(&[wanted], ask).await.unwrap();
        let claim = Validity { line: leased.line, ..claim }.with_generations(leased.generations);
        let name = SharedKey { text: KEY.to_owned(), check: [0; 16], schema: 0 };
        pledge.granted(name, claim, MINUTE, None)
    }

    /// Returns the keeper of a lease, with a load that is at work or not.
    fn keeper(&self, lease: &Lease, is_at_work: bool) -> LeaseRenewer<impl Fn() -> bool + use<>> {
        LeaseRenewer {
            shared: self.shared.clone(),
            name: KEY.to_owned(),
            token: lease.token,
            claim: lease.claim.clone(),
            keep: MINUTE,
            seeded: lease.claim.checked,
            is_at_work: move || is_at_work,
        }
    }

    async fn record(&self) -> Record {
        self.other.look(&[Lookup::new(KEY)], &[]).await.unwrap().records.remove(0)
    }

    async fn is_leased(&self) -> bool {
        matches!(self.record().await, Record::Leased { .. })
    }

    async fn is_given_back(&self) {
        until(async || self.record().await == Record::Absent).await;
    }

    /// Returns the number of operations of all processes during a future.
    async fn trips<T>(&self, during: impl Future<Output = T>) -> (T, usize) {
        let before = self.tier.round_trips();
        let output = during.await;
        (output, self.tier.round_trips() - before)
    }
}

async fn until(condition: impl AsyncFn() -> bool) {
    let waits = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(within(PATIENCE, waits).await.is_some(), "it does not happen");
}

#[tokio::test]
async fn a_lease_is_renewed_while_its_load_is_at_work() {
    let world = World::new(LONG);
    let lease = world.lease(&[]).await;
    assert_eq!((lease.name(), lease.stamp(), lease.any_tag().is_none()), (KEY, lease.token.stamp(), true));
    let mut keeper = world.keeper(&lease, true);
    assert_eq!(world.trips(keeper.renew()).await, (Some(LONG / 3), 1));
    world.clock.advance(10 * SEEDED_FOR);
    assert_eq!(world.trips(keeper.renew()).await, (Some(LONG / 3), 1), "there are no tags to be kept");
    assert_eq!(world.trips(world.keeper(&lease, false).renew()).await, (Some(LONG / 10), 0));
    world.tier.set_down(true);
    assert_eq!(keeper.renew().await, Some(LONG / 10), "it may be there all the same");
    world.tier.set_down(false);
    world.tier.remove(KEY);
    assert_eq!(keeper.renew().await, None);
}

#[tokio::test]
async fn the_generations_of_tags_are_kept_now_and_then() {
    let world = World::new(LONG);
    let lease = world.lease(&[world.tag()]).await;
    let mut keeper = world.keeper(&lease, true);
    world.clock.advance(SEEDED_FOR);
    assert_eq!(world.trips(keeper.renew()).await, (Some(LONG / 3), 1));
    world.clock.advance(NANO);
    assert_eq!(world.trips(keeper.renew()).await, (Some(LONG / 3), 2));
    assert_eq!(world.trips(keeper.renew()).await, (Some(LONG / 3), 1));
    world.clock.advance(SEEDED_FOR + NANO);
    world.tier.set_down(true);
    assert_eq!(keeper.renew().await, Some(LONG / 10));
    world.tier.set_down(false);
    assert_eq!(world.trips(keeper.renew()).await, (Some(LONG / 3), 2), "they were not kept yet");
}

#[tokio::test]
async fn a_load_whose_tag_was_invalidated_has_no_lease_any_more() {
    for is_told in [false, true] {
        let world = World::new(MINUTE);
        let lease = world.lease(&[world.tag()]).await;
        let mut keeper = world.keeper(&lease, true);
        let mark = world.shared.mark(KEY);
        world.tier.set_silent(!is_told);
        world.other.delete(&[], &[world.tag()]).await.unwrap();
        assert_eq!(lease.claim.is_intact(), !is_told);
        if !is_told {
            assert!(keeper.renew().await.is_some(), "nothing shows it");
            world.clock.advance(SEEDED_FOR + NANO);
        }
        assert_eq!(keeper.renew().await, None);
        assert!(!world.is_leased().await && !mark.is_alive());
    }
}

/// A tier may report a process's own changes.
#[tokio::test]
async fn a_tag_that_is_as_it_was_is_watched_anew() {
    let world = World::new(MINUTE);
    let lease = world.lease(&[world.tag()]).await;
    let mut keeper = world.keeper(&lease, true);
    for is_down in [false, true] {
        world.tier.set_down(is_down);
        world.shared.marks.end(&world.tag());
        assert!(!keeper.claim.is_intact());
        assert!(keeper.renew().await.is_some());
        assert!(keeper.claim.is_intact());
        assert!(keeper.claim.generations().eq(lease.claim.generations()));
    }
}

/// Runs in real time: twice the length of a lease is six times as long as the renewal may take.
#[tokio::test]
async fn it_is_renewed_before_it_ends() {
    let lease = Duration::from_secs(6);
    let world = World::new(lease);
    let mut held = world.lease(&[]).await;
    let before = world.tier.round_trips();
    held.keep(|| true);
    let renewed = async {
        while world.tier.round_trips() == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(within(2 * lease, renewed).await.is_some());
}

#[tokio::test]
async fn kept_lease_is_released_at_once_when_its_tag_is_invalidated() {
    let world = World::new(LONG);
    let mut lease = world.lease(&[world.tag()]).await;
    lease.keep(|| true);
    world.other.delete(&[], &[world.tag()]).await.unwrap();
    until(async || !world.is_leased().await).await;
}

#[tokio::test]
async fn a_close_has_it_given_back() {
    for is_renewed in [false, true] {
        let world = World::new(LONG);
        let mut lease = world.lease(&[]).await;
        if is_renewed {
            lease.keep(|| true);
        } else {
            lease.give_back_at_close();
        }
        world.shared.leaving.send_replace(true);
        world.is_given_back().await;
    }
}

#[tokio::test]
async fn lease_gets_new_epochs_only_if_it_still_holds() {
    for tags in [Vec::new(), vec!["test:%tag:tag".to_owned()]] {
        let world = World::new(MINUTE);
        let lease = world.lease(&tags).await;
        for name in tags.iter().map(String::as_str).chain([KEY]) {
            world.shared.marks.end(name);
        }
        let before = lease.claim.generations().collect::<Vec<_>>();
        assert!(!lease.claim.is_intact());
        let lease = lease.reassured().await.expect("it is still there");
        assert!(lease.claim.is_intact() && lease.claim.generations().eq(before));
        world.tier.set_down(true);
        let lease = lease.reassured().await.expect("the fill will find out");
        world.tier.set_down(false);
        world.tier.remove(KEY);
        let mark = world.shared.mark(KEY);
        assert!(lease.reassured().await.is_none());
        assert!(!mark.is_alive());
    }
}

#[tokio::test]
async fn a_lease_whose_tag_was_invalidated_is_given_back_for_another_one() {
    let world = World::new(MINUTE);
    let lease = world.lease(&[world.tag()]).await;
    world.other.delete(&[], &[world.tag()]).await.unwrap();
    assert!(lease.reassured().await.is_none());
    assert_eq!(world.record().await, Record::Absent);
    let next = world.lease(&[world.tag()]).await;
    assert!(next.reassured().await.is_some());
}

#[tokio::test]
async fn lease_without_a_value_is_released_with_its_reason() {
    let world = World::new(MINUTE);
    let mark = world.shared.mark(KEY);
    drop(world.lease(&[]).await);
    world.is_given_back().await;
    until(async || !mark.is_alive()).await;

    world.lease(&[]).await.fail();
    until(async || world.record().await == Record::Failed).await;
    world.tier.remove(KEY);

    world.lease(&[]).await.fail_with(None);
    until(async || world.record().await == Record::Error(Note::default())).await;
    world.tier.remove(KEY);

    let claim = world.lease(&[]).await.leave();
    world.is_given_back().await;
    assert!(claim.mark.is_alive() && !claim.line.watches());
    world.shared.marks.end(KEY);
    assert!(claim.is_intact(), "that may have been about the lease of another load");
}

#[tokio::test]
async fn a_lease_is_on_its_way_back_from_before_the_followers_have_the_result() {
    let world = World::new(MINUTE);
    let mut lease = world.lease(&[]).await;
    lease.begin_return();
    assert!(world.shared.returning.is_under_way(KEY));
    drop(lease);
    world.is_given_back().await;
    until(async || !world.shared.returning.is_under_way(KEY)).await;
}

#[tokio::test]
async fn a_lease_that_was_asked_for_is_given_back_unless_it_is_known_that_there_is_none() {
    let world = World::new(MINUTE);
    let take = async |pledge: &LeaseAttempt<'_>| {
        let (token, lease) = (pledge.token(), MINUTE);
        let wanted = LeaseRequest { key: KEY, token, lease, take: LeaseMode::IfAbsent };
        world
            .shared
            .tier
            .lease(&[wanted], TagRequest { keys: &[], keep: MINUTE, more: false })
            .await
            .unwrap();
    };
    let pledge = LeaseAttempt::new(&world.shared, KEY);
    take(&pledge).await;
    drop(pledge);
    world.is_given_back().await;

    let pledge = LeaseAttempt::new(&world.shared, KEY);
    take(&pledge).await;
    let ((), trips) = world.trips(pledge.withdraw()).await;
    assert_eq!((trips, world.record().await), (1, Record::Absent));

    let ((), trips) = world
        .trips(async {
            LeaseAttempt::new(&world.shared, KEY).refused();
            tokio::task::yield_now().await;
        })
        .await;
    assert_eq!(trips, 0);
}
