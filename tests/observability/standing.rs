//! Status of the shared tier, in events and in the log.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use cached_aside::{Cache, Event, EventKind, RedisTier, TierCause, TierHealth, TierState, cached};
use redis_harness::{PATIENCE, RedisServer, eventually_async};
use tracing::{
    Metadata, Subscriber,
    span::{Attributes, Id, Record},
};

use crate::{health::Says, watch::Watch};

#[cached("standing:{id}", ttl = "1m", cache = cache, skip(cache))]
async fn standing(cache: &Cache, id: u64) -> u64 {
    id
}

fn cache(url: &str, namespace: &str) -> (Cache, Arc<AtomicUsize>) {
    let told = Arc::new(AtomicUsize::new(0));
    let count = told.clone();
    let builder = Cache::builder().namespace(namespace).on_event(move |event| {
        if event.kind == EventKind::Tier {
            assert!(event.function.is_empty() && event.key.is_none());
            count.fetch_add(1, SeqCst);
        }
    });
    (builder.tier(RedisTier::builder(url).build().unwrap()).build().unwrap(), told)
}

/// Returns the log lines about a namespace.
fn lines(watch: &Watch, namespace: &str) -> Vec<String> {
    let named = format!("namespace=\"{namespace}\"");
    watch.text().lines().filter(|line| line.contains(&named)).map(str::to_owned).collect()
}

#[tokio::test]
async fn each_change_is_a_line_and_an_event() {
    let (watch, mut redis) = (Watch::installed(), RedisServer::start());
    redis.stop();
    let url = format!("redis://canaryuser:canarypass@127.0.0.1:{}", redis.port());
    let (cache, told) = cache(&url, "one-line");
    let untried = cache.health();
    assert_eq!(untried.tier.as_ref().map(|tier| tier.state), Some(TierState::Untried));
    assert!(untried.is_well() && untried.is_tier_ready, "nothing is known to be wrong");
    assert_eq!((told.load(SeqCst), lines(watch, "one-line").len()), (0, 0));

    assert_eq!(cache.connected().await, Err(TierCause::Refused));
    assert!(!cache.health().is_well());
    assert_eq!(cache.health().tier.unwrap().cause, Some(TierCause::Refused));
    let said = lines(watch, "one-line");
    assert!(said.len() == 1 && said[0].contains(" WARN ") && said[0].contains(" cached_aside"), "{said:?}");
    assert!(
        said[0].contains("cause=\"refused\"") && said[0].contains("the shared tier is down: "),
        "{said:?}"
    );
    assert_eq!(told.load(SeqCst), 1);

    redis.restart();
    redis.cli(&["ACL", "SETUSER", "canaryuser", "on", ">canarypass", "~*", "&*", "+@all"]);
    // Before the user exists on the server, the tier may have reported an unknown user.
    eventually_async("it is said that it is up", async || {
        let said = lines(watch, "one-line");
        let is_up = |line: &String| line.contains(" INFO ") && line.contains("the shared tier is up");
        said.last().is_some_and(is_up) && said.len() == told.load(SeqCst)
    })
    .await;
    assert!(cache.health().is_well());
    assert_eq!(standing(&cache, 7).await, 7);
    assert!(!watch.text().contains("canarypass") && !watch.text().contains("canaryuser"));
}

#[tokio::test]
async fn an_observer_may_ask_how_it_is() {
    let redis = RedisServer::start();
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (asked, slot) = (seen.clone(), Arc::new(std::sync::OnceLock::<Cache>::new()));
    let own = slot.clone();
    let cache = Cache::builder()
        .namespace("asks")
        .on_event(move |event| {
            if let (EventKind::Tier, Some(cache)) = (event.kind, own.get()) {
                let health = cache.health();
                asked.lock().unwrap().push((health.tier.unwrap().state, health.is_tier_ready));
            }
        })
        .tier(RedisTier::builder(redis.url()).build().unwrap())
        .build()
        .unwrap();
    slot.set(cache.clone()).unwrap();
    assert_eq!(cache.connected().await, Ok(()));
    eventually_async("it was told", async || *seen.lock().unwrap() == [(TierState::Up, true)]).await;
}

/// Subscriber that changes the tier's status while it handles an event, as one that uses the cache could.
struct Meddler {
    tier: Says,
    lines: Arc<AtomicUsize>,
}

impl Subscriber for Meddler {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "cached_aside" && metadata.is_event()
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        if self.lines.fetch_add(1, SeqCst) == 0 {
            self.tier.change(TierHealth::new(TierState::Up));
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn a_subscriber_may_cause_the_next_change() {
    // If a thread-local subscriber is the only one, it is not asked about callsites that another thread
    // reaches first.
    Watch::installed();
    let (tier, lines) = (Says::new(Some(TierHealth::new(TierState::Up))), Arc::new(AtomicUsize::new(0)));
    let told = Arc::new(AtomicUsize::new(0));
    let (count, meddler) = (told.clone(), Meddler { tier: tier.clone(), lines: lines.clone() });
    let observer = move |_: &Event| _ = count.fetch_add(1, SeqCst);
    let cache = Cache::builder().on_event(observer).tier(tier.clone()).build().unwrap();
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let change = || tier.change(TierHealth::new(TierState::Down));
        tracing::subscriber::with_default(meddler, change);
        done.send(()).unwrap();
    });
    assert!(is_done.recv_timeout(PATIENCE).is_ok(), "it hangs");
    assert_eq!((lines.load(SeqCst), told.load(SeqCst)), (2, 2));
    drop(cache);
}

#[tokio::test]
async fn close_emits_no_status_change() {
    let (watch, redis) = (Watch::installed(), RedisServer::start());
    let (cache, told) = cache(&redis.url(), "takes-leave");
    assert_eq!(cache.connected().await, Ok(()));
    eventually_async("it was told", async || told.load(SeqCst) == 1).await;
    assert!(cache.close().await);
    assert_eq!(cache.health().tier.unwrap().state, TierState::Down);
    assert_eq!((told.load(SeqCst), lines(watch, "takes-leave").len()), (1, 1));
}
