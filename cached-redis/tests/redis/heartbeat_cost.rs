//! Cost of heartbeats, and the commands that are saved while they are of no use.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cached_core::tier::{ChangeListener, Tier};
use cached_redis::{RedisState, RedisTier};
use redis_harness::{Mode, Proxy, RedisServer, eventually_async};
use tokio::time::sleep;

use crate::{
    barriers::server_time_ms,
    support::{
        AMPLE, MINUTE, Recorder, attach_with, builder, bytes, delete, feed, get, now, put, tier,
        wait_until_up, watermark,
    },
};

const BOUND: Duration = Duration::from_secs(1);

/// Listener of a cache that either always serves from memory, or never.
#[derive(Debug, Default)]
struct Served {
    count: AtomicU64,
    always: bool,
    recorder: Recorder,
}

impl ChangeListener for Served {
    fn changed(&self, key: &[u8]) {
        self.recorder.changed(key);
    }

    fn all_changed(&self) {
        self.recorder.all_changed();
    }

    fn restored(&self) {}

    fn served(&self) -> Option<u64> {
        Some(self.count.fetch_add(u64::from(self.always), Ordering::SeqCst))
    }
}

async fn attached_tier(
    url: &str,
    always: bool,
    bound: Duration,
    grace: Duration,
) -> (RedisTier, Arc<Served>) {
    let (tier, served) = (tier(url), Arc::new(Served { always, ..Served::default() }));
    attach_with(&tier, served.clone(), bound, grace);
    wait_until_up(&tier).await;
    (tier, served)
}

/// Returns the number of commands that the server runs in `time`, including those in scripts.
///
/// The commands of this measurement are not counted.
pub(crate) async fn commands_in(server: &RedisServer, time: Duration) -> u64 {
    server.cli(&["CONFIG", "RESETSTAT"]);
    sleep(time).await;
    let stats = server.cli(&["INFO", "commandstats"]);
    let calls = stats.lines().filter(|line| !line.starts_with("cmdstat_config"));
    calls.filter_map(|line| line.split_once("calls=")?.1.split(',').next()?.parse::<u64>().ok()).sum()
}

pub(crate) async fn wait_until_quiet(server: &RedisServer) {
    eventually_async("nothing is asked any more", async || {
        commands_in(server, Duration::from_millis(2500)).await == 0
    })
    .await;
}

/// Returns the time until which the only process is registered, by the server's clock.
fn registered_until(server: &RedisServer) -> u64 {
    let member = server.cli(&["HVALS", "ns:%members"]);
    member.split(':').next().unwrap().parse().unwrap()
}

async fn wait_until_expired(server: &RedisServer) {
    eventually_async("it is not registered any more", async || {
        registered_until(server) < server_time_ms(server)
    })
    .await;
}

#[tokio::test]
async fn unused_process_sends_almost_nothing() {
    let server = RedisServer::start();
    let mut tiers = Vec::new();
    for _ in 0..50 {
        tiers.push(attached_tier(&server.url(), false, BOUND, AMPLE).await);
    }
    wait_until_quiet(&server).await;
    // Each connection is checked every 20 s.
    let time = Duration::from_secs(22);
    let count = commands_in(&server, time).await;
    assert!(count <= 100, "{count} commands of 50 processes in {time:?}");
    for (tier, _) in &tiers {
        assert!(tier.ready());
    }
}

#[tokio::test]
async fn hits_in_memory_cost_at_most_four_commands_a_second() {
    for processes in [1_u32, 50] {
        let server = RedisServer::start();
        let mut tiers = Vec::new();
        for _ in 0..processes {
            tiers.push(attached_tier(&server.url(), true, BOUND, AMPLE).await.0);
        }
        let feed = feed(&tiers[0]).await;
        // Earlier operations cause additional commands for a while.
        eventually_async("nothing is asked beside heartbeats", async || {
            let time = Duration::from_secs(2);
            commands_in(&server, time).await <= u64::from(processes) * 12
        })
        .await;
        let begin = Instant::now();
        let mut oldest = 0;
        let watch = async {
            while begin.elapsed() < Duration::from_secs(10) {
                oldest = oldest.max(now().saturating_sub(watermark(&feed)));
                sleep(Duration::from_millis(5)).await;
            }
        };
        let (count, ()) = tokio::join!(commands_in(&server, Duration::from_secs(10)), watch);
        // One more heartbeat that registers may fall into the interval.
        let most = u64::from(processes) * (4 * 10 + 7);
        assert!(count <= most, "{count} commands of {processes} processes in 10 s");
        if processes == 1 {
            assert!(oldest < 1_000_000_000, "a proof was {oldest} ns old");
        }
    }
}

/// A process registers before it gets a value that it may serve.
#[tokio::test]
async fn first_read_after_a_pause_waits_for_a_registration() {
    let server = RedisServer::start();
    let listener = Arc::new(Served::default());
    let tier = builder(&server.url()).connect_timeout(Duration::from_secs(1)).build().unwrap();
    attach_with(&tier, listener, Duration::from_millis(200), Duration::from_millis(300));
    wait_until_up(&tier).await;
    let until = || registered_until(&server);
    wait_until_expired(&server).await;
    assert!(!tier.health().registered);
    assert_eq!(get(&tier, "key").await, Ok(None));
    assert!(
        until() >= server_time_ms(&server) + 500,
        "what was read may be served for the bound and the grace"
    );
}

#[tokio::test]
async fn key_stays_tracked_through_a_heartbeat_pause() {
    let server = RedisServer::start();
    let (tier, listener) = attached_tier(&server.url(), false, BOUND, AMPLE).await;
    let other = self::tier(&server.url());
    put(&tier, "key", vec![1], MINUTE).await.unwrap();
    let feed = feed(&tier).await;
    wait_until_quiet(&server).await;
    let pause = now();
    assert!(watermark(&feed) < pause);
    put(&other, "key", vec![2], MINUTE).await.unwrap();
    listener.recorder.wait_for_change("key").await;
    // A call that finds the watermark too old asks the server, and so do the calls after it.
    assert_eq!(bytes(&tier, "key").await, Some(vec![2]));
    assert!(watermark(&feed) > pause, "the read has waited for a heartbeat");
}

/// A process gets no pushes for its own writes while it writes.
#[tokio::test]
async fn own_writes_after_a_pause_are_not_pushed_back() {
    let server = RedisServer::start();
    let (tier, listener) = attached_tier(&server.url(), true, BOUND, AMPLE).await;
    // With `NOLOOP`, heartbeats cost more commands.
    eventually_async("everything is tracked", async || {
        commands_in(&server, Duration::from_secs(2)).await <= 12
    })
    .await;
    get(&tier, "key").await.unwrap();
    let begin = now();
    let feed = feed(&tier).await;
    eventually_async("there was a heartbeat", async || watermark(&feed) > begin).await;
    listener.recorder.take();
    for number in 0..5 {
        put(&tier, "key", vec![number], MINUTE).await.unwrap();
    }
    get(&tier, "another").await.unwrap();
    assert_eq!(listener.recorder.take(), Vec::<String>::new());
    server.cli(&["DEL", "key"]);
    listener.recorder.wait_for_change("key").await;
}

#[tokio::test]
async fn quiet_process_acknowledges_barriers_quickly() {
    let server = RedisServer::start();
    let (tier, _) = attached_tier(&server.url(), false, BOUND, MINUTE).await;
    let (other, _) = attached_tier(&server.url(), false, BOUND, MINUTE).await;
    wait_until_quiet(&server).await;
    assert!(tier.health().registered);
    let begin = Instant::now();
    delete(&other, "key").await.unwrap();
    other.confirm().await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn quiet_process_detects_a_lost_connection_at_once() {
    let server = RedisServer::start();
    let (tier, _) = attached_tier(&server.url(), false, BOUND, AMPLE).await;
    wait_until_quiet(&server).await;
    let begin = Instant::now();
    server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    eventually_async("it is connected again", async || tier.health().reconnects == 1).await;
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

/// The heartbeat that registers takes one round trip, and the read takes another one.
#[tokio::test]
async fn first_read_after_a_pause_keeps_its_whole_budget() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = builder(&proxy.url())
        .operation_timeout(Duration::from_millis(1700))
        .connect_timeout(Duration::from_secs(5))
        .build()
        .unwrap();
    attach_with(&tier, Arc::new(Served::default()), Duration::from_millis(200), Duration::from_millis(300));
    wait_until_up(&tier).await;
    put(&tier, "key", vec![1], MINUTE).await.unwrap();
    wait_until_expired(&server).await;
    proxy.set_mode(Mode::Delay(Duration::from_secs(1)));
    assert_eq!(bytes(&tier, "key").await, Some(vec![1]));
}

/// A replica answers reads, but accepts no registration.
#[tokio::test]
async fn refusing_server_is_still_read() {
    let server = RedisServer::start();
    let tier = builder(&server.url()).connect_timeout(Duration::from_secs(4)).build().unwrap();
    let (bound, grace) = (Duration::from_millis(200), Duration::from_millis(300));
    attach_with(&tier, Arc::new(Served::default()), bound, grace);
    wait_until_up(&tier).await;
    put(&tier, "key", vec![1], MINUTE).await.unwrap();
    server.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    eventually_async("it is noticed", async || tier.state() == RedisState::Degraded).await;
    // Longer than a registration is valid.
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(7) {
        assert_eq!(bytes(&tier, "key").await, Some(vec![1]));
        sleep(Duration::from_millis(20)).await;
    }
}
