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

use crate::{health::FixedHealthTier, watch::Watch};

#[cached("standing:{id}", ttl = "1m", cache = cache, skip(cache))]
async fn number(cache: &Cache, id: u64) -> u64 {
    id
}

fn cache(url: &str, namespace: &str) -> (Cache, Arc<AtomicUsize>) {
    let tier_events = Arc::new(AtomicUsize::new(0));
    let count = tier_events.clone();
    let builder = Cache::builder().namespace(namespace).on_event(move |event| {
        if event.kind == EventKind::Tier {
            assert!(event.function.is_empty() && event.key.is_none());
            count.fetch_add(1, SeqCst);
        }
    });
    (builder.tier(RedisTier::builder(url).build().unwrap()).build().unwrap(), tier_events)
}

/// Returns the log lines about a namespace.
fn lines(watch: &Watch, namespace: &str) -> Vec<String> {
    let field = format!("namespace=\"{namespace}\"");
    watch.text().lines().filter(|line| line.contains(&field)).map(str::to_owned).collect()
}

#[tokio::test]
async fn each_status_change_is_one_log_line_and_one_event() {
    let (watch, mut redis) = (Watch::installed(), RedisServer::start());
    redis.stop();
    let url = format!("redis://canaryuser:canarypass@127.0.0.1:{}", redis.port());
    let (cache, tier_events) = cache(&url, "one-line");
    let untried = cache.health();
    assert_eq!(untried.tier.as_ref().map(|tier| tier.state), Some(TierState::Untried));
    assert!(untried.is_healthy() && untried.is_tier_ready, "nothing is known to be wrong");
    assert_eq!((tier_events.load(SeqCst), lines(watch, "one-line").len()), (0, 0));

    assert_eq!(cache.connected().await, Err(TierCause::Refused));
    assert!(!cache.health().is_healthy());
    assert_eq!(cache.health().tier.unwrap().cause, Some(TierCause::Refused));
    let log_lines = lines(watch, "one-line");
    assert!(
        log_lines.len() == 1 && log_lines[0].contains(" WARN ") && log_lines[0].contains(" cached_aside"),
        "{log_lines:?}"
    );
    assert!(
        log_lines[0].contains("cause=\"refused\"") && log_lines[0].contains("the shared tier is down: "),
        "{log_lines:?}"
    );
    assert_eq!(tier_events.load(SeqCst), 1);

    redis.restart();
    redis.cli(&["ACL", "SETUSER", "canaryuser", "on", ">canarypass", "~*", "&*", "+@all"]);
    // Before the user exists on the server, the tier may have reported an unknown user.
    eventually_async("it is logged that the tier is up", async || {
        let log_lines = lines(watch, "one-line");
        let is_up = |line: &String| line.contains(" INFO ") && line.contains("the shared tier is up");
        log_lines.last().is_some_and(is_up) && log_lines.len() == tier_events.load(SeqCst)
    })
    .await;
    assert!(cache.health().is_healthy());
    assert_eq!(number(&cache, 7).await, 7);
    assert!(!watch.text().contains("canarypass") && !watch.text().contains("canaryuser"));
}

#[tokio::test]
async fn observer_of_a_status_change_may_read_the_health() {
    let redis = RedisServer::start();
    let reported = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (sink, slot) = (reported.clone(), Arc::new(std::sync::OnceLock::<Cache>::new()));
    let cache_slot = slot.clone();
    let cache = Cache::builder()
        .namespace("asks")
        .on_event(move |event| {
            if let (EventKind::Tier, Some(cache)) = (event.kind, cache_slot.get()) {
                let health = cache.health();
                sink.lock().unwrap().push((health.tier.unwrap().state, health.is_tier_ready));
            }
        })
        .tier(RedisTier::builder(redis.url()).build().unwrap())
        .build()
        .unwrap();
    slot.set(cache.clone()).unwrap();
    assert_eq!(cache.connected().await, Ok(()));
    eventually_async("the event was emitted", async || *reported.lock().unwrap() == [(TierState::Up, true)])
        .await;
}

/// Subscriber that changes the tier's status while it handles an event, as one that uses the cache could.
struct StatusChangingSubscriber {
    tier: FixedHealthTier,
    event_count: Arc<AtomicUsize>,
}

impl Subscriber for StatusChangingSubscriber {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "cached_aside" && metadata.is_event()
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        if self.event_count.fetch_add(1, SeqCst) == 0 {
            self.tier.set_health(TierHealth::new(TierState::Up));
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn subscriber_may_cause_the_next_status_change() {
    // If a thread-local subscriber is the only one, it is not asked about callsites that another thread
    // reaches first.
    Watch::installed();
    let (tier, event_count) =
        (FixedHealthTier::new(Some(TierHealth::new(TierState::Up))), Arc::new(AtomicUsize::new(0)));
    let tier_events = Arc::new(AtomicUsize::new(0));
    let (count, subscriber) = (
        tier_events.clone(),
        StatusChangingSubscriber { tier: tier.clone(), event_count: event_count.clone() },
    );
    let observer = move |_: &Event| _ = count.fetch_add(1, SeqCst);
    let cache = Cache::builder().on_event(observer).tier(tier.clone()).build().unwrap();
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let change = || tier.set_health(TierHealth::new(TierState::Down));
        tracing::subscriber::with_default(subscriber, change);
        done.send(()).unwrap();
    });
    assert!(is_done.recv_timeout(PATIENCE).is_ok(), "it hangs");
    assert_eq!((event_count.load(SeqCst), tier_events.load(SeqCst)), (2, 2));
    drop(cache);
}

#[tokio::test]
async fn close_emits_no_status_change() {
    let (watch, redis) = (Watch::installed(), RedisServer::start());
    let (cache, tier_events) = cache(&redis.url(), "takes-leave");
    assert_eq!(cache.connected().await, Ok(()));
    eventually_async("the event was emitted", async || tier_events.load(SeqCst) == 1).await;
    assert!(cache.close().await);
    assert_eq!(cache.health().tier.unwrap().state, TierState::Down);
    assert_eq!((tier_events.load(SeqCst), lines(watch, "takes-leave").len()), (1, 1));
}
