//! Circuit breaker: a server that hangs or is slow costs only the first callers time.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::{Duration, Instant},
};

use cached_core::{
    TierError,
    tier::{Budget, LeaseMode, Lookup, Record, Tier},
};
use cached_redis::{RedisHealth, RedisState, RedisTier, RedisTierBuilder};
use redis_harness::{Mode, Proxy, Pulse, RedisServer, eventually_async};
use tokio::task::JoinSet;

use crate::support::{
    AMPLE, MINUTE, Recorder, attach, delete, fill, get, lease, lease_request, put, refused, tier_fill, token,
    wait_until_down, wait_until_up,
};

const BUDGET: Duration = Duration::from_millis(100);

/// Returns a builder in which only the read budget can end a read in time.
///
/// A slow server keeps its connection.
fn builder(url: &str) -> RedisTierBuilder {
    crate::support::builder(url).operation_timeout(BUDGET)
}

async fn connected(url: &str) -> (Arc<RedisTier>, Arc<Recorder>) {
    connected_as(builder(url)).await
}

async fn connected_as(builder: RedisTierBuilder) -> (Arc<RedisTier>, Arc<Recorder>) {
    let (tier, recorder) = (Arc::new(builder.build().unwrap()), Arc::new(Recorder::default()));
    attach(&tier, recorder.clone());
    wait_until_up(&tier).await;
    (tier, recorder)
}

/// Outcomes of several calls.
#[derive(Debug, Default)]
struct Calls {
    answered: usize,
    /// Calls that waited for their whole budget, and got nothing.
    timed_out: usize,
    /// Calls that ended later than a tenth of the budget after it, while the pulse was late as well. The tier does
    /// not count them against Redis.
    late: usize,
    /// Calls that were not sent.
    rejected: usize,
}

impl Calls {
    /// Makes `each` calls, one after the other, from each of `callers` concurrent tasks.
    async fn make(tier: &Arc<RedisTier>, pulse: &Arc<Pulse>, callers: usize, each: usize) -> Self {
        let (mut tasks, shed) = (JoinSet::new(), tier.health().shed);
        for _ in 0..callers {
            let (tier, pulse) = (tier.clone(), pulse.clone());
            tasks.spawn(async move {
                let (mut answered, mut late) = (0, 0);
                for _ in 0..each {
                    let began = Instant::now();
                    let is_answered = get(&tier, "key").await.is_ok();
                    answered += usize::from(is_answered);
                    let ended = Instant::now();
                    let is_long = ended.duration_since(began) > BUDGET + BUDGET / 10;
                    late +=
                        usize::from(!is_answered && is_long && !pulse.delay_between(began, ended).is_zero());
                }
                (answered, late)
            });
        }
        let (mut answered, mut late) = (0, 0);
        while let Some(more) = tasks.join_next().await {
            let (more_answered, more_late) = more.unwrap();
            answered += more_answered;
            late += more_late;
        }
        let rejected = usize::try_from(tier.health().shed - shed).unwrap();
        Self { answered, timed_out: callers * each - answered - rejected, late, rejected }
    }
}

/// Returns the output of a call that must not wait for anything.
async fn at_once<T>(call: impl Future<Output = T>) -> T {
    let mut call = pin!(call);
    poll_fn(|cx| {
        let Poll::Ready(output) = call.as_mut().poll(cx) else { panic!("it waits") };
        Poll::Ready(output)
    })
    .await
}

/// Reads until the breaker is open.
async fn wait_until_open(tier: &RedisTier) {
    eventually_async("the breaker is open", async || {
        let _ = get(tier, "key").await;
        tier.health().breaker_open
    })
    .await;
    assert!(!tier.ready());
}

/// Waits until the breaker is closed, without any reads.
async fn wait_until_closed(tier: &RedisTier) {
    eventually_async("the breaker is closed", async || !tier.health().breaker_open).await;
}

#[tokio::test]
async fn sequential_callers_wait_for_a_frozen_server_four_times() {
    let server = RedisServer::start();
    let pulse = Arc::new(Pulse::start());
    let (tier, _) = connected(&server.url()).await;
    server.freeze();
    let calls = Calls::make(&tier, &pulse, 1, 1000).await;
    assert_eq!((calls.answered, calls.timed_out + calls.rejected), (0, 1000));
    // Even if every second call is late, the fourth of the others comes before the twentieth call.
    let most = 4 + calls.late.min(16);
    assert!((4..=most).contains(&calls.timed_out), "{calls:?}");
    assert!(!tier.ready());
    assert_eq!(tier.state(), RedisState::Degraded);

    server.thaw();
    wait_until_closed(&tier).await;
    let (pulse, began) = (Arc::new(Pulse::start()), Instant::now());
    let calls = Calls::make(&tier, &pulse, 1, 100).await;
    assert!((calls.answered, tier.health().breaker_opened) == (100, 1) || pulse.was_slow(began), "{calls:?}");
}

#[tokio::test]
async fn each_concurrent_caller_waits_for_a_frozen_server_once() {
    let server = RedisServer::start();
    let pulse = Arc::new(Pulse::start());
    let (tier, _) = connected(&server.url()).await;
    server.freeze();
    let calls = Calls::make(&tier, &pulse, 50, 200).await;
    // Three callers may start another call before the fourth has reported its timeout.
    assert!(calls.timed_out <= 53 + calls.late, "{calls:?}");
    assert_eq!(calls.timed_out + calls.rejected, 10_000);
}

#[tokio::test]
async fn only_the_first_call_waits_for_a_server_frozen_from_the_start() {
    let server = RedisServer::start();
    server.freeze();
    let tier = Arc::new(builder(&server.url()).build().unwrap());
    // Only a call from before the end of the first attempt waits. Here the calls are sequential.
    assert_eq!(get(&tier, "key").await, Err(TierError::Unavailable));
    for _ in 0..999 {
        assert_eq!(at_once(get(&tier, "key")).await, Err(TierError::Unavailable));
    }
    assert_eq!(tier.state(), RedisState::Down);
    server.thaw();
    wait_until_up_again(&tier).await;
}

async fn wait_until_up_again(tier: &RedisTier) {
    eventually_async("the server is asked again", async || get(tier, "key").await.is_ok()).await;
    assert_eq!(tier.state(), RedisState::Up);
}

#[tokio::test]
async fn open_breaker_rejects_reads_without_sending() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    // Without a cache, a heartbeat is a `PING`.
    let tier = builder(&proxy.url()).build().unwrap();
    wait_until_up(&tier).await;
    server.freeze();
    wait_until_open(&tier).await;

    let shed = tier.health().shed;
    proxy.take_round_trips();
    for _ in 0..1000 {
        assert_eq!(at_once(get(&tier, "canary")).await, Err(TierError::Unavailable));
        assert_eq!(at_once(tier.exists("canary")).await, Err(TierError::Unavailable));
        let claim = lease_request("canary", token(), LeaseMode::IfAbsent);
        assert_eq!(at_once(lease(&tier, claim)).await, Err(TierError::Unavailable));
    }
    assert_eq!(tier.health().shed, shed + 3000);
    let sent = proxy.take_round_trips().concat();
    assert!(!String::from_utf8_lossy(&sent).contains("canary"));
    server.thaw();
    wait_until_up_again(&tier).await;
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test]
async fn slow_server_opens_breaker_and_fast_one_closes_it() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let (tier, recorder) = connected(&proxy.url()).await;
    let restored = recorder.restored.load(Ordering::SeqCst);

    // In time, but barely.
    proxy.set_mode(Mode::Delay(BUDGET * 9 / 10));
    wait_until_open(&tier).await;
    assert_eq!(recorder.restored.load(Ordering::SeqCst), restored);

    proxy.set_mode(Mode::Pass);
    wait_until_closed(&tier).await;
    assert!(tier.ready());
    assert_eq!(
        recorder.restored.load(Ordering::SeqCst),
        restored + 1,
        "undelivered invalidations may be sent now"
    );
    assert!(get(&tier, "key").await.is_ok());
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test]
async fn breaker_closes_within_a_second_with_default_settings() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = RedisTier::builder(proxy.url()).build().unwrap();
    attach(&tier, Arc::new(Recorder::default()));
    wait_until_up(&tier).await;
    proxy.set_mode(Mode::Delay(Duration::from_millis(200)));
    wait_until_open(&tier).await;
    // Long enough for the pauses between probes to reach their maximum.
    let mut probes = 0;
    proxy.take_round_trips();
    eventually_async("it was probed in vain", async || {
        probes += proxy.take_round_trips().len();
        probes > 15
    })
    .await;
    assert!(tier.health().breaker_open);

    let (pulse, began) = (Pulse::start(), Instant::now());
    proxy.set_mode(Mode::Pass);
    wait_until_closed(&tier).await;
    let took = pulse.elapsed_since(began);
    println!("closed after {took:?}");
    assert!(took < Duration::from_millis(1500), "{took:?}");
}

#[tokio::test]
async fn writes_continue_while_breaker_is_open() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let (tier, _) = connected(&proxy.url()).await;
    put(&tier, "key", vec![1], MINUTE).await.unwrap();
    let mine = token();
    lease(&tier, lease_request("mine", mine, LeaseMode::Always)).await.unwrap();

    proxy.set_mode(Mode::Delay(BUDGET * 2));
    wait_until_open(&tier).await;
    assert_eq!(delete(&tier, "key").await, Ok(()));
    assert_eq!(server.cli(&["EXISTS", "key"]), "0");
    assert_eq!(fill(&tier, tier_fill("mine", mine, vec![2], MINUTE)).await, Ok(true));
    assert!(tier.health().breaker_open);
}

#[tokio::test]
async fn mute_connection_is_replaced_within_two_seconds_with_default_settings() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = RedisTier::builder(proxy.url()).build().unwrap();
    let pulse = Pulse::start();
    // Heartbeats are one second apart, so the reads must detect the fault.
    wait_until_up(&tier).await;
    proxy.set_mode(Mode::Swallow);
    proxy.set_mode(Mode::Pass);

    let began = Instant::now();
    assert_eq!(get(&tier, "key").await, Err(TierError::Timeout));
    eventually_async("it is connected again", async || {
        proxy.connections() > 1 && get(&tier, "key").await.is_ok()
    })
    .await;
    let took = pulse.elapsed_since(began);
    println!("replaced after {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(tier.health().reconnects, 1);
}

#[tokio::test]
async fn read_timeout_triggers_a_connection_check() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let (tier, pulse) = (builder(&proxy.url()).build().unwrap(), Pulse::start());
    wait_until_up(&tier).await;
    let pings = || {
        let sent = proxy.take_round_trips().concat();
        String::from_utf8_lossy(&sent).matches("PING").count()
    };
    eventually_async("a heartbeat is over", async || pings() > 0).await;
    server.freeze();
    let began = Instant::now();
    assert_eq!(get(&tier, "key").await, Err(TierError::Timeout));
    eventually_async("a heartbeat follows", async || pings() > 0).await;
    let took = pulse.elapsed_since(began);
    assert!(took < Duration::from_millis(700), "without it, the next one came after a second");
}

#[tokio::test]
async fn reads_beyond_the_limit_fail_at_once() {
    let server = RedisServer::start();
    let tier = crate::support::builder(&server.url()).max_in_flight(8).build().unwrap();
    wait_until_up(&tier).await;
    server.freeze();
    let tier = Arc::new(tier);
    let mut waiting = JoinSet::new();
    for _ in 0..9 {
        let tier = tier.clone();
        waiting.spawn(async move { get(&tier, "key").await });
    }
    assert_eq!(waiting.join_next().await.unwrap().unwrap(), Err(TierError::Unavailable));
    // Each rejected call counts as one that took too long.
    for rejected in 1..=3 {
        assert_eq!((tier.health().shed, tier.health().breaker_open), (rejected, false));
        assert_eq!(get(&tier, "key").await, Err(TierError::Unavailable));
    }
    assert!(tier.health().breaker_open);
    assert_eq!(waiting.len(), 8);

    server.thaw();
    while let Some(read) = waiting.join_next().await {
        assert_eq!(read.unwrap(), Ok(None));
    }
    wait_until_up_again(&tier).await;
}

#[tokio::test]
async fn writes_beyond_the_limit_fail_and_do_not_open_breaker() {
    let server = RedisServer::start();
    let tier = Arc::new(crate::support::builder(&server.url()).max_in_flight(2).build().unwrap());
    attach(&tier, Arc::new(Recorder::default()));
    wait_until_up(&tier).await;
    server.freeze();
    let mut waiting = JoinSet::new();
    for _ in 0..10 {
        let tier = tier.clone();
        waiting.spawn(async move { delete(&tier, "key").await });
    }
    let mut rejected = 0;
    while rejected < 8 {
        assert_eq!(waiting.join_next().await.unwrap().unwrap(), Err(TierError::Unavailable));
        rejected += 1;
    }
    assert!(!tier.health().breaker_open);
    server.thaw();
    while let Some(deleted) = waiting.join_next().await {
        assert_eq!(deleted.unwrap(), Ok(()));
    }
}

#[tokio::test]
async fn refusals_do_not_open_breaker() {
    let server = RedisServer::start();
    let (tier, _) = connected_as(crate::support::builder(&server.url())).await;
    server.cli(&["CONFIG", "SET", "replica-serve-stale-data", "no"]);
    server.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    for _ in 0..100 {
        assert_eq!(get(&tier, "key").await, Err(refused("MASTERDOWN")));
    }
    assert!(tier.ready());
    assert_eq!(tier.state(), RedisState::Degraded);
    assert_eq!(tier.health().breaker_opened, 0);

    server.cli(&["REPLICAOF", "NO", "ONE"]);
    eventually_async("it is up again", async || tier.state() == RedisState::Up).await;
}

#[tokio::test]
async fn cancelled_reads_do_not_open_breaker() {
    let server = RedisServer::start();
    let tier = crate::support::builder(&server.url()).operation_timeout(AMPLE).build().unwrap();
    wait_until_up(&tier).await;
    server.freeze();
    for _ in 0..20 {
        let read = tokio::time::timeout(Duration::from_millis(1), get(&tier, "key")).await;
        assert!(read.is_err());
    }
    assert_eq!(tier.health().breaker_opened, 0);
    server.thaw();
    wait_until_up_again(&tier).await;
}

#[tokio::test]
async fn healthy_server_never_opens_breaker() {
    let server = RedisServer::start();
    // Default settings.
    let tier = Arc::new(RedisTier::builder(server.url()).build().unwrap());
    attach(&tier, Arc::new(Recorder::default()));
    wait_until_up(&tier).await;
    let (pulse, began) = (Arc::new(Pulse::start()), Instant::now());
    let calls = Calls::make(&tier, &pulse, 4, 5000).await;
    let health = tier.health();
    let met = (health.breaker_opened, health.shed, health.reconnects, calls.answered);
    // On a machine with delays, the server does not count as healthy.
    assert!(met == (0, 0, 0, 20_000) || pulse.was_slow(began), "{health:?} {calls:?}");
}

#[tokio::test]
async fn state_changes_are_reported_in_order() {
    let mut server = RedisServer::start();
    let tier = builder(&server.url()).build().unwrap();
    attach(&tier, Arc::new(Recorder::default()));
    let mut watch = tier.watch_state();
    assert_eq!((watch.state(), tier.health().last_answer_ms), (RedisState::Untried, None));
    wait_until_up(&tier).await;
    assert_eq!(watch.changed().await, RedisState::Up);
    let health = tier.health();
    assert!(health.tracking && health.registered && health.last_answer_ms.is_some(), "{health:?}");

    server.freeze();
    wait_until_open(&tier).await;
    assert_eq!(watch.changed().await, RedisState::Degraded);
    server.thaw();
    assert_eq!(watch.changed().await, RedisState::Up);
    server.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    assert_eq!(watch.changed().await, RedisState::Degraded);
    server.cli(&["REPLICAOF", "NO", "ONE"]);
    assert_eq!(watch.changed().await, RedisState::Up);
    server.kill();
    assert_eq!(watch.changed().await, RedisState::Down);
    wait_until_down(&tier).await;
    server.restart();
    assert_eq!(watch.changed().await, RedisState::Up);

    let health = tier.health();
    assert!(health.reconnects >= 1, "{health:?}");
    drop(tier);
    assert_eq!(watch.changed().await, RedisState::Down);
    let over = tokio::time::timeout(Duration::from_millis(10), watch.changed()).await;
    assert!(over.is_err(), "nothing comes after the end");
}

#[tokio::test]
async fn server_without_tracking_is_degraded() {
    let server = RedisServer::start();
    server.cli(&["ACL", "SETUSER", "default", "-client"]);
    let (tier, _) = connected(&server.url()).await;
    assert_eq!(tier.state(), RedisState::Degraded);
    assert!(!tier.health().tracking);
}

#[tokio::test]
async fn open_breaker_ends_the_registration_of_an_untracked_connection() {
    let server = RedisServer::start();
    server.cli(&["ACL", "SETUSER", "default", "-client"]);
    let proxy = Proxy::start(server.port());
    let (tier, _) = connected(&proxy.url()).await;
    proxy.take_round_trips();
    proxy.set_mode(Mode::Delay(BUDGET * 2));
    wait_until_open(&tier).await;
    // The first ones may have been under way when the breaker opened.
    let mut heartbeats = 0;
    eventually_async("it beats", async || {
        heartbeats += proxy.take_round_trips().len();
        heartbeats > 2
    })
    .await;
    let mut sent = Vec::new();
    eventually_async("it beats on", async || {
        sent.extend(proxy.take_round_trips());
        sent.len() > 3
    })
    .await;
    let sent = String::from_utf8_lossy(&sent.concat()).into_owned();
    assert!(sent.contains("ns:%poke") && !sent.contains("ns:%members"), "{sent}");
}

#[test]
fn health_is_serializable_and_hides_the_password() {
    let tier = RedisTier::builder("redis://user:canary@localhost:1/").build().unwrap();
    let json = serde_json::to_string(&tier.health()).unwrap();
    assert!(json.contains(r#""state":"untried""#) && !json.contains("canary"), "{json}");
    assert_eq!(serde_json::from_str::<RedisHealth>(&json).unwrap(), tier.health());
}

#[tokio::test]
async fn refusal_counts_as_an_answer_for_breaker() {
    let server = RedisServer::start();
    server.cli(&["RPUSH", "list", "someone else's"]);
    let proxy = Proxy::start(server.port());
    // With this budget, a reply is in time on a busy machine as well.
    let budget = Duration::from_secs(1);
    let (tier, _) = connected_as(builder(&proxy.url()).operation_timeout(budget)).await;
    let wait_in_vain = async |times: usize| {
        proxy.set_mode(Mode::Delay(2 * budget));
        for _ in 0..times {
            assert_eq!(get(&tier, "key").await, Err(TierError::Timeout));
        }
        proxy.set_mode(Mode::Pass);
        // The breaker judges only reads. The server answers this delete after the late replies.
        delete(&tier, "another").await.unwrap();
    };
    wait_in_vain(3).await;
    for _ in 0..8 {
        assert_eq!(get(&tier, "list").await, Err(refused("WRONGTYPE")));
    }
    wait_in_vain(1).await;
    assert!(!tier.health().breaker_open, "only one of the last eight had none");
}

/// Each caller blocks the only thread of its runtime for longer than a budget after each reply.
#[tokio::test]
async fn busy_process_does_not_open_the_breaker() {
    const KEYS: usize = 16;

    let server = RedisServer::start();
    let (tier, _) = connected(&server.url()).await;
    for key in 0..KEYS {
        put(&tier, &key.to_string(), vec![7], MINUTE).await.unwrap();
    }
    let opened = tier.health().breaker_opened;
    let mut tasks = JoinSet::new();
    for key in 0..KEYS {
        let tier = tier.clone();
        tasks.spawn(async move {
            for _ in 0..3 {
                assert!(get(&tier, &key.to_string()).await.unwrap().is_some());
                std::thread::sleep(BUDGET * 6 / 5);
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    assert_eq!(tier.health().breaker_opened, opened);
}

/// A server that exceeds the tier's budget is still asked by calls with a larger one.
///
/// For these calls, it does not count as slow.
#[tokio::test]
async fn call_with_a_larger_budget_waits_for_longer() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let (tier, _) = connected(&proxy.url()).await;
    put(&tier, "key", vec![7], MINUTE).await.unwrap();
    proxy.set_mode(Mode::Delay(BUDGET));
    for _ in 0..8 {
        for budget in [Budget::AtLeast(AMPLE), Budget::Exactly(AMPLE)] {
            let (record, _) = tier.get_within("key", budget).await.unwrap();
            assert!(matches!(record, Record::Value(_)));
            let lookups = [Lookup::new("key")];
            assert_eq!(tier.lookup_within(&lookups, &[], budget).await.unwrap().records.len(), 1);
        }
    }
    let health = tier.health();
    assert!(!health.breaker_open && health.breaker_opened == 0, "{health:?}");
    assert_eq!(tier.get_within("key", Budget::Exactly(BUDGET / 10)).await.unwrap_err(), TierError::Timeout);
}
