//! Values that JSON cannot represent, and values that the shared tier cannot hold.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::Ordering::SeqCst},
    time::Duration,
};

use cached_aside::{
    Cache, CacheControl, EventKind, cached, tag,
    testing::{FakeTier, ManualClock},
    tier::LARGE_VALUE,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::spawn;

use crate::{
    faulty_tier::{Faults, FaultyTier},
    support::{Pair, SECOND, Source, wait_until},
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(clippy::option_option, reason = "such types exist")]
struct Quote {
    bid: Option<f64>,
    note: Option<Option<u8>>,
    unit: Option<()>,
    raw: Option<serde_json::Value>,
    wide: u128,
    picture: Vec<u8>,
    by_pair: BTreeMap<(u8, u8), u8>,
}

#[cached("quote:{id}", ttl = "1h", cache = cache, skip(cache, source))]
async fn quote(cache: &Cache, source: &Source, id: usize) -> Quote {
    let version = source.load().await;
    Quote {
        bid: Some(f64::INFINITY),
        note: Some(None),
        unit: Some(()),
        raw: Some(serde_json::Value::Null),
        wide: u128::MAX - (id + version) as u128,
        picture: vec![255; 1 << 20],
        by_pair: BTreeMap::from([((1, 2), 3)]),
    }
}

#[tokio::test]
async fn value_that_json_cannot_represent_is_shared_unchanged() {
    let (pair, source) = (Pair::new(), Source::open());
    let first = quote(&pair.a, &source, 1).await;
    pair.flush().await;
    assert_eq!((quote(&pair.b, &source, 1).await, source.runs()), (first, 1));
    let stored = pair.tier_a.bytes("test:quote:1").unwrap().len();
    assert!(stored < (1 << 20) + 1_000, "bytes travel as bytes: {stored}");
}

/// Function with a tag, and with values that are too large for the tier of these tests.
#[cached("page:{n}", ttl = "1h", tags = ["n:{n}"], cache = cache, skip(cache, source))]
async fn page(cache: &Cache, source: &Source, n: usize) -> String {
    let _ = n;
    format!("{} {}", source.load().await, "x".repeat(1_000))
}

/// Function like `page`, without tags.
#[cached("plain:{n}", ttl = "1h", cache = cache, skip(cache, source))]
async fn plain(cache: &Cache, source: &Source, n: usize) -> String {
    let _ = n;
    format!("{} {}", source.load().await, "x".repeat(1_000))
}

/// Function like `page`, with a tag that comes from the value.
#[cached("told:{n}", ttl = "1h", tags_from = |text| vec![tag!("length:{}", text.len())], cache = cache,
    skip(cache, source))]
async fn value_tagged(cache: &Cache, source: &Source, n: usize) -> String {
    let _ = n;
    format!("{:04} {}", source.load().await, "x".repeat(1_000))
}

fn pair_with_small_limit() -> Pair {
    Pair::with(|builder| builder.max_value_bytes(100))
}

fn version_of(text: &str) -> usize {
    text.split(' ').next().unwrap().parse().unwrap()
}

async fn by_tag(cache: &Cache) {
    cache.invalidate_tag("n:{}", &[&7]).await.unwrap();
}

async fn by_value_tag(cache: &Cache) {
    cache.invalidate_tag("length:{}", &[&1_005]).await.unwrap();
}

async fn by_pattern(cache: &Cache) {
    cache.invalidate_pattern("*:7", &[]).await.unwrap();
}

async fn by_key(cache: &Cache) {
    let source = Source::open();
    page::invalidate(cache, &source, 7).await.unwrap();
    plain::invalidate(cache, &source, 7).await.unwrap();
    value_tagged::invalidate(cache, &source, 7).await.unwrap();
}

async fn by_clear(cache: &Cache) {
    cache.clear().await.unwrap();
}

/// Runs a test for each of these functions, with a way to invalidate its value for the number 7.
macro_rules! each {
    (|$pair:ident, $source:ident, $call:ident, $invalidate:ident| $test:block) => {{
        macro_rules! one {
            ($function:ident, $invalidation:ident) => {{
                async fn $call(cache: &Cache, source: &Source) -> usize {
                    version_of(&$function(cache, source, 7).await)
                }
                #[allow(unused_variables)]
                let $invalidate = $invalidation;
                let ($pair, $source) = (pair_with_small_limit(), Source::open());
                $test
            }};
        }
        one!(page, by_tag);
        one!(page, by_key);
        one!(plain, by_key);
        one!(plain, by_pattern);
        one!(value_tagged, by_value_tag);
        one!(value_tagged, by_clear);
    }};
}

#[tokio::test]
async fn value_the_tier_cannot_hold_is_loaded_once_per_process() {
    each!(|pair, source, call, invalidate| {
        for second in 0..3_599 {
            for cache in [&pair.a, &pair.b] {
                assert_eq!(call(cache, &source).await, 1, "{second}");
                if second == 0 {
                    cache.flush().await;
                }
            }
            pair.clock.advance(SECOND);
        }
        assert_eq!(source.runs(), 2);
        assert_eq!((pair.a.stats().kept_unshared, pair.b.stats().kept_unshared), (1, 1));
        // The ttl is over.
        pair.clock.advance(SECOND);
        call(&pair.a, &source).await;
        assert_eq!(source.runs(), 3);
    });
}

#[tokio::test]
async fn value_the_tier_cannot_hold_is_invalidated_in_all_processes() {
    each!(|pair, source, call, invalidate| {
        for round in 1..=3 {
            for cache in [&pair.a, &pair.b, &pair.a, &pair.b] {
                assert_eq!(call(cache, &source).await, round);
                pair.flush().await;
            }
            assert_eq!(source.runs(), 2 * round);
            source.write();
            invalidate(if round == 2 { &pair.a } else { &pair.b }).await;
        }
    });
}

#[tokio::test]
async fn overtaken_load_beside_a_stub_is_not_stored() {
    each!(|pair, source, call, invalidate| {
        for by_a in [true, false] {
            invalidate(&pair.a).await;
            call(&pair.a, &source).await;
            pair.flush().await;
            // The other process finds the stub, and begins to load.
            let held = Source::gated();
            let load = spawn({
                let (cache, held) = (pair.b.clone(), held.clone());
                async move { call(&cache, &held).await }
            });
            wait_until(|| held.runs() == 1).await;
            invalidate(if by_a { &pair.a } else { &pair.b }).await;
            held.write();
            held.release(10);
            assert_eq!(load.await.unwrap(), 1);
            pair.flush().await;
            assert_eq!(call(&pair.b, &held).await, 2);
        }
    });
}

#[tokio::test]
async fn refreshed_unshared_value_replaces_those_of_other_processes() {
    let (pair, source) = (pair_with_small_limit(), Source::open());
    for cache in [&pair.a, &pair.b] {
        plain(cache, &source, 1).await;
        pair.flush().await;
    }
    source.write();
    assert_eq!(version_of(&plain::refresh(&pair.a, &source, 1).await), 2);
    pair.flush().await;
    assert_eq!(version_of(&plain(&pair.b, &source, 1).await), 2);
    pair.flush().await;
    let runs = source.runs();
    for cache in [&pair.a, &pair.b] {
        assert_eq!(version_of(&plain(cache, &source, 1).await), 2);
    }
    assert_eq!((runs, source.runs()), (4, 4));
    // A caller requires a younger value than there is.
    pair.clock.advance(10 * SECOND);
    source.write();
    let reply = plain::with(CacheControl::max_age(5 * SECOND), &pair.b, &source, 1).await;
    assert_eq!(version_of(&reply.value), 3);
    pair.flush().await;
    assert_eq!(version_of(&plain(&pair.a, &source, 1).await), 3);
}

#[tokio::test]
async fn stub_is_revalidated_without_load_when_changes_are_not_reported() {
    let clock = ManualClock::new();
    let tier = FakeTier::new(&clock);
    let faults = Arc::new(Faults::default());
    let faulty_tier = FaultyTier(tier.clone(), faults.clone());
    let cache = Cache::builder().tier(faulty_tier).max_value_bytes(100).clock(clock.clock()).build().unwrap();
    faults.untracked.store(true, SeqCst);
    let source = Source::open();
    for _ in 0..20 {
        assert_eq!(version_of(&plain(&cache, &source, 1).await), 1);
        cache.flush().await;
        clock.advance(2 * SECOND);
    }
    assert_eq!(source.runs(), 1);
}

#[cached("film:{n}", ttl = "1h", tags = ["n:{n}"], cache = cache, skip(cache, source))]
async fn film(cache: &Cache, source: &Source, n: usize) -> String {
    let _ = n;
    format!("{} {}", source.load().await, "x".repeat(LARGE_VALUE))
}

#[tokio::test]
async fn value_not_stored_in_time_is_loaded_once_per_process() {
    let clock = ManualClock::new();
    let (tier, faults) = (FakeTier::new(&clock), Arc::new(Faults::default()));
    let on = |tier: FakeTier| {
        let faulty_tier = FaultyTier(tier.same_connection(), faults.clone());
        Cache::builder().namespace("test").tier(faulty_tier).clock(clock.clock()).build().unwrap()
    };
    let (a, b) = (on(tier.clone()), on(tier.clone()));
    let source = Source::open();
    let call = async |cache: &Cache| {
        let value = version_of(&film(cache, &source, 7).await);
        cache.flush().await;
        value
    };
    faults.times_out_large_fills.store(true, SeqCst);
    for _ in 0..3_599 {
        // A value loaded by one process is not served by the other.
        assert_eq!((call(&a).await, call(&b).await, source.runs()), (1, 1, 2));
        clock.advance(SECOND);
    }
    source.write();
    a.invalidate_tag("n:{}", &[&7]).await.unwrap();
    assert_eq!((call(&a).await, call(&b).await, source.runs()), (2, 2, 4));
    assert_eq!((a.stats().kept_unshared, a.stats().shared_fill_errors), (2, 0));
    faults.times_out_large_fills.store(false, SeqCst);
    a.invalidate_tag("n:{}", &[&7]).await.unwrap();
    assert_eq!((call(&a).await, call(&b).await, source.runs()), (2, 2, 5), "one has stored it for both");
}

/// Another process may be able to read a value that this one cannot. An example is a value that did not
/// arrive here in time. So no stub replaces it.
#[tokio::test]
async fn stub_of_a_slow_fill_replaces_no_other_value() {
    let clock = ManualClock::new();
    let (tier, faults) = (FakeTier::new(&clock), Arc::new(Faults::default()));
    let faulty_tier = FaultyTier(tier.same_connection(), faults.clone());
    let cache = Cache::builder().namespace("test").tier(faulty_tier).clock(clock.clock()).build().unwrap();
    let source = Source::open();
    faults.times_out_large_fills.store(true, SeqCst);
    tier.overwrite("test:film:7", b"another's".to_vec());
    assert_eq!(version_of(&film(&cache, &source, 7).await), 1);
    cache.flush().await;
    assert_eq!(tier.bytes("test:film:7"), Some(b"another's".to_vec()));
    tier.remove("test:film:7");
    // An entry that the tier has not confirmed is kept for the bound.
    clock.advance(2 * SECOND);
    assert_eq!(version_of(&film(&cache, &source, 7).await), 1);
    cache.flush().await;
    assert!(tier.bytes("test:film:7").is_some_and(|bytes| bytes.len() < 100), "a stub");
}

#[tokio::test]
async fn large_values_are_stored_under_longer_leases_and_in_small_batches() {
    let clock = ManualClock::new();
    let (tier, faults) = (FakeTier::new(&clock), Arc::new(Faults::default()));
    let cache = Cache::builder().tier(FaultyTier(tier, faults.clone())).lease(Duration::from_millis(500));
    let cache = cache.clock(clock.clock()).build().unwrap();
    let films = cache.keyspace::<usize, String>("film", 100 * SECOND).unwrap();
    films.set(&0, "x".to_owned()).await.unwrap();
    assert_eq!(*faults.leases.lock().unwrap(), [Duration::from_millis(500)]);
    films.set(&0, "x".repeat(LARGE_VALUE + 1)).await.unwrap();
    assert!(faults.leases.lock().unwrap()[1] >= 10 * SECOND);
    faults.fills.lock().unwrap().clear();
    let ten = "x".repeat(10 << 20);
    films.set_many([0, 1, 2, 3, 4, 5, 6].iter().map(|number| (number, ten.clone()))).await.unwrap();
    let together = faults.fills.lock().unwrap().clone();
    assert_eq!(together.len(), 3, "{together:?}");
    assert!(together.iter().all(|bytes| *bytes <= 32 << 20), "{together:?}");
    assert!(films.get_many(&[0, 6]).await.iter().all(Option::is_some));
}

#[tokio::test]
async fn peek_does_not_find_the_unshared_value_of_another_process() {
    let (pair, source) = (pair_with_small_limit(), Source::open());
    plain(&pair.a, &source, 1).await;
    pair.flush().await;
    assert!(
        plain::peek(&pair.a, &source, 1).await.is_some() && plain::peek(&pair.b, &source, 1).await.is_none()
    );
    assert_eq!(source.runs(), 1);
}

#[tokio::test]
async fn unshared_value_is_counted_and_emits_event() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let pair = Pair::with(|builder| {
        let sink = events.clone();
        builder
            .max_value_bytes(100)
            .on_event(move |event| sink.lock().unwrap().push((event.kind, event.function)))
    });
    let source = Source::open();
    for id in 0..3 {
        plain(&pair.a, &source, id).await;
    }
    pair.flush().await;
    let events = events.lock().unwrap();
    let unshared = events.iter().filter(|event| **event == (EventKind::Unshared, "plain:{}")).count();
    assert_eq!((unshared, pair.a.stats().kept_unshared, pair.a.stats().shared_fill_errors), (3, 3, 0));
}

/// Function with as many tags as elements in the value.
#[cached("many:{n}", ttl = "1h", tags_from = |ids| ids.iter().map(|id| tag!("id:{}", id)).collect(), cache = cache,
    skip(cache, source))]
async fn many(cache: &Cache, source: &Source, n: usize) -> Vec<usize> {
    source.load().await;
    (0..n).collect()
}

#[tokio::test]
async fn a_value_may_have_thousands_of_tags() {
    let (pair, source) = (Pair::new(), Source::open());
    for n in [255, 256, 300, 5_000] {
        let before = source.runs();
        for cache in [&pair.a, &pair.b] {
            assert_eq!(many(cache, &source, n).await.len(), n);
            pair.flush().await;
        }
        assert_eq!(source.runs(), before + 1, "{n}");
        pair.b.invalidate_tag("id:{}", &[&(n - 1)]).await.unwrap();
        many(&pair.a, &source, n).await;
        pair.flush().await;
        assert_eq!(source.runs(), before + 2, "{n}");
    }
    assert_eq!(pair.a.stats().kept_unshared, 0);
}

/// Value that can be written, but not read if it is odd: no codec restores it.
#[derive(Clone, Debug, PartialEq)]
struct Even(usize);

impl Serialize for Even {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Even {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = usize::deserialize(deserializer)?;
        if number % 2 == 0 { Ok(Self(number)) } else { Err(serde::de::Error::custom("odd")) }
    }
}

#[cached("even:{n}", ttl = "1h", cache = cache, skip(cache, source))]
async fn even(cache: &Cache, source: &Source, n: usize) -> Even {
    source.load().await;
    Even(n)
}

#[tokio::test]
async fn undecodable_value_does_not_make_processes_reload_in_turns() {
    for first in [0, 1] {
        let (pair, source) = (Pair::new(), Source::open());
        // The first value of a function is checked before it is stored.
        even(&pair.a, &source, first).await;
        pair.flush().await;
        let before = source.runs();
        for _ in 0..50 {
            for cache in [&pair.a, &pair.b] {
                assert_eq!(even(cache, &source, 3).await, Even(3));
                pair.flush().await;
            }
            pair.clock.advance(Duration::from_millis(100));
        }
        // If the first value was even, a process that cannot read the other's value replaces it once.
        let most = if first == 0 { 3 } else { 2 };
        assert!(source.runs() - before <= most, "{}", source.runs() - before);
    }
}
