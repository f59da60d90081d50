//! Tests of a load that stores its value.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::*;
use crate::{
    base::clock::nanos,
    error::tier::TierError,
    l2::shared::{Fill, Life},
    spec::FunctionSpec,
    telemetry::functions::FunctionRegistry,
    tier::{Attachment, Filled, Found, LARGE_VALUE, Leased, TagsClaimed, TierFill, budget::Budget},
    value::{
        codec::CodecId,
        policy::{Encoded, Encoder},
    },
};

/// A tier that records the fills that it gets, and may refuse one.
#[derive(Debug)]
struct RecordingTier {
    inner: FakeTier,
    log: Arc<FillLog>,
}

#[derive(Debug, Default)]
struct FillLog {
    /// Length and tags of each value that was to be stored.
    fills: Mutex<Vec<(usize, Vec<String>)>>,
    /// Error of the next fill.
    refusal: Mutex<Option<TierError>>,
}

impl FillLog {
    fn refuse(&self, error: TierError) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// Returns the fills since the last call.
    fn take_fills(&self) -> Vec<(usize, Vec<String>)> {
        mem::take(&mut *self.fills.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Tier for RecordingTier {
    fn attach(&self, attachment: Attachment) {
        self.inner.attach(attachment);
    }

    async fn lookup(&self, lookups: &[Lookup<'_>], tags: &[String]) -> Result<Found, TierError> {
        self.inner.lookup(lookups, tags).await
    }

    async fn lease(&self, requests: &[LeaseRequest<'_>], tags: TagRequest<'_>) -> Result<Leased, TierError> {
        self.inner.lease(requests, tags).await
    }

    async fn claim_tags(
        &self,
        tags: &[String],
        keep: Duration,
        since: JournalPosition,
    ) -> Result<TagsClaimed, TierError> {
        self.inner.claim_tags(tags, keep, since).await
    }

    async fn fill(&self, fills: Vec<TierFill>) -> Result<Filled, TierError> {
        let recorded = fills.iter().map(|fill| (fill.bytes.len(), fill.tags.clone()));
        self.log.fills.lock().unwrap_or_else(PoisonError::into_inner).extend(recorded);
        let refusal = self.log.refusal.lock().unwrap_or_else(PoisonError::into_inner).take();
        match refusal {
            Some(error) => Err(error),
            None => self.inner.fill(fills).await,
        }
    }

    async fn renew(&self, key: &str, token: LeaseToken, lease: Duration) -> Result<bool, TierError> {
        self.inner.renew(key, token, lease).await
    }

    async fn release(&self, key: &str, token: LeaseToken, is_failed: bool) -> Result<bool, TierError> {
        self.inner.release(key, token, is_failed).await
    }

    async fn delete(&self, keys: &[String], tags: &[String]) -> Result<(), TierError> {
        self.inner.delete(keys, tags).await
    }

    async fn delete_matching(&self, pattern: &str) -> Result<u64, TierError> {
        self.inner.delete_matching(pattern).await
    }

    async fn exists(&self, key: &str) -> Result<bool, TierError> {
        self.inner.exists(key).await
    }

    async fn incr(&self, key: &str, by: i64, ttl: Option<Duration>) -> Result<i64, TierError> {
        self.inner.incr(key, by, ttl).await
    }
}

fn recording() -> (World, Arc<FillLog>) {
    let log = Arc::new(FillLog::default());
    let tier_of = |inner| RecordingTier { inner, log: log.clone() };
    (World::over(LONG, tier_of), log)
}

impl World {
    /// Stores a value of `bytes` bytes that is fresh for `ttl` from now on.
    async fn fill(&self, lease: &mut Lease, bytes: usize, ttl: Duration, tags: &[String]) -> Verdict {
        static SPEC: FunctionSpec = FunctionSpec::prefix("test");

        let encoder: Encoder = Box::new(move |_, _, out| {
            out.resize(bytes, 0);
            Ok(Encoded { codec: CodecId(1), is_empty: false })
        });
        let life =
            Life { start: self.clock.clock().now(), ttl, stale: Duration::ZERO, spare: Duration::ZERO };
        let fill = Fill { encoder, created_ms: 0, life };
        let functions = FunctionRegistry::new();
        lease.fill(fill, tags, functions.metrics_of(&SPEC), Budget::Own, |_| ()).await
    }
}

fn stored(verdict: Verdict) -> Validity {
    match verdict {
        Verdict::Stored(validity) => validity,
        Verdict::Stubbed(_) => panic!("it was replaced by a stub"),
        Verdict::Rejected => panic!("it was rejected"),
        Verdict::Undecided => panic!("it is not known"),
    }
}

#[tokio::test]
async fn fill_extends_tags_that_would_expire_before_its_value() {
    for (more, is_kept) in [(Duration::ZERO, false), (NANO, true), (2 * MINUTE, true)] {
        let (world, log) = recording();
        let mut lease = world.lease(&[world.tag()]).await;
        let (verdict, round_trips) =
            world.count_round_trips(world.fill(&mut lease, 10, MINUTE + more, &[])).await;
        assert!(stored(verdict).is_intact());
        assert_eq!(round_trips, 1, "nothing changed, over the same feed");
        let tags: Vec<_> = log.take_fills().into_iter().map(|(_, tags)| tags).collect();
        let expected = if is_kept { vec![world.tag()] } else { Vec::new() };
        assert_eq!(tags, [expected], "a minute and {more:?}");
    }
    // The load took some time.
    let (world, log) = recording();
    let mut lease = world.lease(&[world.tag()]).await;
    world.clock.advance(NANO);
    stored(world.fill(&mut lease, 10, MINUTE, &[]).await);
    assert_eq!(log.take_fills().remove(0).1, [world.tag()]);
}

#[tokio::test]
async fn fill_claims_value_tags_and_is_rejected_without_journal_position() {
    let (world, log) = recording();
    let mut lease = world.lease(&[]).await;
    let position = JournalPosition { journal_id: 1, offset: 0 };
    lease.journal = Some((position, world.shared.epochs.current("any tag")));
    assert!(lease.journal().is_some_and(|(_, epoch)| epoch.name() == "any tag"));
    let validity = stored(world.fill(&mut lease, 10, 5 * MINUTE, &[world.tag()]).await);
    assert_eq!(validity.tag_keys(), [world.tag()]);
    assert_eq!(log.take_fills().remove(0).1, Vec::<String>::new(), "they were kept when they were claimed");

    let mut lease = world.lease(&[]).await;
    let verdict = world.fill(&mut lease, 10, MINUTE, &[world.tag()]).await;
    assert!(matches!(verdict, Verdict::Rejected), "nothing says whether they were invalidated meanwhile");
    assert!(log.take_fills().is_empty());
}

#[tokio::test]
async fn claimed_tags_depend_on_the_feed_of_their_claim() {
    let (world, _) = recording();
    let lease = world.lease(&[]).await;
    let (position, tags) = (JournalPosition { journal_id: 1, offset: 0 }, [world.tag()]);
    let claim = async || {
        let claimed = claim_tags(&world.shared, &lease.validity, position, &tags, MINUTE).await;
        claimed.unwrap().expect("no tag was invalidated")
    };
    assert!(claim().await.feed.is_same(&lease.validity.feed));
    // After an outage, the claim comes over a new feed. Neither feed reports a change between the two reads.
    world.tier.set_down(true);
    world.tier.set_down(false);
    assert!(!claim().await.feed.is_tracked());
}

#[tokio::test]
async fn stub_replaces_a_large_value_that_is_not_stored() {
    let (world, log) = recording();
    let mut lease = world.lease(&[]).await;
    stored(world.fill(&mut lease, LARGE_VALUE - 1_000, MINUTE, &[]).await);
    let overhead = log.take_fills()[0].0 - (LARGE_VALUE - 1_000);
    for error in [TierError::Timeout, TierError::Refused("OOM".to_owned()), TierError::Unavailable] {
        for (bytes, is_large) in [(LARGE_VALUE, false), (LARGE_VALUE + 1, true)] {
            world.tier.remove(KEY);
            let mut lease = world.lease(&[]).await;
            log.refuse(error.clone());
            let verdict = world.fill(&mut lease, bytes - overhead, MINUTE, &[]).await;
            let is_stubbed = is_large && error != TierError::Unavailable;
            match verdict {
                Verdict::Stubbed(validity) => assert!(is_stubbed && validity.is_intact()),
                Verdict::Undecided => assert!(!is_stubbed, "{bytes} bytes, {error:?}"),
                _ => panic!("{bytes} bytes, {error:?}"),
            }
            let lengths: Vec<_> = log.take_fills().into_iter().map(|(length, _)| length).collect();
            assert_eq!((lengths[0], lengths.len()), (bytes, if is_stubbed { 2 } else { 1 }));
        }
    }
}

#[tokio::test]
async fn large_value_that_is_not_stored_leaves_the_previous_value() {
    let (world, log) = recording();
    for is_stub in [false, true] {
        world.tier.remove(KEY);
        let mut lease = world.lease(&[]).await;
        if is_stub {
            log.refuse(TierError::Timeout);
            assert!(matches!(world.fill(&mut lease, LARGE_VALUE, MINUTE, &[]).await, Verdict::Stubbed(_)));
        } else {
            stored(world.fill(&mut lease, 10, MINUTE, &[]).await);
        }
        let before = world.tier.bytes(KEY);
        let mut lease = world.lease_as(&[], LeaseMode::Always).await;
        log.take_fills();
        log.refuse(TierError::Timeout);
        let verdict = world.fill(&mut lease, LARGE_VALUE, MINUTE, &[]).await;
        let fills = log.take_fills().len();
        if is_stub {
            assert!(matches!(verdict, Verdict::Stubbed(_)) && fills == 2);
        } else {
            assert!(matches!(verdict, Verdict::Undecided) && fills == 1 && world.tier.bytes(KEY) == before);
        }
    }
}

#[tokio::test]
async fn stored_value_has_the_time_and_feed_of_its_fill() {
    let (world, _) = recording();
    let mut lease = world.lease(&[]).await;
    let (before, leased_feed) = (lease.validity.checked_at, lease.validity.feed.clone());
    world.clock.advance(MINUTE);
    world.tier.set_down(true);
    world.tier.set_down(false);
    // The outage does not end the epoch of this key. The fake tier has only a new change feed afterwards.
    let (verdict, round_trips) = world.count_round_trips(world.fill(&mut lease, 10, MINUTE, &[])).await;
    let validity = stored(verdict);
    assert_eq!((validity.checked_at, round_trips), (before + nanos(MINUTE), 1));
    assert!(validity.is_intact() && validity.feed.is_tracked() && !validity.feed.is_same(&leased_feed));
}

#[tokio::test]
async fn value_is_revalidated_when_its_tags_had_another_feed() {
    for is_invalidated in [false, true] {
        let (world, _) = recording();
        let mut lease = world.lease(&[world.tag()]).await;
        world.tier.set_down(true);
        world.tier.set_down(false);
        if is_invalidated {
            world.other.delete(&[], &[world.tag()]).await.unwrap();
        }
        let (verdict, round_trips) = world.count_round_trips(world.fill(&mut lease, 10, MINUTE, &[])).await;
        assert_eq!(round_trips, 2);
        match verdict {
            Verdict::Stored(validity) => {
                assert!(!is_invalidated && validity.is_intact() && validity.feed.is_tracked());
            }
            Verdict::Rejected => assert!(is_invalidated),
            _ => panic!("it was stored or rejected"),
        }
    }
}

#[tokio::test]
async fn value_is_revalidated_when_its_key_was_reported_as_changed() {
    let (world, _) = recording();
    let mut lease = world.lease(&[]).await;
    world.shared.epochs.end(KEY);
    let (verdict, round_trips) = world.count_round_trips(world.fill(&mut lease, 10, MINUTE, &[])).await;
    assert!(stored(verdict).is_intact());
    assert_eq!(round_trips, 2);
    drop(lease);
    assert!(!world.shared.pending_releases.is_pending(KEY), "there is no lease any more");
}

#[tokio::test]
async fn fill_without_a_lease_is_rejected() {
    let (world, _) = recording();
    let mut lease = world.lease(&[]).await;
    world.tier.remove(KEY);
    assert!(matches!(world.fill(&mut lease, 10, MINUTE, &[]).await, Verdict::Rejected));
    let mut lease = world.lease(&[]).await;
    world.clock.advance(MINUTE);
    let since = world.clock.clock().now() - nanos(MINUTE);
    let encoder: Encoder = Box::new(|_, _, _| Ok(Encoded { codec: CodecId(1), is_empty: false }));
    let life = Life { start: since, ttl: MINUTE, stale: Duration::ZERO, spare: Duration::ZERO };
    let functions = FunctionRegistry::new();
    let function = functions.metrics_of(&FunctionSpec::prefix("test")).clone();
    let fill = Fill { encoder, created_ms: 0, life };
    let verdict = lease.fill(fill, &[], &function, Budget::Own, |_| ()).await;
    assert!(matches!(verdict, Verdict::Undecided), "it is over before it is stored");
}
