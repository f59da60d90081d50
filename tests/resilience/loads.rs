//! The function itself misbehaves.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use cached_aside::{LoadTimeout, cached};
use redis_harness::{RedisServer, eventually_async};
use tokio::time::timeout;

use crate::{
    episode::{Episode, Limits},
    source::Side,
    table::Row,
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

/// What it does is in its argument: 0 panics, 1 hangs, 2 fails, 3 takes its time.
#[cached("broken:{what}:{id}", ttl = "1h", load_timeout = "100ms", cache = side.cache, skip(side))]
async fn broken(side: &Side, what: u64, id: u64) -> Result<u64, Broken> {
    let _ = side;
    match what {
        0 => {
            PANICS.fetch_add(1, Ordering::SeqCst);
            panic!("a load that panics, as it is to");
        }
        1 => std::future::pending().await,
        2 => Err(Broken::Failed),
        _ => {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(id)
        }
    }
}

/// What these callers see is their own function's. Those beside them see nothing of it.
pub(crate) async fn panic_hang_and_are_left() -> Row {
    let redis = RedisServer::start();
    let world = World::direct(&redis).await;
    let episode = Episode::disturbance(&world).await;
    for round in 0..50 {
        for side in &world.sides {
            // Several callers of each key: they share what comes of it.
            let calls = (0..12).map(|call| {
                let (side, what) = (side.clone(), call % 4);
                tokio::spawn(async move { broken(&side, what, round).await })
            });
            let alone = 1_000_000 + 2 * round + side.number as u64;
            let left = timeout(Duration::from_millis(1), broken(side, 3, alone)).await;
            assert!(left.is_err());
            let mut panicked = 0;
            for (number, call) in calls.collect::<Vec<_>>().into_iter().enumerate() {
                match (number % 4, call.await) {
                    (0, Err(error)) if error.is_panic() => panicked += 1,
                    (1, Ok(Err(Broken::Late))) | (2, Ok(Err(Broken::Failed))) => {}
                    (3, Ok(Ok(id))) => assert_eq!(id, round),
                    (what, outcome) => panic!("{what}: {outcome:?}"),
                }
            }
            assert_eq!(panicked, 3);
        }
    }
    // A panic is tried once more, in the same flight; then each caller has it.
    assert!(PANICS.load(Ordering::SeqCst) >= 100);
    let row = episode.end(Limits { paid: 100, all_told: true, ..Limits::default() }).await;
    // A load that failed leaves a word for those who waited, which ends by itself.
    eventually_async("no lease is left", async || redis.cli(&["KEYS", "resilience:broken:0:*"]).is_empty())
        .await;
    // What its caller has left was loaded all the same.
    let loads = world.sides[0].cache.stats().loads;
    assert_eq!(broken(&world.sides[0], 3, 1_000_000).await, Ok(1_000_000));
    assert_eq!(world.sides[0].cache.stats().loads, loads);
    row
}
