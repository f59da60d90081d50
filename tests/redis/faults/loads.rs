//! Faults: the function itself misbehaves.

use std::{
    future::ready,
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use cached_aside::{LoadTimeout, cached};
use redis_harness::{PATIENCE, RedisServer, eventually_async};
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    episode::{Episode, Limits},
    source::Process,
    table::TableRow,
    world::World,
};

static PANICS: AtomicUsize = AtomicUsize::new(0);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Broken {
    Failed,
    Late,
}

impl From<LoadTimeout> for Broken {
    fn from(_: LoadTimeout) -> Self {
        Self::Late
    }
}

/// Panics if `kind` is 0, and fails if it is 1.
#[cached("broken:{kind}:{id}", ttl = "1h", cache = process.cache, skip(process))]
async fn broken(process: &Process, kind: u64, id: u64) -> Result<u64, Broken> {
    let _ = (process, id);
    if kind == 0 {
        PANICS.fetch_add(1, Ordering::SeqCst);
        panic!("a load that panics, as it is to");
    }
    Err(Broken::Failed)
}

#[cached("hanging:{id}", ttl = "1h", load_timeout = "100ms", cache = process.cache, skip(process))]
async fn hanging(process: &Process, id: u64) -> Result<u64, Broken> {
    let _ = (process, id);
    std::future::pending().await
}

#[cached("slow:{id}", ttl = "1h", cache = process.cache, skip(process))]
async fn slow(process: &Process, id: u64) -> Result<u64, Broken> {
    let _ = process;
    tokio::time::sleep(Duration::from_millis(20)).await;
    Ok(id)
}

/// Permits for loads of [`held`] that have begun.
static STARTED: Semaphore = Semaphore::const_new(0);
/// Permits for loads of `held` that may end.
static RELEASED: Semaphore = Semaphore::const_new(0);

/// Signals that its load has begun, and ends when it is released.
#[cached("held:{id}", ttl = "1h", cache = process.cache, skip(process))]
async fn held(process: &Process, id: u64) -> u64 {
    let _ = process;
    STARTED.add_permits(1);
    RELEASED.acquire().await.expect("it is never closed").forget();
    id
}

/// Drops a caller when its load has begun.
///
/// The load goes on all the same, and the next caller gets its value.
async fn drop_caller(process: &Process, id: u64) {
    tokio::select! {
        answer = held(process, id) => panic!("it ended before it was released: {answer}"),
        started = STARTED.acquire() => started.expect("it is never closed").forget(),
    }
    let mut next = pin!(held(process, id));
    // The first poll joins the load.
    tokio::select! {
        biased;
        answer = &mut next => panic!("it ended before it was released: {answer}"),
        () = ready(()) => RELEASED.add_permits(1),
    }
    assert_eq!((next.await, STARTED.available_permits()), (id, 0), "one load for both");
}

/// Runs functions that panic, hang and fail, and callers that go away.
///
/// These callers get the outcome of their own function. The other callers notice nothing.
pub(crate) async fn panic_hang_and_lose_callers() -> TableRow {
    let redis = RedisServer::start();
    let world = World::direct(&redis).await;
    let episode = Episode::disturbance(&world).await;
    for round in 0..50 {
        for process in &world.processes {
            // Several callers of each key share the outcome.
            let calls = (0..12).map(|call| {
                let process = process.clone();
                tokio::spawn(async move {
                    match call % 4 {
                        2 => slow(&process, round).await,
                        3 => hanging(&process, round).await,
                        kind => broken(&process, kind, round).await,
                    }
                })
            });
            drop_caller(process, 2 * round + process.number as u64).await;
            let mut panicked = 0;
            for (number, call) in calls.collect::<Vec<_>>().into_iter().enumerate() {
                match (number % 4, call.await) {
                    (0, Err(error)) if error.is_panic() => panicked += 1,
                    (1, Ok(Err(Broken::Failed))) | (3, Ok(Err(Broken::Late))) => {}
                    (2, Ok(Ok(id))) => assert_eq!(id, round),
                    (kind, outcome) => panic!("{kind}: {outcome:?}"),
                }
            }
            assert_eq!(panicked, 3);
        }
    }
    // A panic is retried once in the same flight. Then each caller gets it.
    assert!(PANICS.load(Ordering::SeqCst) >= 100);
    let row = episode.end(Limits { delayed: 100, all_delivered: true, ..Limits::default() }).await;
    // A failed load leaves a record for the callers that waited. The record expires by itself.
    eventually_async("no lease is left", async || redis.cli(&["KEYS", "resilience:broken:0:*"]).is_empty())
        .await;
    row
}

/// Function with one load at a time in each process.
///
/// The load of 0 is held, like those of `held`.
#[cached("queued:{id}", ttl = "1h", max_loads = 1, cache = process.cache, skip(process))]
async fn queued(process: &Process, id: u64) -> u64 {
    let _ = process;
    if id == 0 {
        STARTED_QUEUED.add_permits(1);
        RELEASED_QUEUED.acquire().await.expect("it is never closed").forget();
    }
    id
}

static STARTED_QUEUED: Semaphore = Semaphore::const_new(0);
static RELEASED_QUEUED: Semaphore = Semaphore::const_new(0);

/// Fills the queue of one process.
///
/// A process that has no permit for a load keeps no other process from loading.
pub(crate) async fn queue_for_permit() -> TableRow {
    let redis = RedisServer::start();
    let world = World::direct(&redis).await;
    let episode = Episode::disturbance(&world).await;
    let [busy, idle] = world.processes.clone();
    let call = |id| {
        let process = busy.clone();
        tokio::spawn(async move { queued(&process, id).await })
    };
    let first = call(0);
    STARTED_QUEUED.acquire().await.expect("it is never closed").forget();
    let waiting: Vec<_> = (1..10).map(call).collect();
    episode.calls(200).await;
    for id in 1..10 {
        let found = timeout(PATIENCE, queued(&idle, id)).await;
        assert_eq!(found, Ok(id), "it waits for another process's permit");
    }
    RELEASED_QUEUED.add_permits(1);
    assert_eq!(first.await.unwrap(), 0);
    for (call, id) in waiting.into_iter().zip(1..) {
        assert_eq!(call.await.unwrap(), id);
    }
    episode.end(Limits { all_delivered: true, ..Limits::default() }).await
}
