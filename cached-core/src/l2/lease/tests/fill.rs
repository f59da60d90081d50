//! Tests of a load that stores its value.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::*;
use crate::{
    spec::FunctionSpec,
    telemetry::functions::FunctionRegistry,
    tier::{Attachment, Found, Leased, TagsClaimed},
    value::{
        codec::Written,
        policy::{Encoded, Encoder},
    },
};

/// A tier that records the fills that it gets, and may refuse one.
#[derive(Debug)]
struct Noting {
    inner: FakeTier,
    notes: Arc<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    /// Length and tags of each value that was to be stored.
    fills: Mutex<Vec<(usize, Vec<String>)>>,
    /// Error of the next fill.
    refusal: Mutex<Option<TierError>>,
}

impl Notes {
    fn refuse(&self, error: TierError) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// Returns the fills since the last call.
    fn taken(&self) -> Vec<(usize, Vec<String>)> {
        mem::take(&mut *self.fills.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Tier for Noting {
    fn attach(&self, attachment: Attachment) {
        self.inner.attach(attachment);
    }

    async fn look(&self, asks: &[Lookup<'_>], tags: &[String]) -> Result<Found, TierError> {
        self.inner.look(asks, tags).await
    }

    async fn lease(&self, claims: &[LeaseRequest<'_>], tags: TagRequest<'_>) -> Result<Leased, TierError> {
        self.inner.lease(claims, tags).await
    }

    async fn adopt(
        &self,
        tags: &[String],
        keep: Duration,
        since: JournalPosition,
    ) -> Result<TagsClaimed, TierError> {
        self.inner.adopt(tags, keep, since).await
    }

    async fn fill(&self, fills: Vec<TierFill>) -> Result<Filled, TierError> {
        let noted = fills.iter().map(|fill| (fill.bytes.len(), fill.tags.clone()));
        self.notes.fills.lock().unwrap_or_else(PoisonError::into_inner).extend(noted);
        let refusal = self.notes.refusal.lock().unwrap_or_else(PoisonError::into_inner).take();
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

fn noting() -> (World, Arc<Notes>) {
    let notes = Arc::new(Notes::default());
    let tier_of = |inner| Noting { inner, notes: notes.clone() };
    (World::over(LONG, tier_of), notes)
}

impl World {
    /// Stores a value of `bytes` bytes that is fresh for `ttl` from now on.
    async fn fill(&self, lease: &mut Lease, bytes: usize, ttl: Duration, tags: &[String]) -> Verdict {
        static SPEC: FunctionSpec = FunctionSpec::prefix("test");

        let encoder: Encoder = Box::new(move |_, _, out| {
            out.resize(bytes, 0);
            Ok(Encoded { by: Written(1), is_empty: false })
        });
        let life =
            Life { since: self.clock.clock().now(), ttl, stale: Duration::ZERO, spare: Duration::ZERO };
        let fill = Fill { encoder, created_ms: 0, life };
        let functions = FunctionRegistry::new();
        lease.fill(fill, tags, functions.of(&SPEC), Budget::Own, |_| ()).await
    }
}

fn stored(verdict: Verdict) -> Validity {
    match verdict {
        Verdict::Stored(claim) => claim,
        Verdict::Stubbed(_) => panic!("it was replaced by a stub"),
        Verdict::Rejected => panic!("it was rejected"),
        Verdict::Undecided => panic!("it is not known"),
    }
}

#[tokio::test]
async fn a_fill_keeps_the_tags_that_would_end_before_its_value() {
    for (more, is_kept) in [(Duration::ZERO, false), (NANO, true), (2 * MINUTE, true)] {
        let (world, notes) = noting();
        let mut lease = world.lease(&[world.tag()]).await;
        let (verdict, trips) = world.trips(world.fill(&mut lease, 10, MINUTE + more, &[])).await;
        assert!(stored(verdict).is_intact());
        assert_eq!(trips, 1, "nothing changed, over the same line");
        let tags: Vec<_> = notes.taken().into_iter().map(|(_, tags)| tags).collect();
        let kept = if is_kept { vec![world.tag()] } else { Vec::new() };
        assert_eq!(tags, [kept], "a minute and {more:?}");
    }
    // The load took some time.
    let (world, notes) = noting();
    let mut lease = world.lease(&[world.tag()]).await;
    world.clock.advance(NANO);
    stored(world.fill(&mut lease, 10, MINUTE, &[]).await);
    assert_eq!(notes.taken().remove(0).1, [world.tag()]);
}

#[tokio::test]
async fn fill_claims_value_tags_and_is_rejected_without_journal_position() {
    let (world, notes) = noting();
    let mut lease = world.lease(&[]).await;
    let moment = JournalPosition { count: 1, number: 0 };
    lease.since = Some((moment, world.shared.marks.of("any tag")));
    assert!(lease.any_tag().is_some_and(|any_tag| **any_tag.name() == *"any tag"));
    let claim = stored(world.fill(&mut lease, 10, 5 * MINUTE, &[world.tag()]).await);
    assert_eq!(claim.tag_keys(), [world.tag()]);
    assert_eq!(notes.taken().remove(0).1, Vec::<String>::new(), "they were kept when they were adopted");

    let mut lease = world.lease(&[]).await;
    let verdict = world.fill(&mut lease, 10, MINUTE, &[world.tag()]).await;
    assert!(matches!(verdict, Verdict::Rejected), "nothing says whether they were invalidated meanwhile");
    assert!(notes.taken().is_empty());
}

#[tokio::test]
async fn a_large_value_that_is_not_taken_is_replaced_by_a_stub() {
    let (world, notes) = noting();
    let mut lease = world.lease(&[]).await;
    stored(world.fill(&mut lease, LARGE_VALUE - 1_000, MINUTE, &[]).await);
    let around = notes.taken()[0].0 - (LARGE_VALUE - 1_000);
    for error in [TierError::Timeout, TierError::Refused("OOM".to_owned()), TierError::Unavailable] {
        for (bytes, is_large) in [(LARGE_VALUE, false), (LARGE_VALUE + 1, true)] {
            world.tier.remove(KEY);
            let mut lease = world.lease(&[]).await;
            notes.refuse(error.clone());
            let verdict = world.fill(&mut lease, bytes - around, MINUTE, &[]).await;
            let is_stubbed = is_large && error != TierError::Unavailable;
            match verdict {
                Verdict::Stubbed(claim) => assert!(is_stubbed && claim.is_intact()),
                Verdict::Undecided => assert!(!is_stubbed, "{bytes} bytes, {error:?}"),
                _ => panic!("{bytes} bytes, {error:?}"),
            }
            let lengths: Vec<_> = notes.taken().into_iter().map(|(length, _)| length).collect();
            assert_eq!((lengths[0], lengths.len()), (bytes, if is_stubbed { 2 } else { 1 }));
        }
    }
}

#[tokio::test]
async fn a_large_value_that_is_not_taken_leaves_the_value_before_it() {
    let (world, notes) = noting();
    for is_stub in [false, true] {
        world.tier.remove(KEY);
        let mut lease = world.lease(&[]).await;
        if is_stub {
            notes.refuse(TierError::Timeout);
            assert!(matches!(world.fill(&mut lease, LARGE_VALUE, MINUTE, &[]).await, Verdict::Stubbed(_)));
        } else {
            stored(world.fill(&mut lease, 10, MINUTE, &[]).await);
        }
        let before = world.tier.bytes(KEY);
        let mut lease = world.lease_as(&[], LeaseMode::Always).await;
        notes.taken();
        notes.refuse(TierError::Timeout);
        let verdict = world.fill(&mut lease, LARGE_VALUE, MINUTE, &[]).await;
        let fills = notes.taken().len();
        if is_stub {
            assert!(matches!(verdict, Verdict::Stubbed(_)) && fills == 2);
        } else {
            assert!(matches!(verdict, Verdict::Undecided) && fills == 1 && world.tier.bytes(KEY) == before);
        }
    }
}

#[tokio::test]
async fn a_value_that_was_stored_stands_on_the_moment_and_the_line_of_its_fill() {
    let (world, _) = noting();
    let mut lease = world.lease(&[]).await;
    let (before, leased_over) = (lease.claim.checked, lease.claim.line.clone());
    world.clock.advance(MINUTE);
    world.tier.set_down(true);
    world.tier.set_down(false);
    // The outage does not end the epoch of this key. The fake tier has only a new change feed afterwards.
    let (verdict, trips) = world.trips(world.fill(&mut lease, 10, MINUTE, &[])).await;
    let claim = stored(verdict);
    assert_eq!((claim.checked, trips), (before + nanos(MINUTE), 1));
    assert!(claim.is_intact() && claim.line.watches() && !claim.line.is_same(&leased_over));
}

#[tokio::test]
async fn a_value_whose_tags_were_watched_over_another_line_is_looked_at_again() {
    for is_invalidated in [false, true] {
        let (world, _) = noting();
        let mut lease = world.lease(&[world.tag()]).await;
        world.tier.set_down(true);
        world.tier.set_down(false);
        if is_invalidated {
            world.other.delete(&[], &[world.tag()]).await.unwrap();
        }
        let (verdict, trips) = world.trips(world.fill(&mut lease, 10, MINUTE, &[])).await;
        assert_eq!(trips, 2);
        match verdict {
            Verdict::Stored(claim) => assert!(!is_invalidated && claim.is_intact() && claim.line.watches()),
            Verdict::Rejected => assert!(is_invalidated),
            _ => panic!("it was stored or rejected"),
        }
    }
}

#[tokio::test]
async fn a_word_about_the_key_since_the_lease_was_taken_may_have_been_about_the_lease() {
    let (world, _) = noting();
    let mut lease = world.lease(&[]).await;
    world.shared.marks.end(KEY);
    let (verdict, trips) = world.trips(world.fill(&mut lease, 10, MINUTE, &[])).await;
    assert!(stored(verdict).is_intact());
    assert_eq!(trips, 2);
    drop(lease);
    assert!(!world.shared.returning.is_under_way(KEY), "there is no lease any more");
}

#[tokio::test]
async fn a_value_whose_lease_is_gone_is_rejected() {
    let (world, _) = noting();
    let mut lease = world.lease(&[]).await;
    world.tier.remove(KEY);
    assert!(matches!(world.fill(&mut lease, 10, MINUTE, &[]).await, Verdict::Rejected));
    let mut lease = world.lease(&[]).await;
    world.clock.advance(MINUTE);
    let since = world.clock.clock().now() - nanos(MINUTE);
    let encoder: Encoder = Box::new(|_, _, _| Ok(Encoded { by: Written(1), is_empty: false }));
    let life = Life { since, ttl: MINUTE, stale: Duration::ZERO, spare: Duration::ZERO };
    let functions = FunctionRegistry::new();
    let function = functions.of(&FunctionSpec::prefix("test")).clone();
    let fill = Fill { encoder, created_ms: 0, life };
    let verdict = lease.fill(fill, &[], &function, Budget::Own, |_| ()).await;
    assert!(matches!(verdict, Verdict::Undecided), "it is over before it is stored");
}
