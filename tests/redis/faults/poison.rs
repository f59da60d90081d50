//! Faults: garbage in place of the library's own data.

use redis_harness::{Proxy, RedisServer, eventually_async};

use crate::{
    episode::{Episode, Limits},
    source::HOT_KEYS,
    table::TableRow,
    world::{NAMESPACE, World},
};

/// Frames that a server could push, though none does.
const PUSHES: [&[u8]; 8] = [
    b">0\r\n",
    b">1\r\n$10\r\ninvalidate\r\n",
    b">2\r\n$10\r\ninvalidate\r\n*3\r\n$4\r\n\xff\xfe\x00\xc3\r\n$0\r\n\r\n:7\r\n",
    b">2\r\n$10\r\ninvalidate\r\n%1\r\n+a\r\n+b\r\n",
    b">2\r\n$10\r\ninvalidate\r\n*1\r\n*1\r\n$17\r\nresilience:row:3x\r\n",
    b">2\r\n$10\r\ninvalidate\r\n_\r\n",
    b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\n\xff\xff\r\n",
    b">2\r\n$12\r\nno-such-kind\r\n,inf\r\n",
];

/// Frames that no client can parse, so that the connection is lost.
const INVALID_FRAMES: [&[u8]; 2] = [b">2\r\n:10\r\n#t\r\n", b"\xff\xff garbage\r\n"];

pub(crate) async fn messages() -> TableRow {
    let redis = RedisServer::start();
    let (world, proxies) = World::proxied(&redis).await;
    let before = proxies[0].connections();
    let episode = Episode::outage(&world).await;
    for push in PUSHES {
        for proxy in &proxies {
            proxy.inject(push);
        }
        episode.calls(100).await;
    }
    assert_eq!(proxies[0].connections(), before, "none of that ends a connection");
    for garbage in INVALID_FRAMES {
        let before = proxies.each_ref().map(Proxy::connections);
        for proxy in &proxies {
            proxy.inject(garbage);
        }
        eventually_async("each is connected again", async || {
            proxies.iter().zip(before).all(|(proxy, before)| proxy.connections() > before)
        })
        .await;
        episode.calls(100).await;
    }
    episode.end(Limits::default()).await
}

/// Puts garbage in place of values, and of keys that the processes share.
pub(crate) async fn values() -> TableRow {
    let redis = RedisServer::start();
    let world = World::direct(&redis).await;
    let episode = Episode::disturbance(&world).await;
    let (members, barrier) = (format!("{NAMESPACE}:%members"), format!("{NAMESPACE}:%poke"));
    redis.cli(&["SET", &barrier, "no number"]);
    redis.cli(&["SET", &members, "no hash"]);
    for round in 0..6 {
        for id in 0..HOT_KEYS {
            let name = World::key_name(id);
            let command: &[&str] = match (round + id) % 6 {
                0 => &["HSET", &name, "a", "field"],
                1 => &["SET", &name, "foreign"],
                2 => &["SETRANGE", &name, "20", "damage"],
                3 => &["APPEND", &name, "more"],
                4 => &["XADD", &name, "*", "a", "field"],
                _ => &["SET", &name, ""],
            };
            if command[0] != "SETRANGE" && command[0] != "APPEND" {
                redis.cli(&["DEL", &name]);
            } else if redis.cli(&["TYPE", &name]) != "string" {
                continue;
            }
            // Another process may be quicker, and the key then has another type.
            redis.cli(
                &["EVAL", "return redis.pcall(unpack(ARGV)) and 1", "0"]
                    .iter()
                    .chain(command)
                    .copied()
                    .collect::<Vec<_>>(),
            );
        }
        episode.calls(150).await;
    }
    redis.cli(&["DEL", &members, &barrier]);
    for id in 0..HOT_KEYS {
        redis.cli(&["DEL", &World::key_name(id)]);
    }
    episode.end(Limits { all_delivered: true, ..Limits::default() }).await
}
