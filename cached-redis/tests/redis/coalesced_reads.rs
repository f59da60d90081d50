//! Coalesced reads: concurrent reads share round trips, and no caller depends on another one.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, mpsc},
    task::{Context, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use cached_core::{
    TierError,
    tier::{LeaseMode, Record, Tier},
};
use cached_redis::{RedisHealth, RedisState, RedisTier};
use redis_harness::{Mode, Proxy, Pulse, RedisServer, eventually_async};
use tokio::{
    runtime::{Builder, Runtime},
    task::{JoinHandle, yield_now},
    time::timeout,
};

use crate::support::{
    AT_ONCE, MINUTE, Recorder, attach, attached_tier, builder, lease, lease_request, put, refused, tier,
    token, wait_until_up,
};

/// Number of concurrent reads, more than are sent one by one.
const CROWD: usize = 200;

/// Maximum number of reads in a round.
const MAX_ROUND: usize = 64;

/// Number of waiting reads from which on a further one joins a round.
const ROUND_THRESHOLD: usize = 8;

type Answer = Result<Option<Vec<u8>>, TierError>;

type Reading = Pin<Box<dyn Future<Output = Answer> + Send>>;

async fn read(tier: &RedisTier, key: &str) -> Answer {
    match tier.get(key).await?.0 {
        Record::Absent => Ok(None),
        Record::Value(stored) => Ok(Some(stored.bytes)),
        other => panic!("{other:?}"),
    }
}

fn key(number: usize) -> String {
    format!("key {number}")
}

/// Returns the value of a key: every second key has one.
fn value(number: usize) -> Option<Vec<u8>> {
    number.is_multiple_of(2).then(|| number.to_string().into_bytes())
}

async fn store_values(tier: &RedisTier) {
    for number in 0..CROWD {
        if let Some(bytes) = value(number) {
            put(tier, &key(number), bytes, MINUTE).await.unwrap();
        }
    }
}

fn spawn_reads(tier: &Arc<RedisTier>) -> Vec<JoinHandle<Answer>> {
    let read = |number| {
        let tier = tier.clone();
        tokio::spawn(async move { read(&tier, &key(number)).await })
    };
    (0..CROWD).map(read).collect()
}

/// Starts `count` reads that wait and are not polled again.
fn pending_reads(tier: &Arc<RedisTier>, count: usize) -> Vec<Reading> {
    (0..count)
        .map(|number| {
            let tier = tier.clone();
            let mut reading: Reading = Box::pin(async move { read(&tier, &key(number)).await });
            assert!(reading.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            reading
        })
        .collect()
}

/// Counter of reads.
struct Reads {
    before: RedisHealth,
}

impl Reads {
    fn begin(tier: &RedisTier, proxy: &Proxy) -> Self {
        proxy.take_round_trips();
        Self { before: tier.health() }
    }

    /// Returns the number of single reads since `begin`, and the number of rounds.
    fn end(self, tier: &RedisTier, proxy: &Proxy) -> (usize, usize) {
        const READ: &[u8] = b"\r\nGETRANGE\r\n";

        let (before, after) = (self.before, tier.health());
        let sent = proxy.take_round_trips();
        let all = sent.iter().flat_map(|sent| sent.windows(READ.len())).filter(|at| *at == READ).count();
        let rounds = usize::try_from(after.reads_in_rounds - before.reads_in_rounds).unwrap();
        (all - rounds, usize::try_from(after.rounds - before.rounds).unwrap())
    }
}

#[tokio::test]
async fn concurrent_reads_share_rounds_and_get_their_own_replies() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = Arc::new(tier(&proxy.url()));
    store_values(&tier).await;
    let reads = Reads::begin(&tier, &proxy);
    for (number, reading) in spawn_reads(&tier).into_iter().enumerate() {
        assert_eq!(reading.await.unwrap(), Ok(value(number)), "{number}");
    }
    let (single_reads, rounds) = reads.end(&tier, &proxy);
    assert!(single_reads <= 10, "{single_reads} asked alone");
    assert!(rounds >= (CROWD - single_reads) / MAX_ROUND && rounds <= 10, "{rounds} rounds");
}

#[tokio::test]
async fn keys_read_in_a_round_are_tracked_present_or_absent() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let (tier, recorder) = attached_tier(&proxy.url()).await;
    store_values(&self::tier(&server.url())).await;
    let tier = Arc::new(tier);
    let reads = Reads::begin(&tier, &proxy);
    for reading in spawn_reads(&tier) {
        reading.await.unwrap().unwrap();
    }
    assert!(reads.end(&tier, &proxy).1 > 0);
    assert_eq!(recorder.take(), [""; 0]);

    let keys: Vec<_> = (0..CROWD).map(key).collect();
    let change = ["MSET"].into_iter().chain(keys.iter().flat_map(|key| [key, "1"]));
    server.cli(&change.collect::<Vec<_>>());
    for key in &keys {
        recorder.wait_for_change(key).await;
    }
}

#[tokio::test]
async fn few_reads_are_sent_separately() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = tier(&proxy.url());
    store_values(&tier).await;
    let reads = Reads::begin(&tier, &proxy);
    let (one, two) = tokio::join!(read(&tier, "key 0"), read(&tier, "key 2"));
    assert_eq!((one, two), (Ok(value(0)), Ok(value(2))));
    assert_eq!(reads.end(&tier, &proxy), (2, 0));
}

#[tokio::test]
async fn dropped_read_does_not_affect_others_in_its_round() {
    let server = RedisServer::start();
    let tier = Arc::new(tier(&server.url()));
    store_values(&tier).await;
    // All reads wait, and then some are dropped, the first ones among them.
    let mut waiting: Vec<_> = pending_reads(&tier, CROWD).into_iter().map(Some).collect();
    for number in (0..CROWD).filter(|number| number % 3 != 1) {
        waiting[number] = None;
    }
    for (number, reading) in waiting.into_iter().enumerate() {
        if let Some(reading) = reading {
            assert_eq!(reading.await, Ok(value(number)), "{number}");
        }
    }
}

#[tokio::test]
async fn hung_server_times_out_every_read_and_opens_breaker() {
    let server = RedisServer::start();
    let budget = Duration::from_millis(200);
    let tier = Arc::new(builder(&server.url()).operation_timeout(budget).build().unwrap());
    wait_until_up(&tier).await;
    server.freeze();
    let began = Instant::now();
    let reading_in_vain = spawn_reads(&tier);
    yield_now().await;
    // The breaker must open without the timeouts of these reads.
    reading_in_vain[..ROUND_THRESHOLD].iter().for_each(JoinHandle::abort);
    for reading in reading_in_vain.into_iter().skip(ROUND_THRESHOLD) {
        let answer = timeout(AT_ONCE, reading).await.expect("there is an end to it");
        assert_eq!(answer.unwrap(), Err(TierError::Timeout));
    }
    assert!(began.elapsed() >= budget && began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert!(tier.health().breaker_open, "four bad answers in a row");

    server.thaw();
    eventually_async("it is asked again", async || tier.state() == RedisState::Up).await;
    for reading in spawn_reads(&tier) {
        assert_eq!(reading.await.unwrap(), Ok(None));
    }
}

#[tokio::test]
async fn broken_connection_fails_all_reads_at_once() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = Arc::new(tier(&proxy.url()));
    wait_until_up(&tier).await;
    proxy.set_mode(Mode::Truncate(30));
    let began = Instant::now();
    let mut broken = 0;
    for reading in spawn_reads(&tier) {
        match reading.await.unwrap() {
            Ok(None) => {}
            Err(TierError::Unavailable) => broken += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(began.elapsed() < AT_ONCE && broken > MAX_ROUND, "{broken}");
    proxy.set_mode(Mode::Pass);
    eventually_async("there is another connection", async || tier.exists("any").await.is_ok()).await;
    for reading in spawn_reads(&tier) {
        assert_eq!(reading.await.unwrap(), Ok(None));
    }
}

#[tokio::test]
async fn rounds_stay_small_for_large_values() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = Arc::new(tier(&proxy.url()));
    for number in 0..CROWD {
        put(&tier, &key(number), vec![b'x'; 100_000], MINUTE).await.unwrap();
    }
    let mut counted = (0, 0);
    for _ in 0..4 {
        let reads = Reads::begin(&tier, &proxy);
        for reading in spawn_reads(&tier) {
            assert_eq!(reading.await.unwrap().unwrap().map(|bytes| bytes.len()), Some(100_000));
        }
        counted = reads.end(&tier, &proxy);
    }
    let (single_reads, rounds) = counted;
    assert!(single_reads + rounds >= CROWD / 6, "{single_reads} alone, {rounds} rounds");
}

#[test]
fn reads_of_two_runtimes_are_served_concurrently() {
    let server = RedisServer::start();
    let tier = Arc::new(tier(&server.url()));
    let runtimes =
        [(); 2].map(|()| Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap());
    runtimes[0].block_on(store_values(&tier));
    let crowds = runtimes.each_ref().map(|runtime| {
        let tier = tier.clone();
        runtime.spawn(async move {
            for _ in 0..300 {
                for (number, reading) in spawn_reads(&tier).into_iter().enumerate() {
                    assert_eq!(reading.await.unwrap(), Ok(value(number)), "{number}");
                }
            }
        })
    });
    for (runtime, crowd) in runtimes.iter().zip(crowds) {
        runtime.block_on(crowd).unwrap();
    }
}

#[test]
fn reads_do_not_wait_for_a_stalled_runtime() {
    let runtime = || -> Runtime { Builder::new_current_thread().enable_all().build().unwrap() };
    let server = RedisServer::start();
    let tier = Arc::new(tier(&server.url()));
    let (first, second) = (runtime(), runtime());
    // The connection belongs to the second runtime, which continues.
    second.block_on(wait_until_up(&tier));
    // The round of these reads has room for more.
    let held = first.block_on(async { pending_reads(&tier, 2 * ROUND_THRESHOLD) });
    second.block_on(async {
        for reading in spawn_reads(&tier) {
            let answer = timeout(AT_ONCE, reading).await.expect("it is answered");
            assert_eq!(answer.unwrap(), Ok(None));
        }
    });
    drop(held);
}

#[test]
fn reads_do_not_wait_for_rounds_of_a_stalled_runtime() {
    let runtime = || -> Runtime { Builder::new_current_thread().enable_all().build().unwrap() };
    let server = RedisServer::start();
    let tier = Arc::new(tier(&server.url()));
    let (first, second) = (runtime(), runtime());
    second.block_on(wait_until_up(&tier));
    let held = first.block_on(async {
        let held = pending_reads(&tier, ROUND_THRESHOLD + 2 * MAX_ROUND);
        // Both rounds are sent. The task that receives their replies belongs to the second runtime.
        for _ in 0..8 {
            yield_now().await;
        }
        held
    });
    second.block_on(async {
        for reading in pending_reads(&tier, 2 * ROUND_THRESHOLD) {
            assert_eq!(timeout(AT_ONCE, reading).await.expect("it is answered"), Ok(None));
        }
    });
    drop(held);
}

#[test]
fn reads_succeed_after_a_stalled_runtime_resumes() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let server = RedisServer::start();
    let budget = Duration::from_millis(200);
    let tier = Arc::new(builder(&server.url()).operation_timeout(budget).build().unwrap());
    runtime.block_on(wait_until_up(&tier));
    let held = runtime.block_on(async { pending_reads(&tier, 2 * ROUND_THRESHOLD) });
    thread::sleep(2 * budget);
    let (pulse, began) = (Pulse::start(), Instant::now());
    runtime.block_on(async {
        for reading in spawn_reads(&tier) {
            let answer = reading.await.unwrap();
            assert!(answer == Ok(None) || pulse.was_slow(began), "{answer:?}");
        }
    });
    assert!(!tier.health().breaker_open || pulse.was_slow(began));
    drop(held);
}

#[test]
fn reads_do_not_wait_for_a_blocked_thread() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let server = RedisServer::start();
    let tier = Arc::new(tier(&server.url()));
    runtime.block_on(wait_until_up(&tier));
    let ((is_blocked, blocked), (go_on, may_go_on)) = (mpsc::channel(), mpsc::channel::<()>());
    let blocking = tier.clone();
    let blocking = runtime.spawn(async move {
        let mut held = Vec::new();
        while held.len() < 2 * ROUND_THRESHOLD {
            let tier = blocking.clone();
            let mut reading: Reading = Box::pin(async move { read(&tier, "any").await });
            // The other thread may be so fast that the reply is there already.
            if reading.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                held.push(reading);
            }
        }
        is_blocked.send(()).unwrap();
        // Blocks the thread, as a badly behaved load would.
        let _ = may_go_on.recv_timeout(4 * AT_ONCE);
        drop(held);
    });
    blocked.recv().unwrap();
    runtime.block_on(async {
        for _ in 0..ROUND_THRESHOLD {
            assert_eq!(timeout(AT_ONCE, read(&tier, "any")).await.expect("it is answered"), Ok(None));
        }
        go_on.send(()).unwrap();
        blocking.await.unwrap();
    });
}

#[tokio::test]
async fn reads_do_not_join_a_round_of_a_replaced_connection() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = Arc::new(tier(&proxy.url()));
    wait_until_up(&tier).await;
    proxy.set_mode(Mode::Swallow);
    // Two rounds are under way, and a third one waits for their replies.
    let held = pending_reads(&tier, ROUND_THRESHOLD + 2 * MAX_ROUND + ROUND_THRESHOLD);
    proxy.set_mode(Mode::Pass);
    attach(&tier, Arc::new(Recorder::default()));
    wait_until_up(&tier).await;
    let began = Instant::now();
    for reading in spawn_reads(&tier) {
        assert_eq!(reading.await.unwrap(), Ok(None));
    }
    assert!(began.elapsed() < AT_ONCE);
    drop(held);
}

#[tokio::test]
async fn rounds_resume_for_small_values_after_large_ones() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = Arc::new(tier(&proxy.url()));
    put(&tier, "large", vec![b'x'; 200_000], MINUTE).await.unwrap();
    put(&tier, "small", vec![b'x'], MINUTE).await.unwrap();
    let ask = async |key: &'static str| {
        let reads = Reads::begin(&tier, &proxy);
        let read = |_| {
            let tier = tier.clone();
            tokio::spawn(async move { read(&tier, key).await })
        };
        let reading: Vec<_> = (0..4 * ROUND_THRESHOLD).map(read).collect();
        for reading in reading {
            assert!(reading.await.unwrap().unwrap().is_some());
        }
        reads.end(&tier, &proxy).1
    };
    eventually_async("each asks for himself", async || ask("large").await == 0).await;
    eventually_async("they go together", async || ask("small").await > 0).await;
}

#[tokio::test]
async fn wrong_type_in_a_round_fails_only_its_own_read() {
    let server = RedisServer::start();
    let tier = Arc::new(tier(&server.url()));
    store_values(&tier).await;
    server.cli(&["DEL", &key(100)]);
    server.cli(&["RPUSH", &key(100), "someone else's"]);
    for (number, reading) in spawn_reads(&tier).into_iter().enumerate() {
        let expected = if number == 100 { Err(refused("WRONGTYPE")) } else { Ok(value(number)) };
        assert_eq!(reading.await.unwrap(), expected, "{number}");
    }
    let claimed = lease(&tier, lease_request(&key(100), token(), LeaseMode::IfAbsent)).await;
    assert_eq!(claimed, Err(refused("WRONGTYPE")));
    assert_eq!(server.cli(&["LRANGE", &key(100), "0", "-1"]).trim(), "someone else's");
}

/// Waker that drops a pending read when its last clone is dropped.
struct Holder(Mutex<Option<Reading>>);

impl Wake for Holder {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.lock().unwrap().take());
    }
}

#[test]
fn waker_may_drop_another_read_of_its_round() {
    let server = RedisServer::start();
    let (done, is_done) = mpsc::channel();
    let tier = Arc::new(tier(&server.url()));
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            wait_until_up(&tier).await;
            let mut waiting = pending_reads(&tier, 2 * ROUND_THRESHOLD);
            let (mut one, other) = (waiting.pop().unwrap(), waiting.pop());
            let holder = Waker::from(Arc::new(Holder(Mutex::new(other))));
            assert!(one.as_mut().poll(&mut Context::from_waker(&holder)).is_pending());
            drop(holder);
            assert_eq!(one.await, Ok(None));
        });
        done.send(()).unwrap();
    });
    assert_eq!(is_done.recv_timeout(AT_ONCE), Ok(()));
}
