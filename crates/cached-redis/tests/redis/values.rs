//! What each operation does to the values.

use std::{sync::Arc, time::Duration};

use cached_core::{Stored, Tier};
use redis_harness::{Proxy, RedisServer, eventually_async};
use tokio::task::JoinSet;

use crate::support::{MINUTE, refused, tier};

/// Bytes that a text protocol, a script or a C string might trip over.
fn awkward() -> Vec<Vec<u8>> {
    vec![Vec::new(), b"\0".to_vec(), b"a\r\n$5\r\n".to_vec(), (0..=255).collect(), vec![0xff; 100_000]]
}

const AWKWARD_KEY: &str = "a key:with \"quotes\"\r\n\0 and ünïcödé";

fn bytes(stored: Option<Stored>) -> Option<Vec<u8>> {
    stored.map(|stored| stored.bytes)
}

#[tokio::test]
async fn a_value_comes_back_with_the_time_it_has_left() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    assert_eq!(tier.get("absent").await, Ok(None));
    for value in awkward() {
        tier.set(AWKWARD_KEY, value.clone(), MINUTE).await.unwrap();
        let stored = tier.get(AWKWARD_KEY).await.unwrap().unwrap();
        assert_eq!(stored.bytes, value);
        let remaining = stored.remaining.unwrap();
        assert!(remaining <= MINUTE && remaining > Duration::ZERO, "{remaining:?}");
    }
}

#[tokio::test]
async fn a_value_that_does_not_expire_says_so() {
    let server = RedisServer::start();
    server.cli(&["SET", "key", "value"]);
    let stored = tier(&server.url()).get("key").await.unwrap().unwrap();
    assert_eq!(stored, Stored { bytes: b"value".to_vec(), remaining: None });
}

#[tokio::test]
async fn a_life_may_be_very_short_or_very_long() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    tier.set("short", vec![1], Duration::from_nanos(1)).await.unwrap();
    eventually_async("the short life is over", async || tier.get("short").await == Ok(None)).await;

    tier.set("long", vec![1], Duration::MAX).await.unwrap();
    tier.set_many(vec![("also".to_owned(), vec![1], Duration::MAX)]).await.unwrap();
    tier.incr("counter", 1, Some(Duration::MAX)).await.unwrap();
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    for key in ["long", "also", "counter"] {
        let remaining = tier.get(key).await.unwrap().unwrap().remaining.unwrap();
        assert!(remaining > 99 * year, "{key}: {remaining:?}");
    }
}

#[tokio::test]
async fn many_values_keep_their_order() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    let entries: Vec<_> = awkward()
        .into_iter()
        .enumerate()
        .map(|(index, value)| (format!("key {index}"), value, MINUTE))
        .collect();
    tier.set_many(entries.clone()).await.unwrap();

    let mut keys: Vec<_> = entries.iter().map(|(key, ..)| key.clone()).collect();
    keys.reverse();
    keys.insert(2, "absent".to_owned());
    keys.push(keys[0].clone());
    let found = tier.get_many(&keys).await.unwrap();
    assert_eq!(found.len(), keys.len());
    for (key, stored) in keys.iter().zip(found) {
        let expected = entries.iter().find(|(name, ..)| name == key).map(|(_, value, _)| value.clone());
        assert!(stored.as_ref().is_none_or(|stored| stored.remaining.is_some_and(|left| left <= MINUTE)));
        assert_eq!(bytes(stored), expected, "{key}");
    }
}

#[tokio::test]
async fn no_keys_and_no_entries_need_no_server() {
    let tier = tier("redis://127.0.0.1:1/");
    assert_eq!(tier.get_many(&[]).await, Ok(Vec::new()));
    assert_eq!(tier.set_many(Vec::new()).await, Ok(()));
}

#[tokio::test]
async fn delete_says_whether_there_was_a_value() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    tier.set("key", vec![1], MINUTE).await.unwrap();
    assert_eq!(tier.exists("key").await, Ok(true));
    assert_eq!(tier.delete("key").await, Ok(true));
    assert_eq!(tier.exists("key").await, Ok(false));
    assert_eq!(tier.delete("key").await, Ok(false));
}

#[tokio::test]
async fn delete_if_spares_any_other_value() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    assert_eq!(tier.delete_if("absent", b"").await, Ok(false));
    for value in awkward() {
        tier.set(AWKWARD_KEY, value.clone(), MINUTE).await.unwrap();
        let mut other = value.clone();
        other.push(0);
        assert_eq!(tier.delete_if(AWKWARD_KEY, &other).await, Ok(false));
        assert_eq!(bytes(tier.get(AWKWARD_KEY).await.unwrap()).as_ref(), Some(&value));
        assert_eq!(tier.delete_if(AWKWARD_KEY, &value).await, Ok(true));
        assert_eq!(tier.get(AWKWARD_KEY).await, Ok(None));
    }
}

#[tokio::test]
async fn a_counter_adds_up_exactly() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    assert_eq!(tier.incr("counter", 5, None).await, Ok(5));
    assert_eq!(tier.incr("counter", -7, None).await, Ok(-2));
    assert_eq!(tier.incr("counter", 0, None).await, Ok(-2));
    assert_eq!(server.cli(&["PTTL", "counter"]), "-1");

    let large = (1 << 53) + 1;
    assert_eq!(tier.incr("large", large, None).await, Ok(large));
    assert_eq!(tier.incr("largest", i64::MAX, None).await, Ok(i64::MAX));
    assert_eq!(tier.incr("largest", 1, None).await, Err(refused("ERR")));
    assert_eq!(tier.incr("smallest", i64::MIN, None).await, Ok(i64::MIN));
}

#[tokio::test]
async fn a_counter_gets_its_life_once() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    let left = |key| server.cli(&["PTTL", key]).parse::<i64>().unwrap();

    tier.incr("counter", 1, Some(MINUTE)).await.unwrap();
    assert!((1..=60_000).contains(&left("counter")));
    tier.incr("counter", 1, Some(10 * MINUTE)).await.unwrap();
    assert!((1..=60_000).contains(&left("counter")), "a later addition must not extend it");

    // A sum that looks like a first one is none.
    tier.incr("endless", 3, None).await.unwrap();
    tier.incr("endless", -3, None).await.unwrap();
    tier.incr("endless", 3, Some(MINUTE)).await.unwrap();
    assert_eq!(left("endless"), -1);
}

#[tokio::test]
async fn a_value_of_another_type_is_refused() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = tier(&proxy.url());
    server.cli(&["RPUSH", "list", "someone else's"]);
    server.cli(&["SET", "text", "not a number"]);

    let wrong_type = refused("WRONGTYPE");
    assert_eq!(tier.get("list").await, Err(wrong_type.clone()));
    assert_eq!(tier.get_many(&["text".to_owned(), "list".to_owned()]).await, Err(wrong_type.clone()));
    assert_eq!(tier.delete_if("list", b"x").await, Err(wrong_type.clone()));
    assert_eq!(tier.incr("list", 1, None).await, Err(wrong_type));
    assert_eq!(tier.incr("text", 1, None).await, Err(refused("ERR")));

    assert_eq!(bytes(tier.get("text").await.unwrap()), Some(b"not a number".to_vec()));
    assert_eq!(proxy.connections(), 1, "a refused command must not cost the connection");
}

#[tokio::test]
async fn a_full_server_still_deletes() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    for key in ["one", "two"] {
        tier.set(key, vec![1], MINUTE).await.unwrap();
    }
    // The script is known to the server before it is full.
    assert_eq!(tier.delete_if("one", b"other").await, Ok(false));
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);

    assert_eq!(tier.set("three", vec![1], MINUTE).await, Err(refused("OOM")));
    let entries = vec![("three".to_owned(), vec![1], MINUTE)];
    assert_eq!(tier.set_many(entries).await, Err(refused("OOM")));
    assert_eq!(tier.delete_if("one", &[1]).await, Ok(true));
    assert_eq!(tier.delete("two").await, Ok(true));
}

#[tokio::test]
async fn a_script_that_the_server_forgot_is_sent_again() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    for round in 1..=3 {
        assert_eq!(tier.incr("counter", 1, None).await, Ok(round));
        tier.set("key", vec![1], MINUTE).await.unwrap();
        assert_eq!(tier.delete_if("key", &[1]).await, Ok(true));
        server.cli(&["SCRIPT", "FLUSH"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tasks_share_one_connection() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = Arc::new(tier(&proxy.url()));
    let mut tasks = JoinSet::new();
    for task in 0..256_u32 {
        let tier = Arc::clone(&tier);
        tasks.spawn(async move {
            let key = format!("key {task}");
            for round in 0..10_u32 {
                let value = [task.to_be_bytes(), round.to_be_bytes()].concat();
                tier.set(&key, value.clone(), MINUTE).await.unwrap();
                assert_eq!(bytes(tier.get(&key).await.unwrap()), Some(value));
                tier.incr("total", 1, None).await.unwrap();
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    assert_eq!(server.cli(&["GET", "total"]), "2560");
    assert_eq!(proxy.connections(), 1);
}
