//! First call of a process, which already finds the values in Redis.

use std::time::{Duration, Instant};

use cached_core::{TierCause, TierError, tier::Tier};
use cached_redis::{RedisState, RedisTier};
use redis_harness::{Mode, Proxy, RedisServer};

use crate::support::{
    AMPLE, AT_ONCE, MINUTE, Recorder, attach, builder, bytes, get, put, tier, wait_until_up,
};

/// Delay that each round trip gets.
const FAR: Duration = Duration::from_millis(60);

/// Returns a tier with the default budget of a read, which is shorter than one round trip.
fn impatient_tier(url: &str) -> RedisTier {
    RedisTier::builder(url).connect_timeout(AMPLE).build().unwrap()
}

#[tokio::test]
async fn first_call_hits_however_distant_the_server_is() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let near = tier(&server.url());
    put(&near, "key", vec![7], MINUTE).await.unwrap();

    proxy.set_mode(Mode::Delay(FAR));
    let first = impatient_tier(&proxy.url());
    attach(&first, std::sync::Arc::new(Recorder::default()));
    assert_eq!(bytes(&first, "key").await, Some(vec![7]));

    // Many concurrent first calls hit as well.
    let several = std::sync::Arc::new(impatient_tier(&proxy.url()));
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let several = several.clone();
            tokio::spawn(async move { bytes(&several, "key").await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), Some(vec![7]));
    }
}

#[cfg(feature = "cluster")]
#[tokio::test]
async fn first_call_hits_in_a_cluster() {
    let cluster = redis_harness::RedisCluster::start();
    let near = tier(&cluster.url());
    let keys: Vec<_> = (0..20).map(|number| format!("key {number}")).collect();
    for key in &keys {
        put(&near, key, vec![7], MINUTE).await.unwrap();
    }
    for key in &keys {
        // The budget alone is too short for any operation.
        let first = RedisTier::builder(cluster.url())
            .connect_timeout(AMPLE)
            .operation_timeout(Duration::from_nanos(1))
            .build()
            .unwrap();
        assert_eq!(bytes(&first, key).await, Some(vec![7]), "{key}");
    }
}

#[tokio::test]
async fn connecting_takes_few_round_trips() {
    let server = RedisServer::start();
    for expected in [
        // The greeting, tracking, the first heartbeat, and the upload of the script that it runs.
        4, // Next, the server knows the script.
        3,
    ] {
        // A new proxy, since a request of the previous tier may be under way.
        let proxy = Proxy::start(server.port());
        let tier = tier(&proxy.url());
        attach(&tier, std::sync::Arc::new(Recorder::default()));
        assert_eq!(tier.connected().await, Ok(()));
        drop(tier);
        let trips = proxy.take_round_trips();
        let requests: Vec<_> = trips.iter().map(|sent| String::from_utf8_lossy(sent)).collect();
        let first = requests.iter().position(|sent| sent.contains("TIME\r\n*")).expect("a heartbeat");
        // The second heartbeat may have begun before `connected` returned. It does not query the time again.
        let second = requests[first + 1..].iter().position(|sent| sent.contains(":%echo:"));
        let end = second.map_or(requests.len(), |place| first + 1 + place);
        assert_eq!(end, expected, "{requests:?}");
    }
}

#[tokio::test]
async fn known_outage_is_not_waited_for() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    proxy.set_mode(Mode::Swallow);
    let tier = builder(&proxy.url())
        .operation_timeout(Duration::from_millis(1))
        .connect_timeout(Duration::from_millis(300))
        .build()
        .unwrap();
    let began = Instant::now();
    assert_eq!(get(&tier, "key").await, Err(TierError::Unavailable));
    assert!(began.elapsed() >= Duration::from_millis(300), "the first attempt is waited for");
    assert_eq!(tier.state(), RedisState::Down);
    assert!(!tier.ready(), "and none after it is");
    assert_eq!(tier.connected().await, Err(TierCause::Timeout));

    let mut gone = RedisServer::start();
    gone.stop();
    let tier = crate::support::tier(&gone.url());
    let began = Instant::now();
    assert_eq!(get(&tier, "key").await, Err(TierError::Unavailable));
    assert!(began.elapsed() < AT_ONCE, "a server that refuses is not waited for");
}

#[tokio::test]
async fn connected_waits_for_the_first_attempt() {
    let mut server = RedisServer::start();
    let tier = tier(&server.url());
    assert_eq!(tier.connected().await, Ok(()));
    server.kill();
    crate::support::wait_until_down(&tier).await;
    tier.connected().await.expect_err("it is known already");
    server.restart();
    wait_until_up(&tier).await;
    assert_eq!(tier.connected().await, Ok(()));
}

#[test]
fn connected_reports_a_cause_outside_of_a_runtime() {
    let tier = tier("redis://127.0.0.1:1");
    let connected = std::pin::pin!(tier.connected());
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let outcome = connected.poll(&mut cx);
    assert_eq!(outcome, std::task::Poll::Ready(Err(TierCause::NoRuntime)));
}
