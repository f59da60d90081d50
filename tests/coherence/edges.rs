//! Orders of steps in which a promise is easily broken.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use cached_aside::{
    Cache, CacheControl, Mode, cached, tag,
    testing::{FakeTier, ManualClock},
};
use redis_harness::PATIENCE;
use tokio::{runtime, spawn, task::yield_now, time::timeout};

use crate::{
    faulty_tier::{Faults, FaultyTier},
    support::{Pair, SECOND, Source, wait_until},
};

#[cached("row:{id}", ttl = "1h", cache = cache, skip(cache, source))]
async fn row(cache: &Cache, source: &Source, id: u32) -> usize {
    let _ = id;
    source.load().await
}

#[cached("lax:{id}", ttl = "1h", bound = "1h", cache = cache, skip(cache, source))]
async fn lax(cache: &Cache, source: &Source, id: u32) -> usize {
    let _ = id;
    source.load().await
}

/// Value that no codec can encode.
#[derive(Clone, serde::Deserialize)]
struct Unwritable(usize);

impl serde::Serialize for Unwritable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("as planned"))
    }
}

#[cached("odd:{id}", ttl = "1h", cache = cache, skip(cache, source))]
async fn unencodable(cache: &Cache, source: &Source, id: u32) -> Unwritable {
    let _ = id;
    Unwritable(source.load().await)
}

#[cached("note:{id}", ttl = "1h", tags = ["n:{id}"], cache = cache, skip(cache, source))]
async fn note(cache: &Cache, source: &Source, id: u32) -> usize {
    let _ = id;
    source.load().await
}

#[cached("list:{n}", ttl = "1h", tags_from = |ids| ids.iter().map(|id| tag!("item:{}", id)).collect(), cache = cache,
    skip(cache, source))]
async fn list(cache: &Cache, source: &Source, n: usize) -> Vec<usize> {
    vec![n, source.load().await * 100]
}

#[cached("fails:{id}", ttl = "1h", cache_err = "1h", cache = cache, skip(cache, source))]
async fn fails(cache: &Cache, source: &Source, id: u32) -> Result<usize, String> {
    Err(format!("{id}: {}", source.load().await))
}

#[cached("own:{id}", ttl = "1h", coalesce = local, cache = cache, skip(cache, source))]
async fn uncoalesced(cache: &Cache, source: &Source, id: u32) -> usize {
    let _ = id;
    source.load().await
}

#[cached("own-tagged:{id}", ttl = "1h", coalesce = local, tags = ["o:{id}"], cache = cache, skip(cache, source))]
async fn uncoalesced_tagged(cache: &Cache, source: &Source, id: u32) -> usize {
    let _ = id;
    source.load().await
}

#[cached("unkept:{id}", ttl = "1h", cache_if = |_| false, cache = cache, skip(cache, source))]
async fn unstored(cache: &Cache, source: &Source, id: u32) -> usize {
    let _ = id;
    source.load().await
}

#[cached("unkept-list:{n}", ttl = "1h", cache_if = |_| false, cache = cache, skip(cache, source),
    tags_from = |ids| ids.iter().map(|id| tag!("item:{}", id)).collect())]
async fn unstored_list(cache: &Cache, source: &Source, n: usize) -> Vec<usize> {
    vec![n, source.load().await * 100]
}

#[cached("shared", ttl = "1h", tags = ["s:{id}"], cache = cache, skip(cache, source))]
async fn tagged(cache: &Cache, source: &Source, id: u32) -> usize {
    let _ = id;
    source.load().await
}

async fn settle() {
    for _ in 0..200 {
        yield_now().await;
    }
}

#[tokio::test]
async fn unencodable_value_is_invalidated_by_another_process() {
    let (pair, source) = (Pair::new(), Source::open());
    unencodable(&pair.a, &source, 7).await;
    pair.flush().await;
    settle().await;
    source.write();
    unencodable::invalidate(&pair.b, &source, 7).confirmed().await.unwrap();
    pair.clock.advance(600 * SECOND);
    assert_eq!(unencodable(&pair.a, &source, 7).await.0, 2);
}

#[tokio::test]
async fn entry_found_absent_in_tier_is_not_served_when_lease_is_refused() {
    let (clock, faults) = (ManualClock::new(), Arc::new(Faults::default()));
    let tier = FakeTier::new(&clock);
    let a = Cache::builder().namespace("test").clock(clock.clock());
    let a = a.tier(FaultyTier(tier.same_connection(), faults.clone())).build().unwrap();
    let b = Cache::builder().namespace("test").clock(clock.clock()).tier(tier.clone()).build().unwrap();
    let source = Source::open();
    row(&a, &source, 7).await;
    a.flush().await;
    // The feed of `a` is silent while another process invalidates. Then `a` gets a new connection.
    tier.set_silent(true);
    source.write();
    row::invalidate(&b, &source, 7).await.unwrap();
    clock.advance(5 * SECOND);
    tier.set_silent(false);
    faults.refuses_leases.store(true, SeqCst);
    clock.advance(5 * SECOND);
    assert_eq!(row(&a, &source, 7).await, 2);
}

#[tokio::test]
async fn tag_invalidated_during_feed_replacement_rejects_load() {
    let (pair, source) = (Pair::new(), Source::gated());
    let load = spawn({
        let (cache, source) = (pair.a.clone(), source.clone());
        async move { note(&cache, &source, 7).await }
    });
    wait_until(|| source.runs() == 1).await;
    pair.tier_a.set_silent(true);
    source.write();
    pair.b.invalidate_tag("n:{}", &[&7]).await.unwrap();
    pair.tier_a.set_silent(false);
    pair.clock.advance(5 * SECOND);
    source.release(9);
    assert_eq!(load.await.unwrap(), 1);
    pair.flush().await;
    assert_eq!(note(&pair.a, &source, 7).await, 2);
}

#[test]
fn idle_runtime_does_not_block_other_callers() {
    let (pair, source) = (Pair::new(), Source::open());
    let build = || runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (first, second) = (build(), build());
    pair.tier_a.hold_writes(true);
    assert_eq!(first.block_on(row(&pair.a, &source, 7)), 1);
    pair.tier_a.hold_writes(false);
    // `first` exists but is not driven, so its lease has to expire.
    let clock = pair.clock.clone();
    std::thread::spawn(move || {
        for _ in 0..1000 {
            std::thread::sleep(Duration::from_millis(20));
            clock.advance(SECOND / 10);
        }
    });
    let value = second.block_on(async { timeout(PATIENCE, row(&pair.a, &source, 7)).await });
    assert_eq!(value.ok(), Some(1));
    drop(first);
}

#[tokio::test]
async fn invalidations_in_an_outage_leave_no_tasks() {
    let (pair, source) = (Pair::new(), Source::open());
    pair.tier_a.set_down(true);
    for _ in 0..1000 {
        let _ = row::invalidate(&pair.a, &source, 7).await;
        settle().await;
    }
    let tasks = runtime::Handle::current().metrics().num_alive_tasks();
    assert!(tasks < 10, "{tasks}");
}

#[tokio::test]
async fn invalidation_of_two_caches_completes_after_its_call_is_dropped() {
    let (one, two, source) = (Pair::new(), Pair::new(), Source::open());
    for cache in [&one.a, &two.a, &two.b] {
        row(cache, &source, 7).await;
        cache.flush().await;
    }
    source.write();
    one.tier_a.hold_deletes(true);
    let both = row::invalidate(&one.a, &source, 7).and(row::invalidate(&two.a, &source, 7));
    let caller = spawn(both);
    wait_until(|| one.a.stats().invalidations == 1).await;
    settle().await;
    caller.abort();
    one.tier_a.hold_deletes(false);
    one.flush().await;
    two.flush().await;
    settle().await;
    assert_eq!(row(&two.b, &source, 7).await, 2);
}

#[tokio::test]
async fn other_process_waits_for_a_long_load_without_tracking() {
    let (clock, faults) = (ManualClock::new(), Arc::new(Faults::default()));
    faults.untracked.store(true, SeqCst);
    let tier = FakeTier::new(&clock);
    let build = || {
        let faulty_tier = FaultyTier(tier.clone(), faults.clone());
        Cache::builder().namespace("test").clock(clock.clock()).tier(faulty_tier).build().unwrap()
    };
    let (a, b, source) = (build(), build(), Source::gated());
    let call = |cache: &Cache| {
        let (cache, source) = (cache.clone(), source.clone());
        spawn(async move { row(&cache, &source, 7).await })
    };
    let first = call(&a);
    wait_until(|| source.runs() == 1).await;
    let second = call(&b);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(source.runs(), 1);
    source.release(2);
    let _ = (first.await, second.await);
}

#[tokio::test]
async fn other_process_waits_for_a_load_whose_lease_is_renewed() {
    let (pair, source) = (Pair::with(|builder| builder.lease(Duration::from_millis(60))), Source::gated());
    let call = |cache: &Cache| {
        let (cache, source) = (cache.clone(), source.clone());
        spawn(async move { row(&cache, &source, 7).await })
    };
    let first = call(&pair.a);
    wait_until(|| source.runs() == 1).await;
    let second = call(&pair.b);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(source.runs(), 1);
    source.release(2);
    let _ = (first.await, second.await);
}

#[tokio::test]
async fn call_after_tag_invalidation_does_not_get_the_older_load() {
    let (pair, source) = (Pair::new(), Source::gated());
    let call = || {
        let (cache, source) = (pair.a.clone(), source.clone());
        spawn(async move { list(&cache, &source, 7).await })
    };
    let before = call();
    wait_until(|| source.runs() == 1).await;
    source.write();
    pair.a.invalidate_tag("item:{}", &[&100]).await.unwrap();
    let after = call();
    settle().await;
    pair.tier_a.hold_writes(true);
    // Every request fails from here on, so the tier gives no verdict. Only this process's log of invalidated
    // tags shows that the first load is outdated.
    pair.tier_a.set_down(true);
    source.release(9);
    assert_eq!(before.await.unwrap(), [7, 100]);
    assert_eq!(after.await.unwrap(), [7, 200]);
}

#[tokio::test]
async fn cached_errors_are_not_shared_between_processes() {
    let (pair, source) = (Pair::new(), Source::open());
    for _ in 0..5 {
        for cache in [&pair.a, &pair.b] {
            let _ = fails(cache, &source, 7).await;
            pair.flush().await;
            settle().await;
        }
    }
    assert_eq!(source.runs(), 2);
}

#[tokio::test]
async fn cached_error_reaches_all_waiting_processes() {
    let (pair, source) = (Pair::new(), Source::gated());
    let call = |cache: &Cache| {
        let (cache, source) = (cache.clone(), source.clone());
        spawn(async move { fails(&cache, &source, 7).await })
    };
    let third = Cache::builder().namespace("test").tier(pair.tier_a.clone()).clock(pair.clock.clock());
    let third = third.build().unwrap();
    let first = call(&pair.a);
    wait_until(|| source.runs() == 1).await;
    let others = [call(&pair.b), call(&third)];
    settle().await;
    source.release(1);
    assert!(first.await.unwrap().is_err());
    for other in others {
        assert!(other.await.unwrap().is_err());
    }
    assert_eq!(source.runs(), 1);
}

#[tokio::test]
async fn a_keyspace_does_not_serve_what_a_tag_invalidated() {
    let (pair, source) = (Pair::new(), Source::open());
    tagged(&pair.a, &source, 7).await;
    pair.flush().await;
    source.write();
    pair.a.invalidate_tag("s:{}", &[&7]).await.unwrap();
    let rows = pair.b.keyspace::<u32, usize>("shared", 3600 * SECOND).unwrap();
    assert_eq!(rows.get(&7).await, None);
    assert_eq!(tagged(&pair.b, &source, 7).await, 2);
}

#[tokio::test]
async fn get_many_skips_values_with_an_invalidated_tag() {
    let (pair, source) = (Pair::new(), Source::open());
    tagged(&pair.a, &source, 7).await;
    pair.flush().await;
    source.write();
    pair.a.invalidate_tag("s:{}", &[&7]).await.unwrap();
    let rows = pair.b.keyspace::<u32, usize>("shared", 3600 * SECOND).unwrap();
    assert_eq!(rows.get_many([&7]).await, [None]);
    assert_eq!(tagged(&pair.b, &source, 7).await, 2);
}

#[tokio::test]
async fn value_set_during_mode_change_is_tracked() {
    let pair = Pair::new();
    let rows = |cache: &Cache| cache.keyspace::<u32, usize>("rows", 3600 * SECOND).unwrap();
    let (a, b) = (rows(&pair.a), rows(&pair.b));
    pair.a.set_mode(Mode::LocalOnly);
    pair.tier_a.hold_deletes(true);
    let setting = spawn({
        let a = a.clone();
        async move { a.set(&7, 1).await }
    });
    settle().await;
    pair.a.set_mode(Mode::On);
    pair.tier_a.hold_deletes(false);
    setting.await.unwrap().unwrap();
    b.set(&7, 2).await.unwrap();
    b.delete(&7).await.unwrap();
    pair.clock.advance(600 * SECOND);
    assert_eq!(a.get(&7).await, None);
}

#[tokio::test]
async fn confirmed_covers_values_loaded_without_the_tier() {
    let (pair, source) = (Pair::new(), Source::open());
    row::with(CacheControl::local_only(), &pair.a, &source, 7).await;
    source.write();
    row::invalidate(&pair.b, &source, 7).confirmed().await.unwrap();
    assert_eq!(row(&pair.a, &source, 7).await, 2);
}

#[tokio::test]
async fn bound_of_a_function_does_not_extend_the_grace() {
    let (pair, source) = (Pair::new(), Source::open());
    lax(&pair.a, &source, 7).await;
    pair.flush().await;
    source.write();
    pair.tier_a.set_down(true);
    pair.clock.advance(40 * SECOND);
    assert_eq!(lax(&pair.a, &source, 7).await, 2, "bound and grace are 31 s");
}

#[tokio::test]
async fn invalidation_outside_a_runtime_is_sent_later() {
    let (pair, source) = (Pair::new(), Source::open());
    row(&pair.a, &source, 7).await;
    pair.flush().await;
    source.write();
    let (cache, there) = (pair.a.clone(), source.clone());
    std::thread::spawn(move || row::invalidate(&cache, &there, 7).spawn()).join().unwrap();
    for _ in 0..3 {
        row(&pair.a, &source, 7).await;
        row(&pair.a, &source, 8).await;
        pair.flush().await;
        settle().await;
        pair.clock.advance(2 * SECOND);
    }
    assert_eq!(pair.a.stats().pending_invalidations, 0);
    assert_eq!(row(&pair.b, &source, 7).await, 2);
}

#[tokio::test]
async fn a_load_does_not_wait_for_its_own_lease() {
    #[cached("again:{id}", ttl = "1h", tags = ["again"], detach = false, cache = cache, skip(cache, source, is_inner))]
    async fn again(cache: &Cache, source: &Source, is_inner: bool, id: u32) -> usize {
        if !is_inner {
            source.load().await;
            return Box::pin(again(cache, source, true, id)).await;
        }
        id as usize
    }
    let (pair, source) = (Pair::new(), Source::gated());
    let outer = spawn({
        let (cache, source) = (pair.a.clone(), source.clone());
        async move { again(&cache, &source, false, 7).await }
    });
    wait_until(|| source.runs() == 1).await;
    pair.a.invalidate_tag("again", &[]).await.unwrap();
    source.release(1);
    assert_eq!(timeout(PATIENCE, outer).await.map(Result::unwrap).ok(), Some(7));
}

#[tokio::test]
async fn renewals_elsewhere_do_not_start_loads_here() {
    let (pair, source) = (Pair::with(|builder| builder.lease(Duration::from_millis(300))), Source::gated());
    let call = |cache: &Cache| {
        let (cache, source) = (cache.clone(), source.clone());
        spawn(async move { uncoalesced(&cache, &source, 7).await })
    };
    let holder = call(&pair.a);
    wait_until(|| source.runs() == 1).await;
    let callers: Vec<_> = (0..10).map(|_| call(&pair.b)).collect();
    wait_until(|| source.runs() == 2).await;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(call(&pair.b));
    }
    let runs = source.runs();
    source.release(99);
    let _ = holder.await;
    for caller in callers {
        let _ = caller.await;
    }
    assert_eq!(runs, 2);
}

#[tokio::test]
async fn follower_starts_over_when_tag_of_load_is_invalidated() {
    let (pair, source) = (Pair::new(), Source::gated());
    let call = |cache: &Cache| {
        let (cache, source) = (cache.clone(), source.clone());
        spawn(async move { note(&cache, &source, 7).await })
    };
    let overtaken = call(&pair.a);
    wait_until(|| source.runs() == 1).await;
    let follower = call(&pair.a);
    settle().await;
    source.write();
    pair.b.invalidate_tag("n:{}", &[&7]).await.unwrap();
    let began = timeout(PATIENCE, wait_until(|| source.runs() == 2)).await;
    source.release(9);
    let _ = (overtaken.await, follower.await);
    assert!(began.is_ok(), "the second load waits for the first");
}

#[tokio::test]
async fn unencodable_value_is_loaded_once_per_process() {
    let (pair, source) = (Pair::new(), Source::open());
    for _ in 0..5 {
        for cache in [&pair.a, &pair.b] {
            unencodable(cache, &source, 7).await;
            pair.flush().await;
            settle().await;
        }
    }
    assert_eq!(source.runs(), 2);
}

#[tokio::test]
async fn overtaken_local_only_load_is_not_stored() {
    let (pair, source) = (Pair::new(), Source::gated());
    let load = spawn({
        let (cache, source) = (pair.a.clone(), source.clone());
        async move { row::with(CacheControl::local_only(), &cache, &source, 7).await.value }
    });
    wait_until(|| source.runs() == 1).await;
    source.write();
    row::invalidate(&pair.b, &source, 7).await.unwrap();
    source.release(9);
    assert_eq!(load.await.unwrap(), 1);
    assert_eq!(row(&pair.a, &source, 7).await, 2);
}

/// Returns the loads of both processes, when both have begun.
///
/// The load of `b` holds the lease.
async fn start_load_beside(pair: &Pair, source: &Source) -> [tokio::task::JoinHandle<usize>; 2] {
    let start = |cache: &Cache| {
        let (cache, source) = (cache.clone(), source.clone());
        spawn(async move { uncoalesced(&cache, &source, 7).await })
    };
    let leased = start(&pair.b);
    wait_until(|| source.runs() == 1).await;
    let other = start(&pair.a);
    wait_until(|| source.runs() == 2).await;
    [leased, other]
}

#[tokio::test]
async fn overtaken_unleased_load_is_not_stored_when_notification_is_late() {
    let (pair, source) = (Pair::new(), Source::gated());
    let loads = start_load_beside(&pair, &source).await;
    pair.tier_a.set_late(true);
    source.write();
    uncoalesced::invalidate(&pair.b, &source, 7).await.unwrap();
    source.release(9);
    for load in loads {
        assert_eq!(load.await.unwrap(), 1, "it overlaps the invalidation");
    }
    pair.flush().await;
    assert_eq!(uncoalesced(&pair.a, &source, 7).await, 2);
}

#[tokio::test]
async fn followers_of_an_overtaken_unleased_load_start_over() {
    let (pair, source) = (Pair::new(), Source::gated());
    let loads = start_load_beside(&pair, &source).await;
    pair.tier_a.set_late(true);
    source.write();
    uncoalesced::invalidate(&pair.b, &source, 7).await.unwrap();
    let (cache, there) = (pair.a.clone(), source.clone());
    let follower = spawn(async move { uncoalesced(&cache, &there, 7).await });
    wait_until(|| pair.a.stats().waiting == 1).await;
    source.release(9);
    for load in loads {
        assert_eq!(load.await.unwrap(), 1);
    }
    assert_eq!(follower.await.unwrap(), 2);
}

#[tokio::test]
async fn unleased_load_is_stored_after_one_check_when_nothing_changed() {
    let (pair, source) = (Pair::new(), Source::gated());
    let [leased, other] = start_load_beside(&pair, &source).await;
    // The caller gets its value before the tier is asked again.
    pair.tier_a.hold_reads(true);
    source.release(2);
    assert_eq!(other.await.unwrap(), 1);
    pair.tier_a.hold_reads(false);
    assert_eq!(leased.await.unwrap(), 1);
    pair.flush().await;
    assert_eq!(uncoalesced(&pair.a, &source, 7).await, 1);
    assert_eq!(source.runs(), 2);
}

#[tokio::test]
async fn unleased_load_is_stored_for_the_grace_when_tier_goes_down() {
    let (pair, source) = (Pair::new(), Source::gated());
    let [leased, other] = start_load_beside(&pair, &source).await;
    pair.tier_a.set_down(true);
    source.release(9);
    for load in [leased, other] {
        assert_eq!(load.await.unwrap(), 1);
    }
    pair.flush().await;
    pair.clock.advance(20 * SECOND);
    assert_eq!((uncoalesced(&pair.a, &source, 7).await, source.runs()), (1, 2));
    pair.clock.advance(20 * SECOND);
    assert_eq!((uncoalesced(&pair.a, &source, 7).await, source.runs()), (1, 3));
}

#[tokio::test]
async fn undelivered_invalidation_of_value_tag_rejects_the_fill() {
    let (clock, faults, source) = (ManualClock::new(), Arc::new(Faults::default()), Source::open());
    let tier = FakeTier::new(&clock);
    let cache = Cache::builder().namespace("test").clock(clock.clock());
    let cache = cache.tier(FaultyTier(tier.same_connection(), faults.clone())).build().unwrap();
    tier.hold_writes(true);
    assert_eq!(list(&cache, &source, 7).await, [7, 100]);
    wait_until(|| tier.round_trips() == 3).await;
    faults.refuses_deletes.store(true, SeqCst);
    source.write();
    assert!(cache.invalidate_tag("item:{}", &[&100]).await.unwrap_err().is_not_propagated());
    let follower = spawn({
        let (cache, source) = (cache.clone(), source.clone());
        async move { list(&cache, &source, 7).await }
    });
    settle().await;
    tier.hold_writes(false);
    assert_eq!(follower.await.unwrap(), [7, 200]);
    assert_eq!(list(&cache, &source, 7).await, [7, 200]);
}

fn start_list(cache: &Cache, source: &Source) -> tokio::task::JoinHandle<Vec<usize>> {
    let (cache, source) = (cache.clone(), source.clone());
    spawn(async move { list(&cache, &source, 7).await })
}

/// The tier reports no change of tags that only the value reveals, so the watermark proves nothing about
/// them. The value counts as checked before its load.
#[tokio::test]
async fn value_with_own_tags_counts_as_checked_before_load_in_outage() {
    let (pair, source) = (Pair::new(), Source::gated());
    let load = start_list(&pair.a, &source);
    wait_until(|| source.runs() == 1).await;
    // No notification arrives from here on.
    pair.tier_a.set_silent(true);
    source.write();
    pair.b.invalidate_tag("item:{}", &[&100]).await.unwrap();
    pair.clock.advance(40 * SECOND);
    pair.tier_a.set_down(true);
    let follower = start_list(&pair.a, &source);
    wait_until(|| pair.a.stats().waiting == 1).await;
    source.release(9);
    assert_eq!(load.await.unwrap(), [7, 100]);
    assert_eq!(follower.await.unwrap(), [7, 100], "no value is loaded twice in an outage");
    pair.flush().await;
    assert_eq!(list(&pair.a, &source, 7).await, [7, 200]);
}

/// The notification of the invalidation arrived before the outage.
#[tokio::test]
async fn follower_starts_over_in_outage_when_value_tag_may_be_outdated() {
    let (pair, source) = (Pair::new(), Source::gated());
    let load = start_list(&pair.a, &source);
    wait_until(|| source.runs() == 1).await;
    source.write();
    pair.b.invalidate_tag("item:{}", &[&100]).await.unwrap();
    let follower = start_list(&pair.a, &source);
    wait_until(|| pair.a.stats().waiting == 1).await;
    pair.tier_a.set_down(true);
    source.release(9);
    assert_eq!(load.await.unwrap(), [7, 100]);
    assert_eq!(follower.await.unwrap(), [7, 200]);
}

#[tokio::test]
async fn tag_invalidated_during_the_load_is_noticed_without_tracking() {
    let (pair, source) = (Pair::new(), Source::gated());
    let faults = Arc::new(Faults::default());
    faults.untracked.store(true, SeqCst);
    let tier = pair.tier_a.clone();
    let cache = Cache::builder().namespace("test").clock(pair.clock.clock());
    let cache = cache.tier(FaultyTier(tier.same_connection(), faults)).build().unwrap();
    tier.set_silent(true);
    let load = spawn({
        let (cache, source) = (cache.clone(), source.clone());
        async move { note(&cache, &source, 7).await }
    });
    wait_until(|| source.runs() == 1).await;
    source.write();
    pair.b.invalidate_tag("n:{}", &[&7]).await.unwrap();
    pair.clock.advance(5 * SECOND);
    source.release(9);
    assert_eq!(load.await.unwrap(), 1);
    cache.flush().await;
    assert_eq!(note(&cache, &source, 7).await, 2);
}

#[tokio::test]
async fn follower_of_a_local_only_load_starts_over() {
    let (pair, source) = (Pair::new(), Source::gated());
    let call = |control: CacheControl| {
        let (cache, source) = (pair.a.clone(), source.clone());
        spawn(async move { row::with(control, &cache, &source, 7).await.value })
    };
    let local_only = call(CacheControl::local_only());
    wait_until(|| source.runs() == 1).await;
    source.write();
    row::invalidate(&pair.b, &source, 7).await.unwrap();
    let follower = call(CacheControl::new());
    wait_until(|| pair.a.stats().waiting == 1).await;
    source.release(9);
    assert_eq!((local_only.await.unwrap(), follower.await.unwrap()), (1, 2));
}

#[tokio::test]
async fn value_stored_before_verdict_is_rechecked_after_it() {
    let (pair, source) = (Pair::new(), Source::open());
    pair.tier_a.hold_writes(true);
    row(&pair.a, &source, 7).await;
    // L1 keeps the value when followers have waited long enough, in real time, for the tier's verdict.
    wait_until(|| pair.a.stats().fills == 1).await;
    source.write();
    pair.tier_a.remove("test:row:7");
    pair.tier_a.hold_writes(false);
    pair.flush().await;
    assert_eq!(row(&pair.a, &source, 7).await, 2);
}

#[tokio::test]
async fn unencodable_value_is_not_stored_when_notification_is_late() {
    let (pair, source) = (Pair::new(), Source::gated());
    let load = spawn({
        let (cache, source) = (pair.a.clone(), source.clone());
        async move { unencodable(&cache, &source, 7).await.0 }
    });
    wait_until(|| source.runs() == 1).await;
    pair.tier_a.set_late(true);
    source.write();
    unencodable::invalidate(&pair.b, &source, 7).await.unwrap();
    source.release(9);
    assert_eq!(load.await.unwrap(), 1);
    pair.flush().await;
    assert_eq!(unencodable(&pair.a, &source, 7).await.0, 2);
}

#[tokio::test]
async fn follower_of_unstored_load_starts_over_when_overtaken() {
    for is_overtaken in [true, false] {
        let (pair, source) = (Pair::new(), Source::gated());
        let call = || {
            let (cache, source) = (pair.a.clone(), source.clone());
            spawn(async move { unstored(&cache, &source, 7).await })
        };
        let leading = call();
        wait_until(|| source.runs() == 1).await;
        if is_overtaken {
            pair.tier_a.set_late(true);
            source.write();
            unstored::invalidate(&pair.b, &source, 7).await.unwrap();
        }
        let followers = [call(), call(), call()];
        wait_until(|| pair.a.stats().waiting == 3).await;
        source.release(9);
        assert_eq!(leading.await.unwrap(), 1);
        for follower in followers {
            assert_eq!(follower.await.unwrap(), if is_overtaken { 2 } else { 1 });
        }
        assert!(is_overtaken || source.runs() == 1, "they share the value that is not kept");
    }
}

/// The load does not know its tag yet when another process, its own process, or the only process invalidates
/// the tag.
#[tokio::test]
async fn follower_of_unstored_load_starts_over_when_a_value_tag_is_invalidated() {
    for (origin, id) in
        [("another", 100), ("itself", 100), ("alone", 100), ("another", 1), ("itself", 1), ("alone", 1)]
    {
        let (pair, source) = (Pair::new(), Source::gated());
        let alone = Cache::builder().clock(pair.clock.clock()).build().unwrap();
        let (cache, other) = match origin {
            "another" => (&pair.a, &pair.b),
            "itself" => (&pair.a, &pair.a),
            _ => (&alone, &alone),
        };
        let call = || {
            let (cache, source) = (cache.clone(), source.clone());
            spawn(async move { unstored_list(&cache, &source, 7).await })
        };
        let leading = call();
        wait_until(|| source.runs() == 1).await;
        source.write();
        other.invalidate_tag("item:{}", &[&id]).await.unwrap();
        let followers = [call(), call(), call()];
        wait_until(|| cache.stats().waiting == 3).await;
        source.release(9);
        assert_eq!(leading.await.unwrap(), [7, 100], "{origin}: the call began before the invalidation");
        let is_overtaken = id == 100;
        for follower in followers {
            assert_eq!(follower.await.unwrap(), [7, if is_overtaken { 200 } else { 100 }], "{origin}");
        }
        assert_eq!(source.runs(), if is_overtaken { 2 } else { 1 }, "{origin}: followers share the value");
    }
}

/// The tier breaks its contract. No key gets the value of another one for that.
#[tokio::test]
async fn get_many_ignores_an_answer_with_too_few_records() {
    let (clock, faults) = (ManualClock::new(), Arc::new(Faults::default()));
    let tier = FakeTier::new(&clock);
    let build = || Cache::builder().namespace("test").clock(clock.clock());
    let a = build().tier(FaultyTier(tier.same_connection(), faults.clone())).build().unwrap();
    let b = build().tier(tier.clone()).build().unwrap();
    let (reads, writes) = (a.keyspace("n", 60 * SECOND).unwrap(), b.keyspace("n", 60 * SECOND).unwrap());
    let keys: Vec<u32> = (0..300).collect();
    writes.set_many(keys.iter().map(|key| (key, *key))).await.unwrap();
    faults.loses_records.store(true, SeqCst);
    assert_eq!(reads.get_many(&keys).await, vec![None; 300]);
    faults.loses_records.store(false, SeqCst);
    assert_eq!(reads.get_many(&keys).await, keys.iter().map(|key| Some(*key)).collect::<Vec<_>>());
}

#[cached("unkept-odd:{n}", ttl = "1h", cache_if = |_| false, cache = cache, skip(cache, source),
    tags_from = |_| panic!("no tags"))]
async fn unstored_untaggable(cache: &Cache, source: &Source, n: usize) -> usize {
    n + source.load().await
}

/// Any invalidated tag may be one of the value, as its own tags are unknown.
#[tokio::test]
async fn follower_of_unstored_load_starts_over_when_the_value_tags_are_unknown() {
    for by_a in [true, false] {
        let (pair, source) = (Pair::new(), Source::gated());
        let call = || {
            let (cache, source) = (pair.a.clone(), source.clone());
            spawn(async move { unstored_untaggable(&cache, &source, 0).await })
        };
        let leading = call();
        wait_until(|| source.runs() == 1).await;
        source.write();
        let cache = if by_a { &pair.a } else { &pair.b };
        cache.invalidate_tag("any", &[]).await.unwrap();
        let follower = call();
        wait_until(|| pair.a.stats().waiting == 1).await;
        source.release(9);
        assert_eq!((leading.await.unwrap(), follower.await.unwrap()), (1, 2));
    }
}

/// The connection reports no changes, and the load takes longer than the staleness bound. So the lease shows
/// whether the key was invalidated.
#[tokio::test]
async fn follower_of_unstored_load_starts_over_when_an_unreported_invalidation_overtook_it() {
    for is_overtaken in [true, false] {
        let (clock, faults, source) = (ManualClock::new(), Arc::new(Faults::default()), Source::gated());
        faults.untracked.store(true, SeqCst);
        let tier = FakeTier::new(&clock);
        let build = || Cache::builder().namespace("test").clock(clock.clock());
        let a = build().tier(FaultyTier(tier.same_connection(), faults.clone())).build().unwrap();
        let b = build().tier(tier.clone()).build().unwrap();
        let call = || {
            let (cache, source) = (a.clone(), source.clone());
            spawn(async move { unstored(&cache, &source, 7).await })
        };
        let leading = call();
        wait_until(|| source.runs() == 1).await;
        tier.set_silent(true);
        if is_overtaken {
            source.write();
            unstored::invalidate(&b, &source, 7).await.unwrap();
        }
        clock.advance(2 * SECOND);
        let followers = [call(), call(), call()];
        wait_until(|| a.stats().waiting == 3).await;
        source.release(1);
        assert_eq!(leading.await.unwrap(), 1);
        // The second load may begin after the bound as well.
        source.release(9);
        for follower in followers {
            assert_eq!(follower.await.unwrap(), if is_overtaken { 2 } else { 1 });
        }
        assert_eq!(source.runs(), if is_overtaken { 2 } else { 1 });
    }
}

/// The shared tier takes no further value, because too many are under way. The older value under the key is
/// removed, or other processes would go on to serve it.
#[tokio::test]
async fn refreshed_value_replaces_the_older_one_when_the_tier_is_overloaded() {
    let (pair, source) = (Pair::new(), Source::open());
    assert_eq!(row(&pair.a, &source, 7).await, 1);
    pair.flush().await;
    pair.tier_a.hold_writes(true);
    for id in 0..4200 {
        row(&pair.a, &source, 100 + id).await;
    }
    source.write();
    assert_eq!(row::refresh(&pair.a, &source, 7).await, 2);
    pair.tier_a.hold_writes(false);
    pair.flush().await;
    assert_eq!((row(&pair.a, &source, 7).await, row(&pair.b, &source, 7).await), (2, 2));
}

/// The tier does not report the invalidation of a tag without a generation. So the load beside gives the tag
/// a new one first.
#[tokio::test]
async fn load_beside_is_stored_when_its_tag_had_no_generation() {
    let (pair, held, source) = (Pair::new(), Source::gated(), Source::open());
    let leased = spawn({
        let (cache, held) = (pair.b.clone(), held.clone());
        async move { uncoalesced_tagged(&cache, &held, 7).await }
    });
    wait_until(|| held.runs() == 1).await;
    pair.tier_a.remove("test:%tag:o:7");
    for _ in 0..2 {
        assert_eq!(uncoalesced_tagged(&pair.a, &source, 7).await, 1);
        pair.a.flush().await;
    }
    assert_eq!(source.runs(), 1);
    held.release(1);
    assert_eq!(leased.await.unwrap(), 1);
}

#[tokio::test]
async fn keys_and_tags_are_invalidated_in_one_round_trip() {
    let (pair, source) = (Pair::new(), Source::open());
    row(&pair.a, &source, 7).await;
    let both = row::invalidate(&pair.a, &source, 7).and(pair.a.invalidate_tag("n:{}", &[&7]));
    let (result, round_trips) = pair.round_trips(both).await;
    result.unwrap();
    assert_eq!(round_trips, 1);
}

/// An invalidation that is resent is recorded in the journal like one that is sent at once.
#[tokio::test]
async fn resent_tag_invalidation_rejects_loads_with_that_value_tag() {
    let (pair, source, faults) = (Pair::new(), Source::gated(), Arc::new(Faults::default()));
    let cache = Cache::builder().namespace("test").clock(pair.clock.clock());
    let cache = cache.tier(FaultyTier(pair.tier_a.clone(), faults.clone())).build().unwrap();
    let load = start_list(&pair.b, &source);
    wait_until(|| source.runs() == 1).await;
    faults.refuses_deletes.store(true, SeqCst);
    source.write();
    assert!(cache.invalidate_tag("item:{}", &[&100]).await.unwrap_err().is_not_propagated());
    faults.refuses_deletes.store(false, SeqCst);
    wait_until(|| cache.stats().pending_invalidations == 0).await;
    source.release(9);
    assert_eq!(load.await.unwrap(), [7, 100]);
    pair.flush().await;
    assert_eq!(list(&pair.b, &source, 7).await, [7, 200]);
}

/// `load` is called after the lease is taken. Otherwise its data could be older than an invalidation that
/// came before the lease.
#[tokio::test]
async fn get_or_load_makes_no_load_on_a_hit() {
    let pair = Pair::new();
    let numbers = pair.a.keyspace::<u8, u8>("n", 600 * SECOND).unwrap();
    numbers.set(&1, 1).await.unwrap();
    let load = || -> std::future::Ready<Result<u8, ()>> { panic!("it is not needed") };
    assert_eq!(numbers.get_or_load(&1, load).await.unwrap(), 1);
}

/// An open breaker suspends reads, but not the resending of invalidations.
#[tokio::test]
async fn outbox_is_resent_while_breaker_suspends_reads() {
    let (pair, source, faults) = (Pair::new(), Source::open(), Arc::new(Faults::default()));
    let cache = Cache::builder().namespace("test").clock(pair.clock.clock());
    let cache = cache.tier(FaultyTier(pair.tier_a.clone(), faults.clone())).build().unwrap();
    row(&pair.b, &source, 7).await;
    pair.flush().await;
    faults.refuses_deletes.store(true, SeqCst);
    source.write();
    assert!(row::invalidate(&cache, &source, 7).await.unwrap_err().is_not_propagated());
    faults.not_ready.store(true, SeqCst);
    faults.refuses_deletes.store(false, SeqCst);
    wait_until(|| cache.stats().pending_invalidations == 0).await;
    assert_eq!(row(&pair.b, &source, 7).await, 2);
}
