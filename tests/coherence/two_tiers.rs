//! Both tiers, as two processes with one shared tier see them. Time stands still until a test moves it.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use cached_aside::{
    Cache, CacheBuilder, CacheControl, CacheOutcome, Layer, Mode, Reason, Tag, TierError, cached, tag,
    testing::{CountedLoad, FakeTier, ManualClock},
    tier::{
        Filled, Found, JournalPosition, LeaseRequest, LeaseToken, Leased, Lookup, TagRequest, TagsClaimed,
        Tier, TierFill,
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Two caches that share a tier.
struct Fleet {
    clock: ManualClock,
    tier: FakeTier,
    a: Cache,
    b: Cache,
}

impl Fleet {
    fn new() -> Self {
        let clock = ManualClock::new();
        let tier = FakeTier::new(&clock);
        let build =
            || Cache::builder().namespace("test").tier(tier.clone()).clock(clock.clock()).build().unwrap();
        Self { a: build(), b: build(), clock, tier }
    }

    /// Counts the round trips of one step, including background fills.
    async fn round_trips<T>(&self, step: impl Future<Output = T>) -> (T, usize) {
        let before = self.tier.round_trips();
        let out = step.await;
        self.a.flush().await;
        self.b.flush().await;
        (out, self.tier.round_trips() - before)
    }
}

#[cached("user:{id}", ttl = "1m", cache = cache, skip(cache, load))]
async fn user(cache: &Cache, load: &CountedLoad<String>, id: u32) -> String {
    let Ok(user) = load.run().await;
    user
}

fn ada() -> CountedLoad<String> {
    CountedLoad::new("Ada".to_owned())
}

#[tokio::test]
async fn value_passes_both_tiers_in_the_expected_round_trips() {
    let (fleet, load) = (Fleet::new(), ada());
    let ask = |cache| user::with(CacheControl::new(), cache, &load, 7);

    let (reply, trips) = fleet.round_trips(ask(&fleet.a)).await;
    // One look, one lease, and one fill after the caller was answered.
    assert_eq!((reply.outcome, trips), (CacheOutcome::Miss, 3));
    let (reply, trips) = fleet.round_trips(ask(&fleet.a)).await;
    assert_eq!((reply.outcome, trips), (CacheOutcome::Hit { tier: Layer::L1, age: Duration::ZERO }, 0));

    fleet.clock.advance(20 * SECOND);
    let (reply, trips) = fleet.round_trips(ask(&fleet.b)).await;
    assert_eq!((reply.outcome, trips), (CacheOutcome::Hit { tier: Layer::L2, age: 20 * SECOND }, 1));
    let (reply, trips) = fleet.round_trips(ask(&fleet.b)).await;
    assert_eq!((reply.outcome, trips), (CacheOutcome::Hit { tier: Layer::L1, age: 20 * SECOND }, 0));
    assert_eq!((reply.value.as_str(), load.runs()), ("Ada", 1));

    let (done, trips) = fleet.round_trips(user::invalidate(&fleet.a, &load, 7)).await;
    assert_eq!((done.is_ok(), trips), (true, 1));
}

#[tokio::test]
async fn shared_value_keeps_its_remaining_ttl() {
    let (fleet, load) = (Fleet::new(), ada());
    user(&fleet.a, &load, 7).await;
    fleet.a.flush().await;
    fleet.clock.advance(50 * SECOND);
    user(&fleet.b, &load, 7).await;
    assert_eq!(load.runs(), 1);
    // A hit does not prolong the life of the value in either process.
    fleet.clock.advance(10 * SECOND);
    user(&fleet.b, &load, 7).await;
    assert_eq!(load.runs(), 2);
    fleet.b.flush().await;
    user(&fleet.a, &load, 7).await;
    assert_eq!(load.runs(), 2);
}

#[tokio::test]
async fn invalidation_waits_for_the_fill_before_it() {
    let (fleet, load) = (Fleet::new(), ada());
    for _ in 0..100 {
        user(&fleet.a, &load, 7).await;
        // The fill is still under way.
        user::invalidate(&fleet.a, &load, 7).await.unwrap();
        fleet.a.flush().await;
        assert_eq!(fleet.tier.keys(), [""; 0]);
    }
    assert_eq!(load.runs(), 100);
}

#[tokio::test]
async fn keys_in_the_tier_follow_the_template() {
    #[cached("exam", ttl = "1m", cache = cache, skip(cache))]
    async fn bare(cache: &Cache, exam: &str, year: u32) -> String {
        format!("{exam} {year}")
    }
    #[cached("rag:{user}:{note}:{hash(question)}", ttl = "1m", cache = cache, skip(cache))]
    async fn rag(cache: &Cache, user: &str, note: u64, question: &str) -> String {
        format!("{user}{note}{question}")
    }
    let fleet = Fleet::new();
    bare(&fleet.a, "upsc", 2026).await;
    rag(&fleet.a, "a:b*", 7, "why?").await;
    fleet.a.flush().await;
    let names = fleet.tier.keys();
    assert_eq!(
        names,
        [bare::key(&fleet.a, "upsc", 2026).unwrap(), rag::key(&fleet.a, "a:b*", 7, "why?").unwrap()]
    );
    let (prefix, digest) = names[0].rsplit_once(':').unwrap();
    assert_eq!((prefix, digest.len()), ("test:exam", 32));
    let (prefix, digest) = names[1].rsplit_once(':').unwrap();
    assert_eq!((prefix, digest.len()), ("test:rag:a%3Ab%2A:7", 32));
}

#[tokio::test]
async fn falsy_values_are_values() {
    async fn check<V>(value: V)
    where
        V: Serialize + DeserializeOwned + Clone + Send + Sync + PartialEq + std::fmt::Debug + 'static,
    {
        #[cached("falsy", ttl = "1m", cache = cache, skip(cache, load))]
        async fn falsy<V>(cache: &Cache, load: &CountedLoad<V>) -> V
        where
            V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
        {
            let Ok(value) = load.run().await;
            value
        }
        let (fleet, load) = (Fleet::new(), CountedLoad::new(value.clone()));
        for cache in [&fleet.a, &fleet.a, &fleet.b, &fleet.b] {
            assert_eq!(falsy(cache, &load).await, value);
            cache.flush().await;
        }
        assert_eq!(load.runs(), 1, "{value:?}");
    }
    check(0_u32).await;
    check(0.0_f64).await;
    check(String::new()).await;
    check(false).await;
    check(Vec::<u8>::new()).await;
    check(()).await;
}

#[tokio::test]
async fn none_is_cached_with_cache_none_only() {
    #[cached("maybe", ttl = "1m", cache = cache, skip(cache, load))]
    async fn dropped(cache: &Cache, load: &CountedLoad<Option<u32>>) -> Option<u32> {
        let Ok(value) = load.run().await;
        value
    }
    #[cached("kept", ttl = "1m", cache_none, cache = cache, skip(cache, load))]
    async fn kept(cache: &Cache, load: &CountedLoad<Option<u32>>) -> Result<Option<u32>, String> {
        let Ok(value) = load.run().await;
        Ok(value)
    }
    let (fleet, load) = (Fleet::new(), CountedLoad::new(None));
    for cache in [&fleet.a, &fleet.a, &fleet.b] {
        assert_eq!(dropped(cache, &load).await, None);
        cache.flush().await;
    }
    assert_eq!((load.runs(), fleet.tier.keys().len()), (3, 0));
    let load = CountedLoad::new(None);
    for cache in [&fleet.a, &fleet.a, &fleet.b] {
        assert_eq!(kept(cache, &load).await, Ok(None));
        cache.flush().await;
    }
    assert_eq!(load.runs(), 1);
}

#[tokio::test]
async fn some_unit_is_shared_although_json_writes_null() {
    #[cached("unit", ttl = "1m", cache = cache, skip(cache, load))]
    async fn unit(cache: &Cache, load: &CountedLoad<Option<()>>) -> Option<()> {
        let Ok(value) = load.run().await;
        value
    }
    let (fleet, load) = (Fleet::new(), CountedLoad::new(Some(())));
    for cache in [&fleet.a, &fleet.a, &fleet.b, &fleet.b] {
        assert_eq!(unit(cache, &load).await, Some(()));
        cache.flush().await;
    }
    assert_eq!((load.runs(), fleet.b.stats().unreadable), (1, 0));
}

#[tokio::test]
async fn unreadable_value_is_counted_reloaded_and_replaced() {
    let (fleet, load) = (Fleet::new(), ada());
    user(&fleet.a, &load, 7).await;
    user(&fleet.a, &load, 8).await;
    fleet.a.flush().await;
    let name = "test:user:7";
    let good = fleet.tier.bytes(name).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let others = fleet.tier.bytes("test:user:8").unwrap();
    let bad = [
        Vec::new(),
        b"foreign".to_vec(),
        good[..good.len() - 1].to_vec(),
        flipped,
        others,
        vec![7; 20 << 20],
    ];
    for (number, bad) in bad.into_iter().enumerate() {
        fleet.tier.overwrite(name, bad);
        fleet.b.clear_local();
        let runs = load.runs();
        assert_eq!(user(&fleet.b, &load, 7).await, "Ada");
        fleet.b.flush().await;
        assert_eq!((load.runs(), fleet.b.stats().unreadable), (runs + 1, number as u64 + 1));
        let healed = fleet.tier.bytes(name).unwrap();
        assert!(healed.ends_with(b"\"Ada\""), "{number}");
    }
}

#[tokio::test]
async fn another_type_or_version_under_the_same_name_is_a_miss() {
    #[derive(Clone, Serialize, Deserialize)]
    struct Old {
        a: u32,
    }
    #[derive(Clone, Serialize, Deserialize)]
    struct New {
        a: u32,
    }
    #[cached("item:{id}", ttl = "1h", cache = cache, skip(cache))]
    async fn old(cache: &Cache, id: u32) -> Old {
        Old { a: id }
    }
    #[cached("item:{id}", ttl = "1h", cache = cache, skip(cache))]
    async fn new(cache: &Cache, id: u32) -> New {
        New { a: id + 1 }
    }
    #[cached("item:{id}", ttl = "1h", version = 2, cache = cache, skip(cache))]
    async fn newer(cache: &Cache, id: u32) -> New {
        New { a: id + 2 }
    }
    let fleet = Fleet::new();
    assert_eq!(old(&fleet.a, 1).await.a, 1);
    fleet.a.flush().await;
    let written = fleet.tier.bytes("test:item:1");
    assert_eq!(new(&fleet.b, 1).await.a, 2);
    fleet.b.flush().await;
    assert_eq!(newer(&fleet.b, 1).await.a, 3);
    // Within one process, too, neither function gets the other's value.
    assert_eq!(new(&fleet.b, 1).await.a, 2);
    assert_eq!(old(&fleet.b, 1).await.a, 1);
    assert_eq!(fleet.b.stats().unreadable, 2);
    fleet.b.flush().await;
    // While two versions run, they do not overwrite each other's values in turns.
    assert_eq!(fleet.tier.bytes("test:item:1"), written);
    fleet.clock.advance(61 * SECOND);
    // Each function has an entry of its own in L1.
    assert_eq!(newer(&fleet.b, 1).await.a, 3);
    assert_eq!(fleet.tier.bytes("test:item:1"), written);
    fleet.b.clear_local();
    assert_eq!(newer(&fleet.b, 1).await.a, 3);
    fleet.b.flush().await;
    assert_ne!(fleet.tier.bytes("test:item:1"), written);
}

#[tokio::test]
async fn tier_that_is_down_is_skipped_and_invalidation_is_not_propagated() {
    let (fleet, load) = (Fleet::new(), ada());
    fleet.tier.set_down(true);
    let (_, trips) = fleet.round_trips(user(&fleet.a, &load, 7)).await;
    assert_eq!(trips, 0);
    assert!(user::with(CacheControl::new(), &fleet.a, &load, 7).await.outcome.is_hit());
    let error = user::invalidate(&fleet.a, &load, 7).await.unwrap_err();
    assert!(error.is_not_propagated(), "{error}");
    // In this process the value is gone all the same.
    user(&fleet.a, &load, 7).await;
    assert_eq!(load.runs(), 2);
    assert_eq!(fleet.a.stats().pending_invalidations, 1);
    fleet.tier.set_down(false);
    fleet.a.flush().await;
    assert_eq!(fleet.a.stats().pending_invalidations, 0);
    user(&fleet.b, &load, 7).await;
    fleet.b.flush().await;
    assert_eq!(fleet.tier.keys(), ["test:user:7"]);
}

#[tokio::test]
async fn cache_control_applies_to_one_call() {
    let (fleet, load) = (Fleet::new(), ada());
    let a = &fleet.a;
    let ask = |control| user::with(control, a, &load, 7);

    assert_eq!(user::with(CacheControl::only_if_cached(), a, &load, 7).await, None);
    assert_eq!(user::peek(a, &load, 7).await, None);
    assert_eq!(load.runs(), 0);

    assert_eq!(ask(CacheControl::no_store()).await.outcome, CacheOutcome::Miss);
    assert_eq!(ask(CacheControl::no_store()).await.outcome, CacheOutcome::Miss);
    a.flush().await;
    assert_eq!((load.runs(), fleet.tier.keys().len(), a.stats().l1_entries), (2, 0, 0));

    assert_eq!(ask(CacheControl::ttl(10 * SECOND)).await.outcome, CacheOutcome::Miss);
    assert!(ask(CacheControl::no_store()).await.outcome.is_hit());
    let found = user::with(CacheControl::only_if_cached(), a, &load, 7).await.unwrap();
    assert!(found.outcome.is_hit());
    fleet.clock.advance(5 * SECOND);
    assert!(ask(CacheControl::max_age(5 * SECOND)).await.outcome.is_hit());
    assert_eq!(
        ask(CacheControl::max_age(4 * SECOND).and(CacheControl::ttl(10 * SECOND))).await.outcome,
        CacheOutcome::Miss
    );
    a.flush().await;
    fleet.clock.advance(10 * SECOND);
    assert_eq!(ask(CacheControl::new()).await.outcome, CacheOutcome::Miss);

    assert_eq!(ask(CacheControl::no_cache()).await.outcome, CacheOutcome::Miss);
    assert!(ask(CacheControl::new()).await.outcome.is_hit());
    assert_eq!(ask(CacheControl::off()).await.outcome, CacheOutcome::Bypass(Reason::Off));
    a.flush().await;

    let (reply, trips) = fleet.round_trips(user::with(CacheControl::local_only(), &fleet.b, &load, 7)).await;
    assert_eq!((reply.outcome, trips), (CacheOutcome::Miss, 0));
}

#[tokio::test]
async fn mode_can_be_changed_at_run_time() {
    let (fleet, load) = (Fleet::new(), ada());
    user(&fleet.a, &load, 7).await;
    fleet.a.flush().await;
    let ask = |cache| user::with(CacheControl::new(), cache, &load, 7);

    fleet.a.set_mode(Mode::Off);
    let (reply, trips) = fleet.round_trips(ask(&fleet.a)).await;
    assert_eq!((reply.outcome, trips, load.runs()), (CacheOutcome::Bypass(Reason::Off), 0, 2));
    // An entry that is invalidated while the cache is off is not served when it is on again.
    user::invalidate(&fleet.a, &load, 7).await.unwrap();
    fleet.a.set_mode(Mode::LocalOnly);
    let (reply, trips) = fleet.round_trips(ask(&fleet.a)).await;
    assert_eq!((reply.outcome, trips, load.runs()), (CacheOutcome::Miss, 0, 3));
    assert!(ask(&fleet.a).await.outcome.is_hit());
    // The change feed does not cover an entry that was stored meanwhile, so the value is requested again.
    fleet.a.set_mode(Mode::On);
    assert_eq!(ask(&fleet.a).await.outcome, CacheOutcome::Miss);
    fleet.a.set_mode(Mode::LocalOnly);
    assert!(ask(&fleet.a).await.outcome.is_hit());
}

#[tokio::test]
async fn cache_if_and_ttl_from_use_the_value() {
    #[cached("even:{n}", cache_if = |n: &u32| n % 2 == 0, ttl_from = |n| SECOND * *n, cache = cache, skip(cache, runs))]
    async fn number(cache: &Cache, runs: &AtomicUsize, n: u32) -> u32 {
        runs.fetch_add(1, SeqCst);
        n
    }
    let (fleet, runs) = (Fleet::new(), AtomicUsize::new(0));
    let calls = async |n| {
        runs.store(0, SeqCst);
        number(&fleet.a, &runs, n).await;
        number(&fleet.a, &runs, n).await;
        runs.load(SeqCst)
    };
    assert_eq!(calls(3).await, 2);
    assert_eq!(calls(4).await, 1);
    fleet.clock.advance(3 * SECOND);
    assert_eq!(calls(4).await, 0);
    fleet.clock.advance(SECOND);
    assert_eq!(calls(4).await, 1);
    // A ttl of zero stores nothing.
    assert_eq!(calls(0).await, 2);
}

#[tokio::test]
async fn chosen_errors_are_cached_for_their_own_ttl_in_this_process() {
    #[cached("err:{n}", ttl = "1h", cache_err = "5s" if |e: &String| e == "gone", cache = cache, skip(cache, runs))]
    async fn fails(cache: &Cache, runs: &AtomicUsize, n: u32) -> Result<u32, String> {
        runs.fetch_add(1, SeqCst);
        if n == 0 { Err("gone".to_owned()) } else { Err("busy".to_owned()) }
    }
    let (fleet, runs) = (Fleet::new(), AtomicUsize::new(0));
    for n in [0, 0, 1, 1] {
        assert!(fails(&fleet.a, &runs, n).await.is_err());
    }
    assert_eq!(runs.load(SeqCst), 3);
    assert!(fails::with(CacheControl::new(), &fleet.a, &runs, 0).await.outcome.is_hit());
    assert_eq!(fails::peek(&fleet.a, &runs, 0).await, Some(Err("gone".to_owned())));
    fleet.clock.advance(5 * SECOND);
    fails(&fleet.a, &runs, 0).await.unwrap_err();
    fleet.a.flush().await;
    fails(&fleet.b, &runs, 0).await.unwrap_err();
    fleet.a.flush().await;
    assert_eq!((runs.load(SeqCst), fleet.tier.keys().len()), (5, 0));
}

#[tokio::test]
async fn jitter_shortens_by_no_more_than_its_share() {
    #[cached("jitter:{n}", ttl = "100s", jitter = 0.5, cache = cache, skip(cache))]
    async fn number(cache: &Cache, n: u32) -> u32 {
        n
    }
    const ENTRIES: u32 = 400;
    let fleet = Fleet::new();
    let left = async || {
        let mut left = 0;
        for n in 0..ENTRIES {
            let control = CacheControl::only_if_cached().and(CacheControl::local_only());
            left += u32::from(number::with(control, &fleet.a, n).await.is_some());
        }
        left
    };
    for n in 0..ENTRIES {
        number(&fleet.a, n).await;
    }
    fleet.clock.advance(50 * SECOND);
    assert_eq!(left().await, ENTRIES);
    fleet.clock.advance(25 * SECOND);
    let half = left().await;
    assert!((ENTRIES / 4..ENTRIES * 3 / 4).contains(&half), "{half}");
    fleet.clock.advance(25 * SECOND);
    assert_eq!(left().await, 0);
}

#[tokio::test]
async fn l1_is_bounded_by_bytes_for_all_and_by_entries_for_one() {
    #[cached("big:{n}", ttl = "1h", cache = cache, skip(cache))]
    async fn big(cache: &Cache, n: u32) -> String {
        "x".repeat(10_000)
    }
    #[cached("few:{n}", ttl = "1h", max_entries = 10, cache = cache, skip(cache))]
    async fn few(cache: &Cache, n: u32) -> u32 {
        n
    }
    let cache = Cache::builder().l1_max_bytes(1 << 20).build().unwrap();
    for n in 0..100 {
        few(&cache, n).await;
    }
    assert_eq!(cache.stats().l1_entries, 10);
    for n in 0..1_000 {
        big(&cache, n).await;
    }
    let stats = cache.stats();
    assert!(stats.l1_bytes <= 1 << 20 && stats.l1_entries > 90, "{stats:?}");
}

#[tokio::test]
async fn clear_local_empties_l1_only() {
    let (fleet, load) = (Fleet::new(), ada());
    user(&fleet.a, &load, 7).await;
    fleet.a.flush().await;
    fleet.a.clear_local();
    let reply = user::with(CacheControl::new(), &fleet.a, &load, 7).await;
    assert!(matches!(reply.outcome, CacheOutcome::Hit { tier: Layer::L2, .. }));
}

#[tokio::test]
async fn keyspace_reads_and_writes_both_tiers() {
    let fleet = Fleet::new();
    let (a, b) = (
        fleet.a.keyspace::<str, u32>("price", MINUTE).unwrap(),
        fleet.b.keyspace::<str, u32>("price", MINUTE).unwrap(),
    );
    // One round trip acquires the lease, and one stores the value.
    let (done, trips) = fleet.round_trips(a.set("tea", 3)).await;
    assert_eq!((done.is_ok(), trips), (true, 2));
    assert_eq!(fleet.round_trips(a.get("tea")).await, (Some(3), 0));
    assert_eq!(fleet.round_trips(b.get("tea")).await, (Some(3), 1));
    assert_eq!(fleet.round_trips(b.exists("tea")).await, (true, 1));
    assert_eq!(b.get("mate").await, None);

    let pairs = [("tea", 4), ("mate", 5), ("milk", 6), ("tea", 7)];
    let (done, trips) = fleet.round_trips(a.set_many(pairs)).await;
    assert_eq!((done.is_ok(), trips), (true, 2));
    let (values, trips) = fleet.round_trips(b.get_many(["milk", "beer", "tea", "mate"])).await;
    assert_eq!((values, trips), (vec![Some(6), None, Some(7), Some(5)], 1));
    // Values that were found are in L1. Missing ones would be requested again.
    let (values, trips) = fleet.round_trips(b.get_many(["milk", "tea", "mate"])).await;
    assert_eq!((values, trips), (vec![Some(6), Some(7), Some(5)], 0));

    let load = CountedLoad::new(9);
    for keyspace in [&a, &a, &b] {
        assert_eq!(keyspace.get_or_load("beer", || load.run()).await.unwrap(), 9);
        fleet.a.flush().await;
    }
    assert_eq!(load.runs(), 1);
    a.delete("beer").await.unwrap();
    assert!(!a.exists("beer").await);
    fleet.clock.advance(MINUTE);
    assert_eq!(a.get_many(["milk", "tea", "mate"]).await, [None, None, None]);
    assert!(fleet.a.keyspace::<str, u32>("", MINUTE).unwrap_err().is_config());
    assert!(fleet.a.keyspace::<str, u32>("x", Duration::ZERO).unwrap_err().is_config());
}

#[tokio::test]
async fn a_keyspace_and_a_function_of_one_argument_share_entries() {
    #[cached("square", ttl = "1m", schema = "square", cache = cache, skip(cache))]
    async fn square(cache: &Cache, n: u32) -> u32 {
        n * n
    }
    let fleet = Fleet::new();
    square(&fleet.a, 3).await;
    let keyspace = fleet.a.keyspace::<u32, u32>("square", MINUTE).unwrap().schema("square");
    assert_eq!(keyspace.get(&3).await, Some(9));
}

#[tokio::test]
async fn set_supersedes_a_running_load() {
    let fleet = Fleet::new();
    let keyspace = fleet.a.keyspace::<u32, u32>("n", MINUTE).unwrap();
    let loaded = keyspace.get_or_load(&1, || async {
        keyspace.set(&1, 2).await.unwrap();
        Ok::<_, String>(1)
    });
    assert_eq!(loaded.await.unwrap(), 1);
    fleet.a.flush().await;
    assert_eq!(keyspace.get(&1).await, Some(2));
    fleet.a.clear_local();
    assert_eq!(keyspace.get(&1).await, Some(2));
}

#[tokio::test]
async fn counters_are_shared_or_local() {
    let fleet = Fleet::new();
    let alone = Cache::builder().clock(fleet.clock.clock()).build().unwrap();
    for (one, other) in [(&fleet.a, &fleet.b), (&alone, &alone)] {
        assert_eq!(one.incr("logins", "ada", 1, Some(MINUTE)).await.unwrap(), 1);
        fleet.clock.advance(MINUTE / 2);
        assert_eq!(other.incr("logins", "ada", 2, Some(MINUTE)).await.unwrap(), 3);
        assert_eq!(other.incr("logins", "bob", -5, None).await.unwrap(), -5);
        fleet.clock.advance(MINUTE / 2);
        assert_eq!(one.incr("logins", "ada", 1, Some(MINUTE)).await.unwrap(), 1);
        one.incr("logins", "max", i64::MAX, None).await.unwrap();
        assert!(one.incr("logins", "max", 1, None).await.unwrap_err().is_tier());
        assert!(one.incr("logins", "ada", 1, Some(Duration::ZERO)).await.unwrap_err().is_config());
        assert!(one.incr("logins", &f64::NAN, 1, None).await.unwrap_err().is_key());
    }
    fleet.tier.set_down(true);
    assert!(fleet.a.incr("logins", "ada", 1, None).await.unwrap_err().is_tier());
}

#[test]
fn settings_that_cannot_work_are_refused_when_the_cache_is_built() {
    let refused = |builder: CacheBuilder| builder.build().unwrap_err().is_config();
    assert!(refused(Cache::builder().namespace("")));
    assert!(refused(Cache::builder().namespace("a b")));
    assert!(refused(Cache::builder().namespace("a*")));
    assert!(refused(Cache::builder().namespace("a:b")));
    assert!(refused(Cache::builder().l1_max_bytes(0)));
    assert!(refused(Cache::builder().max_value_bytes(0)));
}

#[tokio::test]
async fn every_codec_carries_values_to_the_other_process() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Answer {
        text: String,
        tokens: Option<u32>,
    }
    #[cached("answer", ttl = "1m", cache = cache, skip(cache, runs))]
    async fn answer(cache: &Cache, runs: &AtomicUsize) -> Answer {
        runs.fetch_add(1, SeqCst);
        Answer { text: "because ".repeat(1_000), tokens: Some(7) }
    }
    use cached_aside::Format;
    for codec in [Format::Json, Format::MessagePack, Format::Postcard] {
        for compress_above in [None, Some(100)] {
            let clock = ManualClock::new();
            let tier = FakeTier::new(&clock);
            let build = || {
                let builder = Cache::builder().tier(tier.clone()).codec(codec.clone()).clock(clock.clock());
                compress_above.into_iter().fold(builder, CacheBuilder::compress_above).build().unwrap()
            };
            let (a, b, runs) = (build(), build(), AtomicUsize::new(0));
            let first = answer(&a, &runs).await;
            a.flush().await;
            assert_eq!(answer(&b, &runs).await, first);
            assert_eq!(runs.load(SeqCst), 1);
            let stored = tier.bytes(&tier.keys()[0]).unwrap().len();
            assert_eq!(stored < 1_000, compress_above.is_some(), "{stored}");
        }
    }
}

#[tokio::test]
async fn oversized_value_is_cached_in_this_process_only() {
    let clock = ManualClock::new();
    let tier = FakeTier::new(&clock);
    let cache = Cache::builder().tier(tier.clone()).max_value_bytes(100).build().unwrap();
    let load = CountedLoad::new("x".repeat(1_000));
    user(&cache, &load, 1).await;
    cache.flush().await;
    user(&cache, &load, 1).await;
    let stats = cache.stats();
    assert_eq!((load.runs(), stats.kept_unshared, stats.shared_fill_errors), (1, 1, 0));
    assert!(tier.bytes(&tier.keys()[0]).unwrap().len() < 200, "a stub");
}

#[tokio::test]
async fn writes_keep_their_order_when_one_is_cancelled_or_refused() {
    let fleet = Fleet::new();
    let keyspace = fleet.a.keyspace::<u32, String>("n", MINUTE).unwrap();
    let load = CountedLoad::new("old".to_owned());
    fleet.tier.hold_writes(true);
    // The fill of this load is under way.
    keyspace.get_or_load(&1, || load.run()).await.unwrap();
    let cancelled = tokio::time::timeout(Duration::from_millis(1), keyspace.delete(&1)).await;
    assert!(cancelled.is_err());
    let too_large = keyspace.set(&1, "x".repeat(20 << 20)).await;
    assert!(too_large.unwrap_err().is_codec());
    let delete = tokio::spawn({
        let keyspace = keyspace.clone();
        async move { keyspace.delete(&1).await }
    });
    tokio::task::yield_now().await;
    fleet.tier.hold_writes(false);
    delete.await.unwrap().unwrap();
    fleet.a.flush().await;
    assert_eq!(fleet.tier.keys(), [""; 0]);
}

#[tokio::test]
async fn last_of_two_values_for_one_key_is_stored_after_a_fill() {
    let fleet = Fleet::new();
    let keyspace = fleet.a.keyspace::<u32, u32>("n", MINUTE).unwrap();
    let load = CountedLoad::new(1);
    fleet.tier.hold_writes(true);
    keyspace.get_or_load(&1, || load.run()).await.unwrap();
    let set = tokio::spawn({
        let keyspace = keyspace.clone();
        async move { keyspace.set_many([(&1, 2), (&1, 3)]).await }
    });
    tokio::task::yield_now().await;
    fleet.tier.hold_writes(false);
    set.await.unwrap().unwrap();
    fleet.a.flush().await;
    let other = fleet.b.keyspace::<u32, u32>("n", MINUTE).unwrap();
    assert_eq!((keyspace.get(&1).await, other.get(&1).await), (Some(3), Some(3)));
}

#[tokio::test]
async fn value_read_before_the_delete_is_dropped_after_it() {
    let (fleet, load) = (Fleet::new(), ada());
    user(&fleet.a, &load, 7).await;
    fleet.a.flush().await;
    fleet.tier.hold_deletes(true);
    let invalidation = tokio::spawn({
        let cache = fleet.b.clone();
        async move { user::invalidate(&cache, &ada(), 7).await }
    });
    tokio::task::yield_now().await;
    // The tier still has the value, and the invalidation has not returned yet.
    let reply = user::with(CacheControl::new(), &fleet.b, &load, 7).await;
    assert!(matches!(reply.outcome, CacheOutcome::Hit { tier: Layer::L2, .. }));
    fleet.tier.hold_deletes(false);
    invalidation.await.unwrap().unwrap();
    for cache in [&fleet.b, &fleet.a] {
        assert!(user::with(CacheControl::only_if_cached(), cache, &load, 7).await.is_none());
    }
}

#[tokio::test]
async fn set_replaces_a_value_read_while_it_runs() {
    let fleet = Fleet::new();
    let keyspace = fleet.a.keyspace::<u32, u32>("n", MINUTE).unwrap();
    keyspace.set(&1, 1).await.unwrap();
    fleet.tier.hold_writes(true);
    let set = tokio::spawn({
        let keyspace = keyspace.clone();
        async move { keyspace.set(&1, 2).await }
    });
    tokio::task::yield_now().await;
    assert_eq!(keyspace.get_many(&[1]).await, [Some(1)]);
    fleet.tier.hold_writes(false);
    set.await.unwrap().unwrap();
    assert_eq!(keyspace.get(&1).await, Some(2));
    let other = fleet.b.keyspace::<u32, u32>("n", MINUTE).unwrap();
    assert_eq!(other.get(&1).await, Some(2));
}

#[tokio::test]
async fn undelivered_invalidation_hides_old_value_when_tier_is_back() {
    let (fleet, load) = (Fleet::new(), ada());
    user(&fleet.a, &load, 7).await;
    fleet.a.flush().await;
    fleet.tier.set_down(true);
    user::invalidate(&fleet.a, &load, 7).await.unwrap_err();
    fleet.tier.set_down(false);
    // The invalidation is being resent.
    user(&fleet.a, &load, 7).await;
    assert_eq!(load.runs(), 2);
    fleet.a.flush().await;
    assert_eq!(fleet.tier.keys(), [""; 0]);
}

#[tokio::test]
async fn refresh_with_an_unstored_value_removes_the_old_one() {
    #[cached("row:{id}", ttl = "1m", cache = cache, skip(cache, rows))]
    async fn row(cache: &Cache, rows: &AtomicUsize, id: u32) -> Option<u32> {
        (rows.load(SeqCst) > 0).then_some(id)
    }
    let (fleet, rows) = (Fleet::new(), AtomicUsize::new(1));
    assert_eq!(row(&fleet.a, &rows, 7).await, Some(7));
    fleet.a.flush().await;
    rows.store(0, SeqCst);
    assert_eq!(row::refresh(&fleet.a, &rows, 7).await, None);
    assert_eq!(row(&fleet.a, &rows, 7).await, None);
    tokio::task::yield_now().await;
    assert_eq!(row(&fleet.b, &rows, 7).await, None);
}

#[tokio::test]
async fn a_joined_value_is_not_older_than_asked_for() {
    let (fleet, load) = (Fleet::new(), ada());
    user(&fleet.a, &load, 7).await;
    fleet.a.flush().await;
    fleet.clock.advance(50 * SECOND);
    fleet.tier.hold_reads(true);
    let plain = user(&fleet.b, &load, 7);
    let strict = user::with(CacheControl::max_age(SECOND), &fleet.b, &load, 7);
    let release = async { fleet.tier.hold_reads(false) };
    let (_, strict, ()) = tokio::join!(plain, strict, release);
    assert_eq!((strict.outcome, load.runs()), (CacheOutcome::Miss, 2));
}

#[tokio::test]
async fn jitter_holds_in_the_shared_tier_as_well() {
    let fleet = Fleet::new();
    let (a, b) = (
        fleet.a.keyspace::<u32, u32>("n", 100 * SECOND).unwrap().jitter(0.9),
        fleet.b.keyspace::<u32, u32>("n", 100 * SECOND).unwrap(),
    );
    let keys: Vec<u32> = (0..400).collect();
    a.set_many(keys.iter().map(|key| (key, *key))).await.unwrap();
    fleet.clock.advance(50 * SECOND);
    let alive = b.get_many(&keys).await.into_iter().flatten().count();
    assert!((100..300).contains(&alive), "{alive}");
    fleet.clock.advance(50 * SECOND);
    assert_eq!(b.get_many(&keys).await.into_iter().flatten().count(), 0);
}

#[tokio::test]
async fn a_tier_that_panics_is_a_miss() {
    #[derive(Debug)]
    struct PanickingTier;
    #[async_trait::async_trait]
    impl Tier for PanickingTier {
        async fn lookup(&self, _: &[Lookup<'_>], _: &[String]) -> Result<Found, TierError> {
            panic!("lookup")
        }
        async fn lease(&self, _: &[LeaseRequest<'_>], _: TagRequest<'_>) -> Result<Leased, TierError> {
            panic!("lease")
        }
        async fn claim_tags(
            &self,
            _: &[String],
            _: Duration,
            _: JournalPosition,
        ) -> Result<TagsClaimed, TierError> {
            panic!("claim_tags")
        }
        async fn fill(&self, _: Vec<TierFill>) -> Result<Filled, TierError> {
            panic!("fill")
        }
        async fn renew(&self, _: &str, _: LeaseToken, _: Duration) -> Result<bool, TierError> {
            panic!("renew")
        }
        async fn release(&self, _: &str, _: LeaseToken, _: bool) -> Result<bool, TierError> {
            panic!("release")
        }
        async fn delete(&self, _: &[String], _: &[String]) -> Result<(), TierError> {
            panic!("delete")
        }
        async fn delete_matching(&self, _: &str) -> Result<u64, TierError> {
            panic!("delete_matching")
        }
        async fn exists(&self, _: &str) -> Result<bool, TierError> {
            panic!("exists")
        }
        async fn incr(&self, _: &str, _: i64, _: Option<Duration>) -> Result<i64, TierError> {
            panic!("incr")
        }
    }
    let cache = Cache::builder().tier(PanickingTier).build().unwrap();
    let load = ada();
    assert_eq!(user(&cache, &load, 7).await, "Ada");
    assert!(user::with(CacheControl::new(), &cache, &load, 7).await.outcome.is_hit());
    assert!(user::invalidate(&cache, &load, 7).await.unwrap_err().is_not_propagated());
    let keyspace = cache.keyspace::<u32, u32>("n", MINUTE).unwrap();
    assert!(keyspace.set(&1, 1).await.unwrap_err().is_not_propagated());
    assert_eq!(keyspace.get_many(&[1, 2]).await, [Some(1), None]);
    assert!(!keyspace.exists(&2).await);
    assert!(cache.incr("n", &1, 1, None).await.is_err());
}

#[tokio::test]
async fn a_fill_that_arrives_after_the_invalidation_is_refused() {
    let (fleet, load) = (Fleet::new(), ada());
    fleet.tier.hold_writes(true);
    user(&fleet.a, &load, 7).await;
    fleet.tier.hold_deletes(false);
    user::invalidate(&fleet.b, &load, 7).await.unwrap();
    fleet.tier.hold_writes(false);
    fleet.a.flush().await;
    assert_eq!((fleet.tier.keys(), fleet.a.stats().shared_rejected), (Vec::new(), 1));
    assert_eq!(user::with(CacheControl::new(), &fleet.a, &load, 7).await.outcome, CacheOutcome::Miss);
}

#[tokio::test]
async fn value_that_expires_while_tags_are_computed_is_not_served() {
    /// Clock that moves on while the tags are computed.
    static ADVANCED_CLOCK: Mutex<Option<ManualClock>> = Mutex::new(None);

    fn tags(n: u32) -> Vec<Tag> {
        if let Some(clock) = ADVANCED_CLOCK.lock().unwrap().take() {
            clock.advance(MINUTE);
        }
        vec![tag!("number:{}", n)]
    }

    #[cached("ends:{n}", ttl = "1m", tags_from = |n| tags(*n), cache = cache, skip(cache, runs))]
    async fn number(cache: &Cache, runs: &AtomicUsize, n: u32) -> u32 {
        runs.fetch_add(1, SeqCst);
        n
    }

    let (fleet, runs) = (Fleet::new(), AtomicUsize::new(0));
    number(&fleet.a, &runs, 1).await;
    fleet.a.flush().await;
    *ADVANCED_CLOCK.lock().unwrap() = Some(fleet.clock.clone());
    assert_eq!(number(&fleet.b, &runs, 1).await, 1);
    assert_eq!(runs.into_inner(), 2);
}
