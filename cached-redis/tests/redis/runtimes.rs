//! The runtime of a tier's background task.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use cached_core::{TierError, tier::Tier};
use redis_harness::{RedisServer, eventually_async};
use tokio::runtime::{Builder, Runtime};

use crate::support::{MINUTE, builder, bytes, debug_field, feed, get, put, tier, wait_until_up};

fn single_threaded() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn tier_is_unavailable_outside_of_a_runtime() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    let attempt = pin!(get(&tier, "key"));
    let outcome = attempt.poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(outcome, Poll::Ready(Err(TierError::Unavailable)));

    single_threaded().block_on(wait_until_up(&tier));
}

#[test]
fn task_restarts_on_a_second_runtime() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    for round in 0..3 {
        let runtime = single_threaded();
        runtime.block_on(async {
            put(&tier, "key", vec![round], MINUTE).await.unwrap();
            assert_eq!(bytes(&tier, "key").await, Some(vec![round]));
        });
    }
}

#[test]
fn feed_ends_with_its_runtime() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    let feed = single_threaded().block_on(feed(&tier));
    assert_eq!(debug_field(&feed, "is_ended"), "true");
    let other = single_threaded();
    let next = other.block_on(self::feed(&tier));
    assert!(!Arc::ptr_eq(&feed, &next));
    assert_eq!(debug_field(&next, "is_ended"), "false");
}

#[test]
fn tier_down_in_one_runtime_is_ready_in_the_next() {
    let mut server = RedisServer::start();
    server.stop();
    let tier = tier(&server.url());
    let first = single_threaded();
    assert_eq!(first.block_on(get(&tier, "key")), Err(TierError::Unavailable));
    assert!(!tier.ready());
    drop(first);
    assert!(tier.ready(), "nobody is left who could find the server");

    server.restart();
    assert_eq!(single_threaded().block_on(get(&tier, "key")), Ok(None));
}

#[test]
fn task_moves_away_from_a_stalled_runtime() {
    let server = RedisServer::start();
    let tier = builder(&server.url())
        .operation_timeout(Duration::from_millis(100))
        .connect_timeout(Duration::from_millis(500))
        .build()
        .unwrap();
    // The runtime is not dropped, but nothing drives it any more.
    let first = single_threaded();
    first.block_on(eventually_async("the tier is connected", async || get(&tier, "key").await.is_ok()));

    let second = single_threaded();
    assert_eq!(second.block_on(get(&tier, "key")), Err(TierError::Timeout));
    second.block_on(eventually_async("the task moves", async || get(&tier, "key").await.is_ok()));
    drop(first);
    second.block_on(eventually_async("the tier works", async || get(&tier, "key").await.is_ok()));
}
