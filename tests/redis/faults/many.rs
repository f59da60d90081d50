//! More keys than there is room for.

use std::{env, time::Duration};

use cached_aside::cached;
use redis_harness::RedisServer;
use tokio::{task::JoinSet, time::timeout};

use crate::{
    episode::{Episode, Limits},
    source::Process,
    table::TableRow,
    world::World,
};

/// Number of bytes that each cache may hold.
const L1_BYTES: u64 = 2 * 1024 * 1024;

/// Number of calls that are under way at a time.
const CONCURRENCY: u64 = 32;

#[cached("many:{id}", ttl = "1h", cache = process.cache, skip(process))]
async fn many(process: &Process, id: u64) -> Result<String, String> {
    let _ = process;
    tokio::task::yield_now().await;
    if id % 10 == 3 { Err("fails".to_owned()) } else { Ok(format!("{id:0>100}")) }
}

/// Calls many keys. One in ten fails, and one in ten is left by its caller.
///
/// Redis, too, has less room than the keys need.
pub(crate) async fn keys() -> TableRow {
    let count = env::var("RESILIENCE_KEYS").map_or(20_000, |count| count.parse::<u64>().expect("a number"));
    // The memory also holds the keys that Redis tracks, even those without a value.
    let memory = (8 * 1024 * 1024).max(count * 100).to_string();
    let redis = RedisServer::start_with(&["--maxmemory", &memory, "--maxmemory-policy", "allkeys-lru"]);
    let url = redis.url();
    let world =
        World::with_settings([&url, &url], |_, builder| builder.l1_max_bytes(L1_BYTES)).connect().await;
    // The keys keep the runtime busy, and replies wait in it.
    world.pulse.watch_runtime();
    let episode = Episode::disturbance(&world).await;
    let mut tasks = JoinSet::new();
    for first in 0..CONCURRENCY {
        let process = world.processes[usize::from(first % 2 == 1)].clone();
        tasks.spawn(async move {
            for id in (first..count).step_by(usize::try_from(CONCURRENCY).unwrap()) {
                if id % 10 == 7 {
                    let _ = timeout(Duration::from_micros(100), many(&process, id)).await;
                    continue;
                }
                let value = many(&process, id).await;
                assert_eq!(value.is_err(), id % 10 == 3, "{value:?}");
                assert!(value.is_err() || value.unwrap().parse() == Ok(id));
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    for process in &world.processes {
        process.cache.flush().await;
        let health = process.cache.health();
        assert!(health.l1_bytes <= L1_BYTES, "{health:?}");
    }
    // The machine is busy with the keys, so a call may take a while.
    episode.end(Limits { delayed: usize::MAX, longest: Duration::from_secs(5), ..Limits::default() }).await
}
