//! How often each operation waits for the server, counted where the bytes pass.

use cached_core::Tier;
use redis_harness::{Proxy, RedisServer};

use crate::support::{MINUTE, tier, up};

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

/// The round trips since the last call, without those that only check the connection.
fn round_trips(proxy: &Proxy) -> Vec<Vec<u8>> {
    proxy.take_round_trips().into_iter().filter(|sent| sent != PING).collect()
}

#[tokio::test]
async fn each_operation_is_one_round_trip() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = tier(&proxy.url());
    let keys: Vec<_> = (0..100).map(|index| format!("key {index}")).collect();
    let entries: Vec<_> = keys.iter().map(|key| (key.clone(), vec![7; 10], MINUTE)).collect();
    // The first use of a script on a server uploads it.
    tier.incr("counter", 1, None).await.unwrap();
    tier.delete_if("key", b"").await.unwrap();
    round_trips(&proxy);

    tier.set("key", vec![1], MINUTE).await.unwrap();
    assert_eq!(round_trips(&proxy).len(), 1, "set");
    tier.get("key").await.unwrap();
    assert_eq!(round_trips(&proxy).len(), 1, "get");
    tier.get("absent").await.unwrap();
    assert_eq!(round_trips(&proxy).len(), 1, "get of nothing");
    tier.exists("key").await.unwrap();
    assert_eq!(round_trips(&proxy).len(), 1, "exists");
    tier.delete_if("key", &[1]).await.unwrap();
    assert_eq!(round_trips(&proxy).len(), 1, "delete_if");
    tier.delete("key").await.unwrap();
    assert_eq!(round_trips(&proxy).len(), 1, "delete");
    tier.incr("counter", 1, None).await.unwrap();
    assert_eq!(round_trips(&proxy).len(), 1, "incr");
    tier.incr("another", 1, Some(MINUTE)).await.unwrap();
    assert_eq!(round_trips(&proxy).len(), 1, "incr with a life");
    tier.set_many(entries).await.unwrap();
    assert_eq!(round_trips(&proxy).len(), 1, "set_many");
    tier.get_many(&keys).await.unwrap();
    assert_eq!(round_trips(&proxy).len(), 1, "get_many");
}

#[tokio::test]
async fn the_time_left_is_read_before_the_value() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = tier(&proxy.url());
    up(&tier).await;
    round_trips(&proxy);

    tier.get("key").await.unwrap();
    let sent = round_trips(&proxy).concat();
    let sent = String::from_utf8(sent).unwrap();
    let place = |command| sent.find(command).unwrap_or_else(|| panic!("no {command} in {sent:?}"));
    assert!(place("PTTL") < place("GET"), "{sent:?}");
}
