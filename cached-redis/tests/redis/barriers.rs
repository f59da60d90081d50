//! Barriers: a change is confirmed once each member has handled it or may not serve any more.

use std::{
    collections::HashMap,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use cached_core::{
    TierError,
    tier::{ChangeListener, Tier},
};
use cached_redis::RedisTier;
use redis_harness::{RedisServer, eventually, eventually_async};
use tokio::runtime::Runtime;

use crate::support::{
    AMPLE, MINUTE, Recorder, attach, attach_with, attached_tier, builder, bytes, debug_field, delete, feed,
    put, refused, tier, wait_until_up,
};

const BOUND: Duration = Duration::from_millis(200);
const GRACE: Duration = Duration::from_millis(300);

/// Maximum time until a broken connection is detected.
const CHECK: Duration = Duration::from_secs(1);

/// Returns a tier that may serve for at most 2.5 s after it registered, with [`BOUND`] and [`GRACE`].
fn short_lived_tier(server: &RedisServer) -> RedisTier {
    builder(&server.url()).connect_timeout(CHECK).build().unwrap()
}

/// Returns the registration of each member: until when it may serve, and the barrier it acknowledges.
fn registrations(server: &RedisServer) -> HashMap<String, String> {
    let text = server.cli(&["HGETALL", "ns:%members"]);
    let mut lines = text.lines();
    std::iter::from_fn(|| Some((lines.next()?.to_owned(), lines.next()?.to_owned()))).collect()
}

/// Returns the server's clock, in milliseconds.
pub(crate) fn server_time_ms(server: &RedisServer) -> u64 {
    let text = server.cli(&["TIME"]);
    let (seconds, micros) = text.split_once('\n').unwrap();
    seconds.parse::<u64>().unwrap() * 1000 + micros.parse::<u64>().unwrap() / 1000
}

/// Returns the number of queries for the members so far.
fn member_queries(server: &RedisServer) -> usize {
    let stats = server.cli(&["INFO", "commandstats"]);
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_hgetall:calls="));
    calls.map_or(0, |calls| calls.split(',').next().unwrap().parse().unwrap())
}

/// Listener that blocks on each change until the gate is open.
#[derive(Debug, Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
    waiting: AtomicUsize,
}

impl Gate {
    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

impl ChangeListener for Gate {
    fn changed(&self, _: &[u8]) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let is_open = self.is_open.lock().unwrap();
        drop(self.opened.wait_while(is_open, |is_open| !*is_open).unwrap());
    }

    fn all_changed(&self) {}

    fn restored(&self) {}
}

/// Opens the gate when a test ends, even if it failed: a runtime ends only after its threads.
struct OpenOnDrop(Arc<Gate>);

impl Drop for OpenOnDrop {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// Simulation of another process: a tier on a runtime of its own.
struct Process {
    runtime: Runtime,
    tier: RedisTier,
}

impl Process {
    fn start(
        server: &RedisServer,
        watcher: Arc<dyn ChangeListener>,
        bound: Duration,
        grace: Duration,
    ) -> Self {
        let (runtime, tier) = (Runtime::new().unwrap(), short_lived_tier(server));
        attach_with(&tier, watcher, bound, grace);
        runtime.block_on(wait_until_up(&tier));
        Self { runtime, tier }
    }

    /// Blocks the process at its gate: it neither handles a change nor sends anything.
    fn block_at(&self, server: &RedisServer, gate: &Gate) {
        self.runtime.block_on(bytes(&self.tier, "gate"));
        server.cli(&["SET", "gate", "1"]);
        eventually("the process waits at its gate", || gate.waiting.load(Ordering::SeqCst) > 0);
    }
}

#[tokio::test]
async fn member_registers_and_renews_its_registration() {
    let server = RedisServer::start();
    let tier = short_lived_tier(&server);
    attach_with(&tier, Arc::new(Recorder::default()), BOUND, GRACE);
    wait_until_up(&tier).await;
    let begin = server_time_ms(&server);
    let (id, first) = registrations(&server).into_iter().next().unwrap();
    assert_eq!(id.len(), 32);
    let (until, handled) = first.split_once(':').unwrap();
    let until: u64 = until.parse().unwrap();
    assert!(until <= begin + 2500, "bound, grace, heartbeat, check");
    assert!(until > begin + 1500);
    assert_eq!(handled, "0");
    eventually_async("it registers again", async || registrations(&server)[&id] != first).await;
    assert_eq!(registrations(&server).len(), 1);
    assert!(server.cli(&["PTTL", "ns:%members"]).parse::<u64>().unwrap() > 24 * 60 * 60 * 1000);
}

#[tokio::test]
async fn confirm_returns_at_once_for_a_single_member() {
    let server = RedisServer::start();
    let (tier, _) = attached_tier(&server.url()).await;
    tier.confirm().await.unwrap();
    let unattached = self::tier(&server.url());
    unattached.confirm().await.unwrap();
}

#[test]
fn confirm_waits_until_every_member_acknowledges() {
    let server = RedisServer::start();
    let gate = Arc::new(Gate::default());
    let (here, there) = (
        Process::start(&server, Arc::new(Recorder::default()), MINUTE, MINUTE),
        Process::start(&server, gate.clone(), MINUTE, MINUTE),
    );
    here.runtime.block_on(put(&here.tier, "key", vec![1], MINUTE)).unwrap();
    assert_eq!(there.runtime.block_on(bytes(&there.tier, "key")), Some(vec![1]));

    let may_end = AtomicBool::new(false);
    thread::scope(|scope| {
        let _open_on_drop = OpenOnDrop(gate.clone());
        let confirmed = scope.spawn(|| {
            here.runtime.block_on(async {
                delete(&here.tier, "key").await.unwrap();
                here.tier.confirm().await.unwrap();
            });
            may_end.load(Ordering::SeqCst)
        });
        eventually("the change is being handled", || gate.waiting.load(Ordering::SeqCst) > 0);
        let queries_before = member_queries(&server);
        eventually("it was asked for several times", || member_queries(&server) > queries_before + 5);
        may_end.store(true, Ordering::SeqCst);
        gate.open();
        assert!(confirmed.join().unwrap(), "confirmed although a member had not handled it");
    });
}

/// The bounds are long, so only immediate heartbeats end this in time.
#[tokio::test]
async fn members_acknowledge_at_once() {
    let server = RedisServer::start();
    let (here, there) = (tier(&server.url()), tier(&server.url()));
    for tier in [&here, &there] {
        attach_with(tier, Arc::new(Recorder::default()), MINUTE, MINUTE);
        wait_until_up(tier).await;
    }
    let begin = std::time::Instant::now();
    for _ in 0..20 {
        here.confirm().await.unwrap();
        there.confirm().await.unwrap();
    }
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

#[test]
fn confirm_waits_until_a_vanished_member_expires() {
    let server = RedisServer::start();
    let here = Process::start(&server, Arc::new(Recorder::default()), BOUND, GRACE);
    let mine: Vec<_> = registrations(&server).into_keys().collect();
    let there = Process::start(&server, Arc::new(Recorder::default()), BOUND, Duration::from_secs(2));
    drop(there);
    let theirs = registrations(&server).into_iter().find(|(id, _)| *id != mine[0]).unwrap().1;
    let until: u64 = theirs.split_once(':').unwrap().0.parse().unwrap();
    assert!(server_time_ms(&server) < until, "there is nothing to wait for");
    here.runtime.block_on(here.tier.confirm()).unwrap();
    assert!(server_time_ms(&server) >= until);
}

#[test]
fn confirm_waits_for_unknown_members_when_registry_is_lost() {
    let server = RedisServer::start();
    let gate = Arc::new(Gate::default());
    let here = Process::start(&server, Arc::new(Recorder::default()), BOUND, GRACE);
    let there = Process::start(&server, gate.clone(), BOUND, GRACE);
    let _open_on_drop = OpenOnDrop(gate.clone());
    there.block_at(&server, &gate);
    server.cli(&["DEL", "ns:%members"]);
    let lost = server_time_ms(&server);
    here.runtime.block_on(here.tier.confirm()).unwrap();
    assert!(server_time_ms(&server) >= lost + 2500);
}

#[tokio::test]
async fn barrier_numbers_keep_growing_after_a_flush() {
    let server = RedisServer::start();
    let tier = short_lived_tier(&server);
    attach_with(&tier, Arc::new(Recorder::default()), BOUND, GRACE);
    wait_until_up(&tier).await;
    let confirm_and_read_barrier = async || {
        tier.confirm().await.unwrap();
        server.cli(&["GET", "ns:%poke"]).parse::<u64>().unwrap()
    };
    let first = confirm_and_read_barrier().await;
    let second = confirm_and_read_barrier().await;
    assert!(second > first);
    server.cli(&["FLUSHALL"]);
    assert!(confirm_and_read_barrier().await > second);
}

/// The barrier key is lost with everything else, so no member can read it any more.
#[test]
fn confirm_ends_when_a_flush_removes_the_barrier() {
    let server = RedisServer::start();
    let gate = Arc::new(Gate::default());
    let here = Process::start(&server, Arc::new(Recorder::default()), BOUND, GRACE);
    let there = Process::start(&server, gate.clone(), BOUND, GRACE);
    let _open_on_drop = OpenOnDrop(gate.clone());
    there.block_at(&server, &gate);
    let queries_before = member_queries(&server);
    thread::scope(|scope| {
        let confirm = async { tokio::time::timeout(MINUTE, here.tier.confirm()).await };
        let confirmed = scope.spawn(|| here.runtime.block_on(confirm));
        eventually("it waits", || member_queries(&server) > queries_before + 3);
        server.cli(&["FLUSHALL"]);
        gate.open();
        assert_eq!(confirmed.join().unwrap(), Ok(Ok(())));
    });
}

#[tokio::test]
async fn confirm_after_reconnect_waits_for_the_bound() {
    let server = RedisServer::start();
    let (here, there) = (tier(&server.url()), tier(&server.url()));
    for tier in [&here, &there] {
        attach_with(tier, Arc::new(Recorder::default()), Duration::from_secs(2), AMPLE);
        wait_until_up(tier).await;
    }
    here.confirm().await.unwrap();
    let begin = server_time_ms(&server);
    // Both tiers get new connections.
    server.cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    eventually_async("both are there again", async || {
        here.exists("any").await.is_ok() && there.exists("any").await.is_ok()
    })
    .await;
    here.confirm().await.unwrap();
    assert!(server_time_ms(&server) >= begin + 2000);
}

/// The acknowledgement includes changes that the previous connection cannot have delivered.
#[tokio::test]
async fn acknowledgement_ends_the_grace_of_earlier_connections() {
    let server = RedisServer::start();
    let (here, there) = (tier(&server.url()), tier(&server.url()));
    for tier in [&here, &there] {
        attach_with(tier, Arc::new(Recorder::default()), BOUND, AMPLE);
        wait_until_up(tier).await;
    }
    let before = feed(&there).await;
    server.cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    eventually_async("both are there again", async || {
        here.exists("any").await.is_ok() && there.exists("any").await.is_ok()
    })
    .await;
    assert!(!Arc::ptr_eq(&before, &feed(&there).await));
    assert_eq!(debug_field(&before, "has_grace"), "true");
    here.confirm().await.unwrap();
    assert_eq!(debug_field(&before, "has_grace"), "false");
    assert_eq!(debug_field(&*feed(&there).await, "has_grace"), "true");
}

#[tokio::test]
async fn broken_connection_fails_confirm() {
    let mut server = RedisServer::start();
    let (here, there) = (tier(&server.url()), tier(&server.url()));
    attach_with(&here, Arc::new(Recorder::default()), BOUND, GRACE);
    attach_with(&there, Arc::new(Recorder::default()), MINUTE, MINUTE);
    wait_until_up(&here).await;
    wait_until_up(&there).await;
    // Outside of a runtime, the tier cannot deregister.
    thread::spawn(move || drop(there)).join().unwrap();
    let queries_before = member_queries(&server);
    let kill = async {
        eventually_async("it waits", async || member_queries(&server) > queries_before + 3).await;
        server.kill();
    };
    let (outcome, ()) = tokio::join!(here.confirm(), kill);
    assert_eq!(outcome, Err(TierError::Unavailable));
}

#[tokio::test]
async fn confirm_fails_when_the_server_is_full() {
    let server = RedisServer::start();
    let (tier, _) = attached_tier(&server.url()).await;
    tier.confirm().await.unwrap();
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(tier.confirm().await, Err(refused("OOM")));
}

/// Entries without pushes are valid for the bound, and the acknowledgement comes only after that.
#[tokio::test]
async fn untracked_member_acknowledges_after_the_bound() {
    let server = RedisServer::start();
    let rules = "ACL SETUSER worker on >secret ~* &* +@all -client";
    server.cli(&rules.split(' ').collect::<Vec<_>>());
    let there = builder(&format!("redis://worker:secret@127.0.0.1:{}/", server.port())).build().unwrap();
    attach(&there, Arc::new(Recorder::default()));
    wait_until_up(&there).await;
    let (here, _) = attached_tier(&server.url()).await;
    let begin = server_time_ms(&server);
    here.confirm().await.unwrap();
    assert!(server_time_ms(&server) >= begin + 1000);
}

/// A read of the registry makes the server push the next heartbeat of any member.
#[tokio::test]
async fn heartbeats_are_not_reported_as_changes() {
    let server = RedisServer::start();
    let ((here, recorder), (_there, _)) =
        (attached_tier(&server.url()).await, attached_tier(&server.url()).await);
    for _ in 0..3 {
        here.confirm().await.unwrap();
        let before = registrations(&server);
        eventually_async("all have registered again", async || {
            let now = registrations(&server);
            before.iter().all(|(id, registration)| now[id] != *registration)
        })
        .await;
        here.exists("any").await.unwrap();
        assert_eq!(recorder.take(), [""; 0]);
    }
}

/// A registry that keeps all members would grow with every process that ever existed.
#[tokio::test]
async fn new_member_removes_long_expired_members() {
    let server = RedisServer::start();
    let soon = (server_time_ms(&server) + 5_000).to_string() + ":0";
    server.cli(&["HSET", "ns:%members", "gone", "1000:0", "there", &soon, "lost", "1000", "noise", "?"]);
    let (_tier, _) = attached_tier(&server.url()).await;
    eventually_async("it has registered", async || registrations(&server).len() == 4).await;
    assert_eq!(registrations(&server).get("gone"), None);
}

#[tokio::test]
async fn dropped_or_closed_tier_deregisters() {
    let server = RedisServer::start();
    let (here, _) = attached_tier(&server.url()).await;
    for is_closed in [false, true] {
        let (there, _) = attached_tier(&server.url()).await;
        put(&there, "key", vec![1], MINUTE).await.unwrap();
        assert_eq!(registrations(&server).len(), 2);
        if is_closed {
            there.close().await;
            assert_eq!(registrations(&server).len(), 1, "it has left");
            assert!(!there.ready());
            assert_eq!(there.exists("key").await, Err(TierError::Unavailable));
        } else {
            drop(there);
            eventually_async("it has left", async || registrations(&server).len() == 1).await;
        }
        let begin = std::time::Instant::now();
        delete(&here, "key").await.unwrap();
        here.confirm().await.unwrap();
        // The other process might have served for a minute.
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    }
}

/// Returns the number of commands since the last reset, including those in scripts.
fn command_count(server: &RedisServer) -> u64 {
    let stats = server.cli(&["INFO", "commandstats"]);
    let lines = stats.lines().filter(|line| !line.starts_with("cmdstat_config") && !line.contains("setinfo"));
    lines.filter_map(|line| line.split_once("calls=")?.1.split(',').next()?.parse::<u64>().ok()).sum()
}

#[tokio::test]
async fn concurrent_confirms_share_a_barrier() {
    const PROCESSES: u64 = 50;
    const CALLS: u64 = 40;
    let server = RedisServer::start();
    let mut tiers = Vec::new();
    for _ in 0..PROCESSES {
        tiers.push(attached_tier(&server.url()).await.0);
    }
    let here = &tiers[0];
    // Heartbeats during the measurement are subtracted.
    let begin = std::time::Instant::now();
    server.cli(&["CONFIG", "RESETSTAT"]);
    for _ in 0..10 {
        here.confirm().await.unwrap();
    }
    let one_by_one = command_count(&server);
    let heartbeats = (begin.elapsed().as_secs() * 4 / 3 + 2) * PROCESSES * 10;
    println!("{one_by_one} commands for 10, of which at most {heartbeats} are heartbeats");
    assert!(one_by_one.saturating_sub(heartbeats) <= 10 * PROCESSES * 7, "{one_by_one} commands");

    server.cli(&["CONFIG", "RESETSTAT"]);
    let begin = std::time::Instant::now();
    let here = Arc::new(tiers.swap_remove(0));
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..CALLS {
        let here = here.clone();
        all.spawn(async move { here.confirm().await });
    }
    while let Some(confirmed) = all.join_next().await {
        confirmed.unwrap().unwrap();
    }
    let together = command_count(&server);
    let heartbeats = (begin.elapsed().as_secs() * 4 / 3 + 2) * PROCESSES * 10;
    println!("{together} commands for {CALLS} at once, of which at most {heartbeats} are heartbeats");
    assert!(together.saturating_sub(heartbeats) <= 3 * PROCESSES * 7, "{together} commands");
}

#[tokio::test]
async fn confirm_ends_once_the_blocking_member_leaves() {
    let server = RedisServer::start();
    let (tier, _) = attached_tier(&server.url()).await;
    // A member that may serve for a minute and never acknowledges anything.
    let until = server_time_ms(&server) + 60_000;
    server.cli(&["HSET", "ns:%members", "gone", &format!("{until}:0")]);
    let gone = tokio::time::timeout(Duration::from_millis(50), tier.confirm()).await;
    assert!(gone.is_err(), "the member has not acknowledged the barrier");
    let tier = Arc::new(tier);
    let waiting = tokio::spawn({
        let tier = tier.clone();
        async move { tier.confirm().await }
    });
    eventually_async("it was asked for", async || member_queries(&server) > 5).await;
    server.cli(&["HDEL", "ns:%members", "gone"]);
    waiting.await.unwrap().unwrap();
    tier.confirm().await.unwrap();
}
