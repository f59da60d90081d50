//! Providers of credentials.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cached_core::{TierCause, tier::Tier};
use cached_redis::{Credentials, CredentialsError, RedisTier};
use redis_harness::{RedisServer, eventually_async};

use crate::{
    settings::{assert_error_hides_credentials, assert_no_credentials, config_error},
    support::{AMPLE, builder, get, wait_until_down, wait_until_up},
};

/// Provider of the current password.
#[derive(Clone, Default)]
struct Vault {
    password: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
}

impl Vault {
    fn set(&self, password: &str) {
        password.clone_into(&mut self.password.lock().unwrap());
    }

    fn tier(&self, server: &RedisServer) -> RedisTier {
        let vault = self.clone();
        let provider = move || {
            vault.asked.fetch_add(1, Ordering::SeqCst);
            let password = vault.password.lock().unwrap().clone();
            async move { Ok(Credentials::new().username("canaryuser").password(password)) }
        };
        builder(&server.url()).credentials(provider).build().unwrap()
    }
}

#[tokio::test]
async fn rotated_password_is_requested_at_reconnect() {
    let server = RedisServer::start();
    let user = |password: &str| {
        server.cli(&["ACL", "SETUSER", "canaryuser", "on", "resetpass", password, "~*", "&*", "+@all"]);
    };
    let vault = Vault::default();
    user(">canarypass");
    vault.set("canarypass");
    let tier = vault.tier(&server);
    wait_until_up(&tier).await;
    assert!(server.cli(&["CLIENT", "LIST"]).contains("user=canaryuser"));
    assert_eq!(vault.asked.load(Ordering::SeqCst), 1, "once for a connection");

    user(">canarypass2");
    server.cli(&["CLIENT", "KILL", "USER", "canaryuser"]);
    wait_until_down(&tier).await;
    eventually_async("the old one is wrong", async || tier.health().cause == Some(TierCause::WrongPassword))
        .await;
    assert_no_credentials(&format!("{tier:?} {:?}", tier.health()));
    vault.set("canarypass2");
    wait_until_up(&tier).await;
}

#[tokio::test]
async fn failed_provider_is_reported_as_cause() {
    let server = RedisServer::start();
    let fails = || async { Err::<Credentials, CredentialsError>("canarypass is over".into()) };
    let panics = || async { panic!("as it was told") };
    let hangs = || async { pending().await };
    let patience = Duration::from_millis(200);
    for tier in [
        builder(&server.url()).credentials(fails).build(),
        builder(&server.url()).credentials(panics).build(),
        builder(&server.url()).connect_timeout(patience).credentials(hangs).build(),
    ] {
        let tier = tier.unwrap();
        assert_eq!(tier.connected().await, Err(TierCause::Credentials));
        assert_no_credentials(&format!("{tier:?} {:?}", tier.health()));
    }
}

#[test]
fn provider_excludes_url_login_and_hides_credentials() {
    let provider = || async { Ok(Credentials::new()) };
    for login in ["canaryuser:canarypass@", ":canarypass@", "canaryuser@"] {
        let builder = RedisTier::builder(format!("redis://{login}localhost")).credentials(provider);
        assert_error_hides_credentials(&config_error(builder));
    }
    let credentials = Credentials::new().username("canaryuser").password("canarypass");
    assert_no_credentials(&format!("{credentials:?} {credentials:#?}"));
}

#[cfg(feature = "sentinel")]
#[tokio::test]
async fn sentinel_login_is_separate_from_the_primary_login() {
    const NAME: &str = "mymaster";

    let primary = RedisServer::start();
    let configuration = format!("sentinel monitor {NAME} 127.0.0.1 {} 1\n", primary.port());
    let sentinel = RedisServer::start_sentinel(&configuration, &[]);
    sentinel.cli(&["ACL", "SETUSER", "canaryuser", "on", ">canarypass", "+@all"]);
    sentinel.cli(&["ACL", "SETUSER", "default", "resetpass", ">another"]);
    let at = || {
        let url = format!("redis-sentinel://127.0.0.1:{}/{NAME}", sentinel.port());
        RedisTier::builder(url).connect_timeout(AMPLE).operation_timeout(AMPLE)
    };
    let tier = at().sentinel_username("canaryuser").sentinel_password("canarypass").build().unwrap();
    assert_eq!(get(&tier, "key").await, Ok(None));
    for stranger in [at(), at().sentinel_password("canarypass")] {
        let tier = stranger.build().unwrap();
        assert_eq!(tier.connected().await, Err(TierCause::SentinelPassword));
        assert_no_credentials(&format!("{tier:?} {:?}", tier.health()));
    }
    assert_error_hides_credentials(&config_error(at().sentinel_username("canaryuser")));
    let other = RedisTier::builder("redis://localhost").sentinel_username("canaryuser");
    assert_error_hides_credentials(&config_error(other.sentinel_password("canarypass")));

    let unknown = format!("redis-sentinel://127.0.0.1:{}/another", sentinel.port());
    let unknown = RedisTier::builder(unknown).connect_timeout(AMPLE);
    let unknown = unknown.sentinel_username("canaryuser").sentinel_password("canarypass").build().unwrap();
    assert_eq!(unknown.connected().await, Err(TierCause::NoPrimary));
}
