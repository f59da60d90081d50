//! Causes for which Redis is not used, as reported to the application.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cached_core::{Cache, TierCause, TierHealth, TierState, testing::ManualClock, tier::Tier};
use cached_redis::{RedisState, RedisTier};
use redis_harness::{Mode, Proxy, RedisServer, eventually_async};

use crate::{
    settings::assert_no_credentials,
    support::{AMPLE, MINUTE, Recorder, attach, builder, get, put, tier, wait_until_down, wait_until_up},
};

/// Returns the cause of the failed first attempt, and asserts that it reveals no credentials.
async fn failure_cause(tier: &RedisTier) -> TierCause {
    let cause = tier.connected().await.expect_err("there is no connection");
    let health = tier.health();
    assert_eq!((health.state, health.cause.as_ref()), (RedisState::Down, Some(&cause)));
    assert_eq!(Tier::health(tier), TierHealth::new(TierState::Down).cause(Some(cause.clone())));
    assert_no_credentials(&format!("{cause} {cause:?} {health:?}"));
    cause
}

async fn failure_cause_at(url: &str) -> TierCause {
    failure_cause(&tier(url)).await
}

#[tokio::test]
async fn untried_tier_has_no_cause() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    assert_eq!(Tier::health(&tier), TierHealth::new(TierState::Untried));
    assert!(TierState::Untried.is_healthy() && tier.ready());
    assert_eq!(tier.connected().await, Ok(()));
    assert_eq!(Tier::health(&tier), TierHealth::new(TierState::Up));
    assert!(tier.health().round_trip_ms.is_some());
}

#[tokio::test]
async fn refused_connection_differs_from_unknown_host() {
    let mut server = RedisServer::start();
    server.stop();
    assert_eq!(failure_cause_at(&server.url()).await, TierCause::Refused);
    assert_eq!(failure_cause_at("unix:///nowhere/redis.sock").await, TierCause::Refused);
    assert_eq!(failure_cause_at("redis://nowhere.invalid").await, TierCause::UnknownHost);
}

#[tokio::test]
async fn failed_login_reports_its_cause() {
    let server = RedisServer::start_with(&["--requirepass", "canarypass"]);
    let at = |login: &str| format!("redis://{login}127.0.0.1:{}/", server.port());
    assert_eq!(failure_cause_at(&at("")).await, TierCause::AuthenticationRequired);
    assert_eq!(failure_cause_at(&at(":wrong@")).await, TierCause::WrongPassword);
    assert_eq!(failure_cause_at(&at("canaryuser:canarypass@")).await, TierCause::WrongPassword);
    let database = format!("redis://:canarypass@127.0.0.1:{}/99", server.port());
    assert_eq!(failure_cause_at(&database).await, TierCause::NoSuchDatabase);
}

#[tokio::test]
async fn refused_handshake_reports_its_cause() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    for (answer, cause) in [
        (&b"-ERR max number of clients reached\r\n"[..], TierCause::TooManyClients),
        (b"-DENIED Redis is running in protected mode because ..\r\n", TierCause::ProtectedMode),
        (b"-LOADING Redis is loading the dataset in memory\r\n", TierCause::Loading),
        (b"-SOMETHING canarypass\r\n", TierCause::Code("SOMETHING".to_owned())),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", TierCause::HungUp),
    ] {
        proxy.set_mode(Mode::Greet(answer));
        assert_eq!(failure_cause_at(&proxy.url()).await, cause);
    }
    proxy.set_mode(Mode::Reset);
    assert_eq!(failure_cause_at(&proxy.url()).await, TierCause::HungUp);
    proxy.set_mode(Mode::Swallow);
    let mute = builder(&proxy.url()).connect_timeout(Duration::from_millis(100)).build().unwrap();
    assert_eq!(failure_cause(&mute).await, TierCause::Timeout);
}

/// Waits until the tier is connected but degraded, for this cause.
async fn wait_until_degraded(tier: &RedisTier, cause: TierCause) {
    eventually_async(&format!("the cause is {cause:?}"), async || {
        let health = tier.health();
        assert_no_credentials(&format!("{health:?}"));
        (health.state, health.cause) == (RedisState::Degraded, Some(cause.clone()))
    })
    .await;
    assert_eq!(tier.connected().await, Ok(()), "there is a connection");
}

fn attached_tier(url: &str) -> RedisTier {
    let tier = tier(url);
    attach(&tier, Arc::new(Recorder::default()));
    tier
}

#[tokio::test]
async fn missing_right_is_reported_by_name() {
    let server = RedisServer::start();
    let as_user = |name: &str, rights: &[&str]| {
        let user = ["ACL", "SETUSER", name, "on", ">canarypass", "~*", "&*", "+@all"];
        server.cli(&[&user[..], rights].concat());
        attached_tier(&format!("redis://{name}:canarypass@127.0.0.1:{}/", server.port()))
    };
    let not_permitted = |what: &str| TierCause::NotPermitted(what.to_owned());
    // Before Redis 7, rights apply to whole commands.
    let tracking = if RedisServer::major_version() < 7 { "client" } else { "client|tracking" };
    let tier = as_user("canaryuser", &["-client"]);
    tier.connected().await.unwrap();
    wait_until_degraded(&tier, not_permitted(tracking)).await;
    let tier = as_user("canaryuser2", &["-evalsha"]);
    tier.connected().await.unwrap();
    wait_until_degraded(&tier, not_permitted("evalsha")).await;
    let tier = as_user("canaryuser3", &["resetkeys", "~other:*"]);
    tier.connected().await.unwrap();
    wait_until_degraded(&tier, not_permitted("keys")).await;
}

#[tokio::test]
async fn read_only_and_full_servers_are_reported_as_cause() {
    let server = RedisServer::start();
    let tier = attached_tier(&server.url());
    wait_until_up(&tier).await;
    server.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    wait_until_degraded(&tier, TierCause::ReadOnly).await;
    server.cli(&["REPLICAOF", "NO", "ONE"]);
    eventually_async("it is well again", async || tier.health().cause.is_none()).await;

    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    // A member stays registered until its registration has to be written again.
    let full = attached_tier(&server.url());
    full.connected().await.unwrap();
    wait_until_degraded(&full, TierCause::Full).await;
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    eventually_async("it is well again", async || full.health().cause.is_none()).await;
}

#[tokio::test]
async fn hung_server_is_slow_and_killed_server_is_lost() {
    let server = RedisServer::start();
    let tier = builder(&server.url()).operation_timeout(Duration::from_millis(20)).build().unwrap();
    eventually_async("it is up", async || get(&tier, "key").await.is_ok()).await;
    server.freeze();
    eventually_async("the breaker is open", async || {
        let _ = get(&tier, "key").await;
        tier.health().breaker_open
    })
    .await;
    wait_until_degraded(&tier, TierCause::Slow).await;
    server.thaw();
    eventually_async("it is well again", async || tier.health().cause.is_none()).await;

    let mut server = RedisServer::start();
    let tier = builder(&server.url()).retry(AMPLE, AMPLE).build().unwrap();
    wait_until_up(&tier).await;
    server.kill();
    wait_until_down(&tier).await;
    assert_eq!(tier.health().cause, Some(TierCause::Lost));
}

#[tokio::test]
async fn server_beyond_the_read_timeout_is_reported_as_slow() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = builder(&format!("{}?read_timeout=20ms", proxy.url())).build().unwrap();
    eventually_async("it is up", async || get(&tier, "key").await.is_ok()).await;
    proxy.set_mode(Mode::Delay(Duration::from_millis(60)));
    eventually_async("the breaker is open", async || {
        let _ = get(&tier, "key").await;
        tier.health().breaker_open
    })
    .await;
    wait_until_degraded(&tier, TierCause::Slow).await;
    eventually_async("how far it is can be seen", async || tier.health().round_trip_ms >= Some(60)).await;

    let patient = builder(&format!("{}?read_timeout=30s", proxy.url())).build().unwrap();
    for _ in 0..8 {
        assert_eq!(get(&patient, "key").await, Ok(None));
    }
    assert_eq!(patient.health().cause, None);
}

#[tokio::test]
async fn temporary_refusal_does_not_downgrade_the_protocol() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    proxy.set_mode(Mode::Greet(b"-ERR max number of clients reached\r\n"));
    let tier = attached_tier(&proxy.url());
    assert_eq!(failure_cause(&tier).await, TierCause::TooManyClients);
    proxy.set_mode(Mode::Pass);
    eventually_async("it is up", async || tier.state() == RedisState::Up).await;
    assert!(tier.health().tracking);
}

#[tokio::test]
async fn resp2_is_used_until_the_proxy_supports_resp3() {
    let server = RedisServer::start();
    for answer in
        [&b""[..], b"-ERR unknown command 'HELLO'\r\n", b"-NOPROTO unsupported protocol version\r\n"]
    {
        let proxy = Proxy::start(server.port());
        proxy.set_mode(Mode::Greet(answer));
        let tier = attached_tier(&proxy.url());
        tier.connected().await.unwrap();
        wait_until_degraded(&tier, TierCause::NoResp3).await;
        put(&tier, "key", vec![1], MINUTE).await.unwrap();
        proxy.set_mode(Mode::Pass);
        eventually_async("it speaks RESP3", async || tier.state() == RedisState::Up).await;
        assert!(tier.health().tracking && tier.health().cause.is_none());
    }
}

#[tokio::test]
async fn url_selects_the_protocol() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = attached_tier(&format!("{}?protocol=resp2", proxy.url()));
    tier.connected().await.unwrap();
    wait_until_degraded(&tier, TierCause::NoResp3).await;
    put(&tier, "key", vec![1], MINUTE).await.unwrap();
    let sent = proxy.take_round_trips().concat();
    assert!(!String::from_utf8_lossy(&sent).contains("HELLO"));

    proxy.set_mode(Mode::Greet(b"-ERR unknown command 'HELLO'\r\n"));
    assert_eq!(failure_cause_at(&format!("{}?protocol=resp3", proxy.url())).await, TierCause::NoResp3);
}

#[tokio::test]
async fn listener_is_notified_of_state_and_cause_changes() {
    let mut server = RedisServer::start();
    server.stop();
    let (tier, recorder) = (tier(&server.url()), Arc::new(Recorder::default()));
    attach(&tier, recorder.clone());
    assert_eq!(recorder.status_changes(), 0);
    assert_eq!(tier.connected().await, Err(TierCause::Refused));
    assert_eq!(recorder.status_changes(), 1);
    server.restart();
    wait_until_up(&tier).await;
    eventually_async("it is told", async || recorder.status_changes() >= 2).await;
    let before = recorder.status_changes();
    for _ in 0..3 {
        get(&tier, "key").await.unwrap();
    }
    assert_eq!(recorder.status_changes(), before, "nothing has changed");
}

#[cfg(feature = "cluster")]
#[tokio::test]
async fn url_that_mismatches_cluster_or_standalone_server_is_reported() {
    let cluster = redis_harness::RedisCluster::start();
    let tier = attached_tier(&cluster.servers[0].url());
    tier.connected().await.unwrap();
    eventually_async("a key is another server's", async || {
        for number in 0..20 {
            let _ = get(&tier, &format!("key {number}")).await;
        }
        tier.health().cause.is_some()
    })
    .await;
    wait_until_degraded(&tier, TierCause::IsCluster).await;

    let server = RedisServer::start();
    let url = format!("redis-cluster://127.0.0.1:{}", server.port());
    let tier = builder(&url).build().unwrap();
    assert_eq!(tier.connected().await, Err(TierCause::NoCluster));
}

#[cfg(feature = "cluster")]
#[tokio::test]
async fn cluster_tier_reports_the_cause_of_each_failure() {
    let mut cluster = redis_harness::RedisCluster::start();
    for server in &cluster.servers {
        server.cli(&[
            "ACL",
            "SETUSER",
            "app",
            "on",
            ">canarypass",
            "~*",
            "&*",
            "+@all",
            "-cluster",
            "+cluster|slots",
            "+cluster|myid",
            "+cluster|nodes",
        ]);
    }
    let url = cluster.url().replace("//", "//app:canarypass@");
    let tier = builder(&url).build().unwrap();
    assert_eq!(Tier::health(&tier).state, TierState::Untried);
    let cause = tier.connected().await.unwrap_err();
    // Some versions do not report which of the two commands of a script was refused.
    assert!(matches!(&cause, TierCause::NotPermitted(what) if what.contains("cluster|info")), "{cause:?}");

    let tier = builder(&cluster.url()).build().unwrap();
    assert_eq!(tier.connected().await, Ok(()));
    eventually_async("all are up", async || tier.state() == RedisState::Up).await;
    cluster.servers[2].kill();
    eventually_async("one is missed", async || tier.state() == RedisState::Degraded).await;
    eventually_async("it is said why", async || tier.health().cause == Some(TierCause::Refused)).await;
}

#[tokio::test]
async fn server_whose_scripts_cannot_write_is_too_old() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    proxy.set_mode(Mode::OldScripts);
    let tier = attached_tier(&proxy.url());
    tier.connected().await.unwrap();
    wait_until_degraded(&tier, TierCause::TooOld).await;
    // A connection without pushes has the same cause.
    let untracked = attached_tier(&format!("{}?protocol=resp2", proxy.url()));
    untracked.connected().await.unwrap();
    wait_until_degraded(&untracked, TierCause::TooOld).await;
    proxy.set_mode(Mode::Pass);
    eventually_async("it is well again", async || tier.health().cause.is_none()).await;
    eventually_async("it is only untracked", async || untracked.health().cause == Some(TierCause::NoResp3))
        .await;
    assert!(tier.ready() && untracked.ready());
}

/// A server that can store nothing counts as absent.
///
/// Loaded values are kept for the staleness bound and the outage grace.
#[tokio::test]
async fn values_are_kept_as_in_an_outage_when_scripts_are_not_permitted() {
    let server = RedisServer::start();
    let user = |rights: &[&str]| {
        let user = ["ACL", "SETUSER", "canaryuser", "on", ">canarypass", "~*", "&*", "+@all"];
        server.cli(&[&user[..], rights].concat());
    };
    user(&["-eval", "-evalsha"]);
    let tier = tier(&format!("redis://canaryuser:canarypass@127.0.0.1:{}/", server.port()));
    let (state, clock, runs) = (tier.watch_state(), ManualClock::new(), AtomicUsize::new(0));
    let cache = Cache::builder().namespace("ns").tier(tier).clock(clock.clock()).build().unwrap();
    cache.connected().await.unwrap();
    eventually_async("it is known", async || !cache.health().is_tier_ready).await;
    let cause = || cache.health().tier.unwrap().cause;
    assert_eq!(cause(), Some(TierCause::NotPermitted("evalsha".to_owned())));
    let values = cache.keyspace::<u64, u64>("value", 60 * MINUTE).unwrap();
    let load = || {
        runs.fetch_add(1, Ordering::SeqCst);
        async { Ok::<_, Infallible>(7) }
    };
    for _ in 0..10 {
        assert_eq!(values.get_or_load(&1, load).await.unwrap(), 7);
        clock.advance(Duration::from_secs(3));
    }
    assert_eq!(runs.load(Ordering::SeqCst), 1, "30 s are less than the bound and the grace");
    clock.advance(Duration::from_secs(2));
    assert_eq!(values.get_or_load(&1, load).await.unwrap(), 7);
    assert_eq!(runs.load(Ordering::SeqCst), 2, "it is not kept for longer");

    user(&[]);
    eventually_async("it is asked again", async || cache.health().is_tier_ready).await;
    eventually_async("it is well", async || state.state() == RedisState::Up).await;
    assert_eq!(values.get_or_load(&2, load).await.unwrap(), 7);
    cache.flush().await;
    assert_eq!(server.cli(&["EXISTS", &values.key(&2).unwrap()]), "1", "and it stores");
}
