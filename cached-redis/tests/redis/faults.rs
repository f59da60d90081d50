//! Connections that the network breaks.

use std::time::Duration;

use cached_core::{
    TierError,
    tier::{LeaseMode, Tier},
};
use redis_harness::{Mode, Proxy, RedisServer, eventually_async};

use crate::support::{
    MINUTE, builder, bytes, delete, fill, get, lease, lease_request, put, refused, tier, tier_fill, token,
    wait_until_down, wait_until_up,
};

#[tokio::test]
async fn mute_connection_is_replaced() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = builder(&proxy.url())
        .operation_timeout(Duration::from_millis(50))
        .connect_timeout(Duration::from_millis(200))
        .build()
        .unwrap();
    eventually_async("the tier is connected", async || get(&tier, "key").await.is_ok()).await;
    assert_eq!(proxy.connections(), 1);

    // Open connections stay mute, even when the network works again.
    proxy.set_mode(Mode::Swallow);
    proxy.set_mode(Mode::Pass);
    assert_eq!(get(&tier, "key").await, Err(TierError::Timeout));
    eventually_async("the tier is connected again", async || get(&tier, "key").await.is_ok()).await;
    assert!(proxy.connections() > 1);
}

#[tokio::test]
async fn idle_connection_is_checked_and_kept() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = tier(&proxy.url());
    wait_until_up(&tier).await;
    proxy.take_round_trips();
    let mut checks = 0;
    eventually_async("the connection was checked twice", async || {
        checks += proxy.take_round_trips().len();
        checks >= 2
    })
    .await;
    assert_eq!(proxy.connections(), 1);
    assert_eq!(get(&tier, "key").await, Ok(None));
}

#[tokio::test]
async fn mute_network_is_detected() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = builder(&proxy.url()).connect_timeout(Duration::from_millis(200)).build().unwrap();
    wait_until_up(&tier).await;
    proxy.set_mode(Mode::Swallow);
    wait_until_down(&tier).await;
    proxy.set_mode(Mode::Pass);
    wait_until_up(&tier).await;
}

#[tokio::test]
async fn reset_connection_is_replaced() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = tier(&proxy.url());
    wait_until_up(&tier).await;
    proxy.set_mode(Mode::Reset);
    assert_eq!(get(&tier, "key").await, Err(TierError::Unavailable));
    wait_until_down(&tier).await;
    proxy.set_mode(Mode::Pass);
    wait_until_up(&tier).await;
}

#[tokio::test]
async fn truncated_reply_is_not_returned_as_a_value() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = tier(&proxy.url());
    put(&tier, "key", vec![b'x'; 1000], MINUTE).await.unwrap();
    for length in [0, 1, 7, 500] {
        proxy.set_mode(Mode::Truncate(length));
        assert_eq!(get(&tier, "key").await, Err(TierError::Unavailable), "after {length} bytes");
        proxy.set_mode(Mode::Pass);
        wait_until_up(&tier).await;
    }
    assert_eq!(bytes(&tier, "key").await, Some(Vec::from([b'x'; 1000])));
}

#[tokio::test]
async fn closed_port_is_found_again() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = tier(&proxy.url());
    wait_until_up(&tier).await;
    proxy.set_mode(Mode::Refuse);
    wait_until_down(&tier).await;
    proxy.set_mode(Mode::Pass);
    wait_until_up(&tier).await;
}

#[tokio::test]
async fn slow_reply_times_out_without_losing_the_connection() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = builder(&proxy.url()).operation_timeout(Duration::from_millis(20)).build().unwrap();
    eventually_async("the tier is connected", async || put(&tier, "key", vec![1], MINUTE).await.is_ok())
        .await;
    let mine = token();
    eventually_async("it has the lease", async || {
        lease(&tier, lease_request("key", mine, LeaseMode::Always)).await.is_ok()
    })
    .await;

    proxy.set_mode(Mode::Delay(Duration::from_millis(300)));
    assert_eq!(get(&tier, "key").await, Err(TierError::Timeout));
    let stored = fill(&tier, tier_fill("key", mine, vec![2], MINUTE)).await;
    assert_eq!(stored, Ok(true), "a write has another budget");
    assert!(tier.ready());
    proxy.set_mode(Mode::Pass);
    // Late replies without a waiting caller must not be taken for replies to later requests.
    eventually_async("the delay is over", async || match get(&tier, "key").await {
        Ok(stored) => {
            assert_eq!(stored.map(|stored| stored.bytes), Some(vec![2]));
            true
        }
        Err(_) => false,
    })
    .await;
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test]
async fn read_only_server_is_read_until_a_new_primary_is_found() {
    let (old, new) = (RedisServer::start(), RedisServer::start());
    let proxy = Proxy::start(old.port());
    let tier = tier(&proxy.url());
    put(&tier, "key", vec![1], MINUTE).await.unwrap();
    // The old primary follows a server that does not exist, so it keeps its data.
    old.cli(&["REPLICAOF", "127.0.0.1", "1"]);

    assert_eq!(put(&tier, "key", vec![2], MINUTE).await, Err(refused("READONLY")));
    assert_eq!(bytes(&tier, "key").await, Some(vec![1]));
    assert!(tier.ready());

    // From here on, the address leads to the new primary. The old connection would never notice.
    proxy.set_upstream(new.port());
    eventually_async("a write reaches the new primary", async || {
        put(&tier, "key", vec![3], MINUTE).await.is_ok()
    })
    .await;
    assert_eq!(new.cli(&["EXISTS", "key"]), "1");
}

#[tokio::test]
async fn refusals_do_not_cause_constant_reconnects() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = builder(&proxy.url()).retry(Duration::from_millis(5), MINUTE).build().unwrap();
    wait_until_up(&tier).await;
    server.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    let mut refusals = 0;
    eventually_async("it was refused often", async || {
        refusals += usize::from(delete(&tier, "key").await == Err(refused("READONLY")));
        refusals == 500
    })
    .await;
    assert!(proxy.connections() <= 2, "{}", proxy.connections());
}
