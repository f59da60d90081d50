//! More keys than there is room for.

use std::{env, time::Duration};

use cached_aside::cached;
use redis_harness::RedisServer;
use tokio::{task::JoinSet, time::timeout};

use crate::{
    episode::{Episode, Limits},
    source::Side,
    table::Row,
    world::World,
};

/// Number of bytes that each cache may hold.
const ROOM: u64 = 2 * 1024 * 1024;

/// Number of calls that are under way at a time.
const AT_A_TIME: u64 = 32;

#[cached("many:{id}", ttl = "1h", cache = side.cache, skip(side))]
async fn many(side: &Side, id: u64) -> Result<String, String> {
    let _ = side;
    tokio::task::yield_now().await;
    if id % 10 == 3 { Err("fails".to_owned()) } else { Ok(format!("{id:0>100}")) }
}

/// Calls many keys. One in ten fails, and one in ten is left by its caller.
///
/// Redis, too, has less room than the keys need.
pub(crate) async fn keys() -> Row {
    let count = env::var("RESILIENCE_KEYS").map_or(20_000, |count| count.parse::<u64>().expect("a number"));
    // The memory also holds the keys that Redis tracks, even those without a value.
    let memory = (8 * 1024 * 1024).max(count * 100).to_string();
    let redis = RedisServer::start_with(&["--maxmemory", &memory, "--maxmemory-policy", "allkeys-lru"]);
    let url = redis.url();
    let world = World::with([&url, &url], |_, builder| builder.l1_max_bytes(ROOM)).connected().await;
    // The keys keep the runtime busy, and replies wait in it.
    world.pulse.watch_runtime();
    let episode = Episode::disturbance(&world).await;
    let mut tasks = JoinSet::new();
    for first in 0..AT_A_TIME {
        let side = world.sides[usize::from(first % 2 == 1)].clone();
        tasks.spawn(async move {
            for id in (first..count).step_by(usize::try_from(AT_A_TIME).unwrap()) {
                if id % 10 == 7 {
                    let _ = timeout(Duration::from_micros(100), many(&side, id)).await;
                    continue;
                }
                let value = many(&side, id).await;
                assert_eq!(value.is_err(), id % 10 == 3, "{value:?}");
                assert!(value.is_err() || value.unwrap().parse() == Ok(id));
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    for side in &world.sides {
        side.cache.flush().await;
        let health = side.cache.health();
        assert!(health.l1_bytes <= ROOM, "{health:?}");
    }
    // The machine is busy with the keys, so a call may take a while.
    episode.end(Limits { paid: usize::MAX, longest: Duration::from_secs(5), ..Limits::default() }).await
}
