//! Commands that a process sends to Redis while no function is called.

use std::{any::Any, collections::BTreeMap, pin::Pin, thread, time::Duration};

use cached::{AsyncRedisCache, ConcurrentCachedAsync};
use cached_aside::Format;
use redis_harness::RedisServer;
use tokio::runtime::Runtime;

use crate::{
    options::Options,
    remote::{Hitbox, MultiTier, Ours, Reader, cache},
    report::{Group, Report, number},
    work::TTL,
};

pub const GROUP: Group = Group {
    name: "idle",
    long: false,
    crates: &["cached-aside", "redis", "cached", "hitbox-redis", "multi-tier-cache"],
    run,
};

/// Number of keys that are read before the measurement.
const KEYS: u32 = 100;

/// Connected cache, after its reads.
type Connected = Pin<Box<dyn Future<Output = Box<dyn Any>>>>;

/// Constructors of the caches by the names of the arms, each from the URL of a server.
const ARMS: [(&str, fn(String) -> Connected); 5] = [
    ("ours", |url| Box::pin(async move { read(Ours { cache: cache(&url, Format::Json), rows: 1 }).await })),
    ("cached", |url| Box::pin(cached(url, false))),
    ("cached, client-side caching", |url| Box::pin(cached(url, true))),
    ("hitbox", |url| Box::pin(async move { read(Hitbox::new(&url, 1)).await })),
    ("multi-tier-cache", |url| Box::pin(async move { read(MultiTier::in_both(&url, 1).await).await })),
];

async fn read(mut cache: impl Reader) -> Box<dyn Any> {
    for id in (0..KEYS).chain(0..KEYS) {
        cache.read(id).await;
    }
    Box::new(cache)
}

async fn cached(url: String, has_client_side_caching: bool) -> Box<dyn Any> {
    let connect = async |has_client_side_caching| {
        let builder = AsyncRedisCache::<u64, u64>::builder("idle").ttl(TTL).connection_string(&url);
        let cache = builder.client_side_caching(has_client_side_caching).build().await;
        cache.expect("Redis is there")
    };
    // Client-side caching does not return values that were stored over the same connection.
    let (writer, cache) = (connect(false).await, connect(has_client_side_caching).await);
    for id in 0..KEYS.into() {
        writer.async_cache_set(id, id).await.expect("Redis is there");
        for _ in 0..2 {
            assert_eq!(cache.async_cache_get(&id).await.expect("Redis is there"), Some(id));
        }
    }
    Box::new(cache)
}

/// An idle cache with a server of its own.
struct Idle {
    name: &'static str,
    // These are dropped in this order: no cache loses its server.
    _cache: Box<dyn Any>,
    /// Runs the tasks of the cache while it is idle.
    _runtime: Runtime,
    redis: RedisServer,
}

impl Idle {
    fn new(name: &'static str, connect: fn(String) -> Connected) -> Self {
        let redis = RedisServer::start();
        let runtime = Runtime::new().expect("threads can be started");
        let cache = runtime.block_on(connect(redis.url()));
        Self { name, _cache: cache, _runtime: runtime, redis }
    }
}

fn run(options: &Options) -> Report {
    let [settle, length] = options.pick([1, 2], [5, 60]).map(Duration::from_secs);
    let wanted = ARMS.iter().filter(|(name, _)| options.wants(name));
    // All are idle during the same minute, since none of them uses a processor.
    let idle: Vec<_> = wanted.map(|(name, connect)| Idle::new(name, *connect)).collect();
    thread::sleep(settle);
    let before: Vec<_> = idle.iter().map(|idle| commands(&idle.redis)).collect();
    thread::sleep(length);
    let head = ["arm", "connections", "commands per second", "in detail"].map(str::to_owned).to_vec();
    let row = |(Idle { name, redis, .. }, before): (&Idle, &BTreeMap<String, u64>)| {
        let sent = commands(redis).into_iter().filter_map(|(command, calls)| {
            let calls = calls - before.get(&command).copied().unwrap_or(0);
            (calls > 0).then(|| (command, calls as f64 / length.as_secs_f64()))
        });
        let sent: Vec<_> = sent.collect();
        // One connection is that of the question.
        let connections = field(&redis.cli(&["INFO", "clients"]), "connected_clients:").unwrap_or(1) - 1;
        let detail: Vec<_> = sent.iter().map(|(command, rate)| format!("{command} {rate:.2}")).collect();
        vec![
            (*name).to_owned(),
            connections.to_string(),
            number(Some(sent.iter().fold(0.0, |sum, (_, rate)| sum + rate))),
            detail.join(", "),
        ]
    };
    let rows: Vec<_> = [head].into_iter().chain(idle.iter().zip(&before).map(row)).collect();
    Report::default().table("Commands of a process that calls no function", &rows)
}

/// Returns the number of calls of each command so far, without those of this function.
fn commands(redis: &RedisServer) -> BTreeMap<String, u64> {
    let text = redis.cli(&["INFO", "commandstats"]);
    let calls = text.lines().filter_map(|line| {
        let (command, rest) = line.strip_prefix("cmdstat_")?.split_once(':')?;
        Some((command.to_owned(), field(rest, "calls=")?))
    });
    calls.filter(|(command, _)| command != "info").collect()
}

/// Returns the number after `name`.
fn field(text: &str, name: &str) -> Option<u64> {
    let (_, rest) = text.split_once(name)?;
    rest.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
}
