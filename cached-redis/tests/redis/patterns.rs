//! Deletion by pattern.

use std::sync::Arc;

use cached_core::{LeaseMode, Tier};
use redis_harness::RedisServer;

use crate::support::{MINUTE, Recorder, ask, attach, claim, lease, put, refused, tier, token, up};

#[tokio::test]
async fn all_that_matches_goes_however_much_it_is() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    up(&tier).await;
    server.cli(&["EVAL", "for i = 1, 5000 do redis.call('SET', 'ns:a:' .. i, i) end", "0"]);
    put(&tier, "ns:a:value", vec![1], MINUTE).await.unwrap();
    lease(&tier, claim("ns:a:lease", token(), LeaseMode::IfAbsent)).await.unwrap();
    server.cli(&["SET", "ns:b:1", "other"]);
    assert_eq!(tier.delete_matching("ns:a:*").await, Ok(5002));
    assert_eq!(server.cli(&["KEYS", "*"]), "ns:b:1");
    assert_eq!(tier.delete_matching("ns:a:*").await, Ok(0));
}

/// Most scan steps find nothing, which does not mean that the scan is complete.
#[tokio::test]
async fn little_is_found_among_much() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    up(&tier).await;
    server.cli(&["EVAL", "for i = 1, 10000 do redis.call('SET', 'ns:a:' .. i, i) end", "0"]);
    server.cli(&["EVAL", "for i = 1, 20 do redis.call('SET', 'ns:b:' .. i, i) end", "0"]);
    assert_eq!(tier.delete_matching("ns:b:*").await, Ok(20));
    assert_eq!(server.cli(&["DBSIZE"]), "10000");
}

#[tokio::test]
async fn only_the_star_is_special() {
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
async fn tags_and_members_are_spared() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    attach(&tier, Arc::new(Recorder::default()));
    tier.lease(&[], ask(&["ns:%tag:a".to_owned()], MINUTE)).await.unwrap();
    for key in ["ns:a", "ns:%", "nsx:%a"] {
        server.cli(&["SET", key, "1"]);
    }
    assert_eq!(tier.delete_matching("ns:*").await, Ok(1));
    assert_eq!(server.cli(&["EXISTS", "ns:%tag:a", "ns:%", "nsx:%a", "ns:%members"]), "4");
}

#[tokio::test]
async fn a_server_that_refuses_ends_it() {
    let server = RedisServer::start();
    server.cli(&["ACL", "SETUSER", "default", "-unlink"]);
    let tier = tier(&server.url());
    assert_eq!(tier.delete_matching("*").await, Ok(0));
    server.cli(&["SET", "key", "1"]);
    assert_eq!(tier.delete_matching("*").await, Err(refused("NOPERM")));
}
