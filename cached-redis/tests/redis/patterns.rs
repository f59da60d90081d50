//! Deletion by pattern.

use std::sync::Arc;

use cached_core::tier::{LeaseMode, Tier};
use redis_harness::RedisServer;

use crate::support::{
    MINUTE, Recorder, attach, lease, lease_request, put, refused, tag_request, tier, token, wait_until_up,
};

#[tokio::test]
async fn pattern_deletes_all_matches_however_many() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    wait_until_up(&tier).await;
    server.cli(&["EVAL", "for i = 1, 5000 do redis.call('SET', 'ns:a:' .. i, i) end", "0"]);
    put(&tier, "ns:a:value", vec![1], MINUTE).await.unwrap();
    lease(&tier, lease_request("ns:a:lease", token(), LeaseMode::IfAbsent)).await.unwrap();
    server.cli(&["SET", "ns:b:1", "other"]);
    assert_eq!(tier.delete_matching("ns:a:*").await, Ok(5002));
    assert_eq!(server.cli(&["KEYS", "*"]), "ns:b:1");
    assert_eq!(tier.delete_matching("ns:a:*").await, Ok(0));
}

/// Most scan steps find nothing, which does not mean that the scan is complete.
#[tokio::test]
async fn pattern_finds_few_keys_among_many() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    wait_until_up(&tier).await;
    server.cli(&["EVAL", "for i = 1, 10000 do redis.call('SET', 'ns:a:' .. i, i) end", "0"]);
    server.cli(&["EVAL", "for i = 1, 20 do redis.call('SET', 'ns:b:' .. i, i) end", "0"]);
    assert_eq!(tier.delete_matching("ns:b:*").await, Ok(20));
    assert_eq!(server.cli(&["DBSIZE"]), "10000");
}

#[tokio::test]
async fn only_the_star_is_special_in_a_pattern() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    let keys = ["a[b]c", "abc", "a?c", r"a\c", "a^c", "a*c"];
    for key in keys {
        server.cli(&["SET", key, "1"]);
    }
    for key in ["a[b]c", "a?c", r"a\c", "a^c"] {
        assert_eq!(tier.delete_matching(key).await, Ok(1), "{key}");
        assert_eq!(server.cli(&["EXISTS", key]), "0");
    }
    assert_eq!(tier.delete_matching("a*c").await, Ok(2));
}

#[tokio::test]
async fn pattern_keeps_tags_and_members() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    attach(&tier, Arc::new(Recorder::default()));
    tier.lease(&[], tag_request(&["ns:%tag:a".to_owned()], MINUTE)).await.unwrap();
    for key in ["ns:a", "ns:%", "nsx:%a"] {
        server.cli(&["SET", key, "1"]);
    }
    assert_eq!(tier.delete_matching("ns:*").await, Ok(1));
    assert_eq!(server.cli(&["EXISTS", "ns:%tag:a", "ns:%", "nsx:%a", "ns:%members"]), "4");
}

#[tokio::test]
async fn refusal_ends_the_deletion() {
    let server = RedisServer::start();
    server.cli(&["ACL", "SETUSER", "default", "-unlink"]);
    let tier = tier(&server.url());
    assert_eq!(tier.delete_matching("*").await, Ok(0));
    server.cli(&["SET", "key", "1"]);
    assert_eq!(tier.delete_matching("*").await, Err(refused("NOPERM")));
}
