//! Servers that are down, hang or refuse.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cached_core::{
    TierError,
    tier::{LeaseMode, Tier},
};
use cached_redis::RedisTier;
use redis_harness::{RedisServer, eventually, eventually_async};

use crate::support::{
    AMPLE, AT_ONCE, MINUTE, Recorder, attach, builder, delete, fill, get, lease, lease_request, put, refused,
    tier, tier_fill, token, wait_until_down, wait_until_up,
};

/// Asserts that every operation fails well before its budget is used up.
async fn assert_all_unavailable(tier: &RedisTier) {
    // Without a cache, a barrier has no members to wait for.
    attach(tier, Arc::new(Recorder::default()));
    let begin = Instant::now();
    let away = TierError::Unavailable;
    let token = token();
    assert_eq!(get(tier, "key").await, Err(away.clone()));
    assert_eq!(lease(tier, lease_request("key", token, LeaseMode::IfAbsent)).await, Err(away.clone()));
    assert_eq!(fill(tier, tier_fill("key", token, vec![1], MINUTE)).await, Err(away.clone()));
    assert_eq!(tier.renew("key", token, MINUTE).await, Err(away.clone()));
    assert_eq!(tier.release("key", token, true).await, Err(away.clone()));
    assert_eq!(delete(tier, "key").await, Err(away.clone()));
    assert_eq!(tier.delete_matching("*").await, Err(away.clone()));
    assert_eq!(tier.confirm().await, Err(away.clone()));
    assert_eq!(tier.exists("key").await, Err(away.clone()));
    assert_eq!(tier.incr("key", 1, None).await, Err(away));
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn first_operation_can_already_hit() {
    let server = RedisServer::start();
    server.cli(&["SET", "key", "value"]);
    let tier = tier(&server.url());
    assert!(tier.ready());
    assert!(get(&tier, "key").await.unwrap().is_some());
}

#[tokio::test]
async fn server_absent_at_the_start_is_found_later() {
    let mut server = RedisServer::start();
    server.stop();
    let tier = tier(&server.url());
    assert_all_unavailable(&tier).await;
    assert!(!tier.ready());

    server.restart();
    wait_until_up(&tier).await;
    assert_eq!(get(&tier, "key").await, Ok(None));
}

#[tokio::test]
async fn killed_server_is_found_again() {
    let mut server = RedisServer::start();
    let tier = tier(&server.url());
    for _ in 0..3 {
        wait_until_up(&tier).await;
        server.kill();
        wait_until_down(&tier).await;
        assert_all_unavailable(&tier).await;
        server.restart();
    }
    wait_until_up(&tier).await;
    assert_eq!(put(&tier, "key", vec![1], MINUTE).await, Ok(()));
}

#[tokio::test]
async fn operations_end_within_their_budget_when_the_server_hangs() {
    let server = RedisServer::start();
    // Only the budget of the operation can end it in time: checks and connection attempts take longer.
    let reads = builder(&server.url()).operation_timeout(Duration::from_millis(50)).build().unwrap();
    let writes = builder(&server.url()).write_timeout(Duration::from_millis(50)).build().unwrap();
    attach(&writes, Arc::new(Recorder::default()));
    wait_until_up(&writes).await;
    eventually_async("the tier is connected", async || reads.exists("key").await.is_ok()).await;

    server.freeze();
    let late = TierError::Timeout;
    let begin = Instant::now();
    let token = token();
    assert_eq!(get(&reads, "key").await, Err(late.clone()));
    assert_eq!(lease(&reads, lease_request("key", token, LeaseMode::IfAbsent)).await, Err(late.clone()));
    assert_eq!(reads.exists("key").await, Err(late.clone()));
    assert_eq!(fill(&writes, tier_fill("key", token, vec![1], MINUTE)).await, Err(late.clone()));
    assert_eq!(writes.renew("key", token, MINUTE).await, Err(late.clone()));
    assert_eq!(writes.release("key", token, true).await, Err(late.clone()));
    assert_eq!(delete(&writes, "key").await, Err(late.clone()));
    assert_eq!(writes.delete_matching("*").await, Err(late.clone()));
    assert_eq!(writes.confirm().await, Err(late.clone()));
    assert_eq!(writes.incr("key", 1, None).await, Err(late));
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());

    server.thaw();
    wait_until_up(&reads).await;
    wait_until_up(&writes).await;
}

#[tokio::test]
async fn hung_server_is_detected_and_found_again() {
    let server = RedisServer::start();
    let tier = builder(&server.url()).connect_timeout(Duration::from_millis(200)).build().unwrap();
    wait_until_up(&tier).await;

    server.freeze();
    wait_until_down(&tier).await;
    assert_all_unavailable(&tier).await;

    server.thaw();
    wait_until_up(&tier).await;
}

#[tokio::test]
async fn operations_wait_no_longer_than_the_first_attempt() {
    let server = RedisServer::start();
    server.freeze();
    let tier = builder(&server.url())
        .operation_timeout(Duration::from_millis(50))
        .connect_timeout(Duration::from_millis(200))
        .build()
        .unwrap();
    let begin = Instant::now();
    assert_eq!(get(&tier, "key").await, Err(TierError::Unavailable));
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    server.thaw();
    eventually_async("the tier is connected", async || get(&tier, "key").await.is_ok()).await;
}

#[tokio::test]
async fn right_password_connects_and_wrong_one_does_not() {
    let server = RedisServer::start_with(&["--requirepass", "right/one"]);
    let url = |password: &str| format!("redis://:{password}@127.0.0.1:{}/", server.port());

    let right = tier(&url("right%2Fone"));
    assert_eq!(get(&right, "key").await, Ok(None));

    let wrong = tier(&url("wrong"));
    assert_all_unavailable(&wrong).await;
    assert!(!wrong.ready());
}

#[tokio::test]
async fn server_that_requires_a_password_is_unavailable_until_it_does_not() {
    let server = RedisServer::start_with(&["--requirepass", "secret"]);
    let tier = tier(&server.url());
    assert_all_unavailable(&tier).await;
    assert!(!tier.ready());

    let admin = format!("redis://:secret@127.0.0.1:{}/", server.port());
    let mut admin = redis::Client::open(admin).unwrap().get_connection().unwrap();
    redis::cmd("CONFIG").arg(&["SET", "requirepass", ""]).exec(&mut admin).unwrap();
    wait_until_up(&tier).await;
}

#[tokio::test]
async fn replica_without_its_primary_refuses_and_recovers() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    wait_until_up(&tier).await;
    server.cli(&["CONFIG", "SET", "replica-serve-stale-data", "no"]);
    server.cli(&["REPLICAOF", "127.0.0.1", "1"]);

    assert_eq!(get(&tier, "key").await, Err(refused("MASTERDOWN")));
    assert_eq!(put(&tier, "key", vec![1], MINUTE).await, Err(refused("MASTERDOWN")));
    assert_eq!(delete(&tier, "key").await, Err(refused("READONLY")));
    assert!(tier.ready());

    server.cli(&["REPLICAOF", "NO", "ONE"]);
    wait_until_up(&tier).await;
    assert_eq!(put(&tier, "key", vec![1], MINUTE).await, Ok(()));
}

#[tokio::test]
async fn dropping_the_tier_closes_its_connection() {
    let server = RedisServer::start();
    let clients = || server.cli(&["CLIENT", "LIST"]).lines().count();
    let tier = tier(&server.url());
    wait_until_up(&tier).await;
    assert_eq!(clients(), 2, "the tier and the one that asks");
    drop(tier);
    eventually_async("only the one that asks is left", async || clients() == 1).await;
}

#[test]
fn dropping_the_tier_ends_its_attempts() {
    let mut server = RedisServer::start();
    server.stop();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let tier = builder(&server.url()).operation_timeout(AMPLE).build().unwrap();
    assert_eq!(runtime.block_on(get(&tier, "key")), Err(TierError::Unavailable));
    assert_eq!(runtime.metrics().num_alive_tasks(), 1);
    drop(tier);
    eventually("no task is left", || runtime.metrics().num_alive_tasks() == 0);
}
