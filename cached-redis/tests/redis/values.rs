//! Effects of each operation on the values.

use std::{sync::Arc, time::Duration};

use cached_core::tier::{LeaseMode, LeaseReply, LeaseRequest, Lookup, Record, Stored, Tier};
use redis_harness::{Proxy, RedisServer, eventually_async};
use tokio::task::JoinSet;

use crate::support::{
    MINUTE, bytes, delete, get, lease, lease_request, put, refused, tag_request, tier, tier_fill, token,
};

/// Returns bytes that could break a text protocol, a script or a C string.
fn awkward_values() -> Vec<Vec<u8>> {
    vec![Vec::new(), b"\0".to_vec(), b"a\r\n$5\r\n".to_vec(), (0..=255).collect(), vec![0xff; 100_000]]
}

const AWKWARD_KEY: &str = "a key:with \"quotes\"\r\n\0 and ünïcödé";

#[tokio::test]
async fn stored_value_is_returned_with_its_remaining_time() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    assert_eq!(get(&tier, "absent").await, Ok(None));
    for value in awkward_values() {
        put(&tier, AWKWARD_KEY, value.clone(), MINUTE).await.unwrap();
        let stored = get(&tier, AWKWARD_KEY).await.unwrap().unwrap();
        assert_eq!(stored.bytes, value);
        let remaining = stored.remaining.unwrap();
        assert!(remaining <= MINUTE && remaining > Duration::ZERO, "{remaining:?}");
    }
}

#[tokio::test]
async fn value_without_expiry_has_no_remaining_time() {
    let server = RedisServer::start();
    server.cli(&["SET", "key", "value"]);
    let stored = get(&tier(&server.url()), "key").await.unwrap().unwrap();
    assert_eq!(stored, Stored { bytes: b"value".to_vec(), remaining: None, revision: 0 });
}

#[tokio::test]
async fn ttl_may_be_one_nanosecond_or_unlimited() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    put(&tier, "short", vec![1], Duration::from_nanos(1)).await.unwrap();
    eventually_async("the short life is over", async || get(&tier, "short").await == Ok(None)).await;

    let endless =
        LeaseRequest { lease: Duration::MAX, ..lease_request("leased", token(), LeaseMode::IfAbsent) };
    lease(&tier, endless).await.unwrap();
    tier.lease(&[], tag_request(&["tag".to_owned()], Duration::MAX)).await.unwrap();
    put(&tier, "long", vec![1], Duration::MAX).await.unwrap();
    tier.incr("counter", 1, Some(Duration::MAX)).await.unwrap();
    for key in ["leased", "tag", "long", "counter"] {
        let left: u64 = server.cli(&["PTTL", key]).parse().unwrap();
        assert!(left > 99 * 365 * 24 * 60 * 60 * 1000, "{key}: {left}");
    }
}

#[tokio::test]
async fn lookup_of_many_keys_keeps_their_order() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    let keys: Vec<_> = (0..awkward_values().len()).map(|index| format!("key {index}")).collect();
    let tokens: Vec<_> = keys.iter().map(|_| token()).collect();
    let requests: Vec<_> = keys
        .iter()
        .zip(&tokens)
        .map(|(key, &token)| lease_request(key, token, LeaseMode::IfAbsent))
        .collect();
    tier.lease(&requests, tag_request(&[], MINUTE)).await.unwrap();
    let entries = keys.iter().zip(&tokens).zip(awkward_values());
    let fills = entries.map(|((key, &token), bytes)| tier_fill(key, token, bytes, MINUTE)).collect();
    tier.fill(fills).await.unwrap();

    let mut wanted: Vec<_> =
        keys.iter().map(String::as_str).zip(awkward_values().into_iter().map(Some)).collect();
    wanted.reverse();
    wanted.insert(2, ("absent", None));
    wanted.push(wanted[0].clone());
    let lookups: Vec<_> = wanted.iter().map(|&(key, _)| Lookup::new(key)).collect();
    let found = tier.lookup(&lookups, &[]).await.unwrap().records;
    assert_eq!(found.len(), wanted.len());
    for ((key, expected), record) in wanted.into_iter().zip(found) {
        let found = match record {
            Record::Value(stored) => Some(stored.bytes),
            Record::Absent => None,
            other => panic!("{key}: {other:?}"),
        };
        assert_eq!(found, expected, "{key}");
    }
}

#[tokio::test]
async fn empty_operations_need_no_server() {
    let tier = tier("redis://127.0.0.1:1/");
    assert_eq!(tier.lookup(&[], &[]).await.unwrap().records, []);
    assert_eq!(tier.lease(&[], tag_request(&[], MINUTE)).await.unwrap().replies, []);
    assert_eq!(tier.fill(Vec::new()).await.unwrap().stored, [true; 0]);
    assert_eq!(tier.delete(&[], &[]).await, Ok(()));
}

#[tokio::test]
async fn delete_removes_values_leases_and_tags() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    put(&tier, "key", vec![1], MINUTE).await.unwrap();
    lease(&tier, lease_request("leased", token(), LeaseMode::IfAbsent)).await.unwrap();
    assert_eq!(tier.exists("key").await, Ok(true));
    let tags = ["ns:%tag:a".to_owned()];
    tier.lease(&[], tag_request(&tags, MINUTE)).await.unwrap();
    assert_eq!(server.cli(&["DBSIZE"]), "3");
    let keys = ["key", "leased", "absent"].map(ToOwned::to_owned);
    for _ in 0..2 {
        assert_eq!(tier.delete(&keys, &tags).await, Ok(()));
        assert_eq!(server.cli(&["DBSIZE"]), "0");
    }
}

#[tokio::test]
async fn counter_adds_exactly() {
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
async fn counter_gets_its_ttl_only_when_created() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    let left = |key| server.cli(&["PTTL", key]).parse::<i64>().unwrap();

    tier.incr("counter", 1, Some(MINUTE)).await.unwrap();
    assert!((1..=60_000).contains(&left("counter")));
    tier.incr("counter", 1, Some(10 * MINUTE)).await.unwrap();
    assert!((1..=60_000).contains(&left("counter")), "a later addition must not extend it");

    // A sum that equals its last addend does not prove that the counter is new.
    tier.incr("endless", 3, None).await.unwrap();
    tier.incr("endless", -3, None).await.unwrap();
    tier.incr("endless", 3, Some(MINUTE)).await.unwrap();
    assert_eq!(left("endless"), -1);
}

#[tokio::test]
async fn value_of_another_type_is_refused_without_losing_the_connection() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = tier(&proxy.url());
    server.cli(&["RPUSH", "list", "someone else's"]);
    server.cli(&["SET", "text", "not a number"]);

    let wrong_type = refused("WRONGTYPE");
    assert_eq!(get(&tier, "list").await, Err(wrong_type.clone()));
    let lookups = ["text", "list"].map(Lookup::new);
    assert_eq!(tier.lookup(&lookups, &[]).await.unwrap_err(), wrong_type.clone());
    assert_eq!(tier.exists("list").await, Err(wrong_type.clone()));
    assert_eq!(tier.incr("list", 1, None).await, Err(wrong_type));
    assert_eq!(tier.incr("text", 1, None).await, Err(refused("ERR")));

    assert_eq!(bytes(&tier, "text").await, Some(b"not a number".to_vec()));
    assert_eq!(proxy.connections(), 1, "a refused command must not cost the connection");
}

#[tokio::test]
async fn full_server_still_deletes_and_releases() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    for key in ["one", "two"] {
        put(&tier, key, vec![1], MINUTE).await.unwrap();
    }
    let mine = token();
    lease(&tier, lease_request("three", mine, LeaseMode::IfAbsent)).await.unwrap();
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);

    let fills = vec![tier_fill("three", mine, vec![1], MINUTE)];
    assert_eq!(tier.fill(fills).await.unwrap_err(), refused("OOM"));
    assert_eq!(lease(&tier, lease_request("four", token(), LeaseMode::IfAbsent)).await, Err(refused("OOM")));
    assert_eq!(tier.release("three", mine, false).await, Ok(true));
    assert_eq!(delete(&tier, "one").await, Ok(()));
    assert_eq!(tier.delete_matching("t*").await, Ok(1));
}

/// A pipeline does not resend an unknown script by itself, and completed commands must not run twice.
#[tokio::test]
async fn script_that_the_server_forgot_is_sent_again() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    for round in 1..=3 {
        assert_eq!(tier.incr("counter", 1, None).await, Ok(round));
        put(&tier, "key", vec![1], MINUTE).await.unwrap();
        server.cli(&["SCRIPT", "FLUSH"]);

        let keys: Vec<_> = (0..3).map(|index| format!("{round} {index}")).collect();
        let tokens = [token(), token(), token()];
        let requests: Vec<_> = keys
            .iter()
            .zip(tokens)
            .map(|(key, token)| lease_request(key, token, LeaseMode::IfAbsent))
            .collect();
        let leased = tier.lease(&requests, tag_request(&["tag".to_owned()], MINUTE)).await.unwrap();
        assert_eq!(leased.replies, [LeaseReply::Granted; 3]);
        server.cli(&["SCRIPT", "FLUSH"]);
        let fills =
            keys.iter().zip(tokens).map(|(key, token)| tier_fill(key, token, vec![1], MINUTE)).collect();
        assert_eq!(tier.fill(fills).await.unwrap().stored, [true; 3]);
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
                put(&tier, &key, value.clone(), MINUTE).await.unwrap();
                assert_eq!(bytes(&tier, &key).await, Some(value));
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
