//! Generations of tags.

use cached_core::{Ask, Grant, Take, Tier};
use cached_redis::RedisTier;
use redis_harness::RedisServer;

use crate::support::{MINUTE, claim, delete, tier, token};

const HOUR_MS: i64 = 60 * 60 * 1000;

fn tags(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("ns:%tag:{name}")).collect()
}

async fn seed(tier: &RedisTier, names: &[&str]) -> Vec<u64> {
    tier.lease(&[], &tags(names), MINUTE).await.unwrap().generations
}

async fn read(tier: &RedisTier, names: &[&str]) -> Vec<Option<u64>> {
    tier.look(&[], &tags(names)).await.unwrap().generations
}

#[tokio::test]
async fn a_generation_is_seeded_once() {
    let server = RedisServer::start();
    let (tier, other) = (tier(&server.url()), tier(&server.url()));
    assert_eq!(read(&tier, &["a"]).await, [None]);
    let first = seed(&tier, &["a"]).await;
    assert_eq!(seed(&other, &["a"]).await, first);
    assert_eq!(read(&other, &["a"]).await, [Some(first[0])]);

    let both = seed(&other, &["b", "a"]).await;
    assert_eq!(both[1], first[0]);
    assert_ne!(both[0], both[1]);
    assert_eq!(read(&tier, &["a", "none", "b"]).await, [Some(both[1]), None, Some(both[0])]);
}

#[tokio::test]
async fn an_invalidated_tag_never_has_its_generation_again() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    let mut seen = Vec::new();
    for _ in 0..50 {
        let generation = seed(&tier, &["a"]).await[0];
        assert!(!seen.contains(&generation));
        seen.push(generation);
        assert_eq!(delete(&tier, "ns:%tag:a").await, Ok(true));
        assert_eq!(read(&tier, &["a"]).await, [None]);
    }
}

#[tokio::test]
async fn what_is_no_generation_is_replaced() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    for foreign in ["", "7", "not a generation", "0123456789abcdeg"] {
        server.cli(&["SET", "ns:%tag:a", foreign]);
        assert_eq!(read(&tier, &["a"]).await, [None], "{foreign}");
        let seeded = seed(&tier, &["a"]).await[0];
        assert_eq!(read(&tier, &["a"]).await, [Some(seeded)], "{foreign}");
    }
}

#[tokio::test]
async fn a_generation_outlives_what_was_read_with_it() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    let left = || server.cli(&["PTTL", "ns:%tag:a"]).parse::<i64>().unwrap();
    seed(&tier, &["a"]).await;
    assert!(left() > HOUR_MS + 110_000 && left() <= HOUR_MS + 120_000, "{}", left());

    server.cli(&["PEXPIRE", "ns:%tag:a", "70000"]);
    seed(&tier, &["a"]).await;
    assert!(left() <= 70_000, "it was long enough");
    server.cli(&["PEXPIRE", "ns:%tag:a", "50000"]);
    seed(&tier, &["a"]).await;
    assert!(left() > HOUR_MS);
    server.cli(&["PERSIST", "ns:%tag:a"]);
    seed(&tier, &["a"]).await;
    assert_eq!(left(), -1);
}

#[tokio::test]
async fn leases_and_tags_go_together() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    let claims = [claim("key", token(), Take::Free)];
    let leased = tier.lease(&claims, &tags(&["a", "b"]), MINUTE).await.unwrap();
    assert_eq!(leased.grants, [Grant::Held]);
    let seen = tier.look(&[Ask { key: "key", known: None }], &tags(&["a", "b"])).await.unwrap();
    assert_eq!(seen.generations, leased.generations.into_iter().map(Some).collect::<Vec<_>>());
}
