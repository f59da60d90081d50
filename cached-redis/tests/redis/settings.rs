//! Settings that a builder rejects, and secrets that are never shown.

use std::{error::Error as _, time::Duration};

use cached_core::Error;
use cached_redis::{RedisTier, RedisTierBuilder};
use redis_harness::RedisServer;

use crate::support::{get, tier, wait_until_up};

const CANARIES: [&str; 2] = ["canaryuser", "canarypass"];

pub(crate) fn config_error(builder: RedisTierBuilder) -> Error {
    let error = builder.build().expect_err("this cannot work");
    assert!(error.is_config(), "{error}");
    error
}

pub(crate) fn assert_no_credentials(text: &str) {
    for canary in CANARIES {
        assert!(!text.contains(canary), "{text}");
    }
}

pub(crate) fn assert_error_hides_credentials(error: &Error) {
    assert_no_credentials(&format!("{error} {error:?} {error:#?}"));
    let mut source = error.source();
    while let Some(cause) = source {
        assert_no_credentials(&format!("{cause} {cause:?}"));
        source = cause.source();
    }
}

#[test]
fn invalid_url_is_refused_without_being_quoted() {
    for url in [
        "",
        "canarypass",
        "127.0.0.1:6379",
        "http://canaryuser:canarypass@localhost/",
        "canarypass://localhost",
        "redis://",
        "redis://canaryuser:canarypass@",
        "redis://canaryuser:canarypass@:6379",
        "redis://canaryuser:canarypass@localhost:notaport",
        "redis://canaryuser:canarypass@localhost:65536",
        "redis://canaryuser:canarypass@0.0.0.0",
        "redis://canaryuser:canarypass@localhost/notanumber",
        "redis://canaryuser:canarypass@localhost/canarypass",
        "redis://canaryuser:canarypass%ff@localhost/",
        "redis://canaryuser%ff:canarypass@localhost/",
        "redis://localhost/?protocol=canarypass",
        "redis://canaryuser:canarypass@[::1/",
        "redis://canaryuser:canarypass@host name/",
        // The first half of the password would become the port, or the user would become the host.
        "redis://canaryuser:1234/canarypass@localhost:6379/",
        "redis://canaryuser:1234?canarypass@localhost:6379/",
        "redis://canaryuser:1234#canarypass@localhost:6379/",
        "redis://canarypass/@localhost",
        "redis://canaryuser:canarypass@localhost/#insecure",
        "redis://canaryuser:canarypass@localhost/#canarypass",
    ] {
        assert_error_hides_credentials(&config_error(RedisTier::builder(url)));
    }
}

#[test]
#[cfg(not(feature = "tls"))]
fn tls_url_names_the_missing_feature() {
    for scheme in ["rediss", "valkeys"] {
        let error = config_error(RedisTier::builder(format!("{scheme}://canaryuser:canarypass@localhost/")));
        assert_error_hides_credentials(&error);
        assert!(error.to_string().contains("feature `tls`"), "{error}");
    }
}

#[test]
#[cfg(not(feature = "sentinel"))]
fn sentinel_url_names_the_missing_feature() {
    let error = config_error(RedisTier::builder("redis-sentinel://canaryuser:canarypass@one/primary"));
    assert_error_hides_credentials(&error);
    assert!(error.to_string().contains("feature `sentinel`"), "{error}");
}

#[test]
fn zero_duration_is_refused_by_setting_name() {
    let builder = || RedisTier::builder("redis://canaryuser:canarypass@localhost/");
    let (zero, second) = (Duration::ZERO, Duration::from_secs(1));
    for (name, builder) in [
        ("operation_timeout", builder().operation_timeout(zero)),
        ("write_timeout", builder().write_timeout(zero)),
        ("connect_timeout", builder().connect_timeout(zero)),
        ("retry", builder().retry(zero, second)),
        ("retry", builder().retry(zero, zero)),
        ("retry", builder().retry(2 * second, second)),
    ] {
        let error = config_error(builder);
        assert_error_hides_credentials(&error);
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[tokio::test]
async fn maximum_durations_are_accepted() {
    let server = RedisServer::start();
    let tier = RedisTier::builder(server.url())
        .operation_timeout(Duration::MAX)
        .write_timeout(Duration::MAX)
        .connect_timeout(Duration::MAX)
        .retry(Duration::MAX, Duration::MAX)
        .build()
        .unwrap();
    for _ in 0..2 {
        assert_eq!(get(&tier, "key").await, Ok(None));
    }
}

#[test]
fn builder_debug_hides_the_url() {
    let builder = RedisTier::builder("redis://canaryuser:canarypass@localhost/");
    assert_no_credentials(&format!("{builder:?} {builder:#?}"));
}

#[tokio::test]
async fn tier_debug_shows_address_and_state() {
    let mut server = RedisServer::start();
    server.cli(&["ACL", "SETUSER", "canaryuser", "on", ">canarypass", "~*", "+@all"]);
    let address = format!("127.0.0.1:{}", server.port());
    let tier = tier(&format!("redis://canaryuser:canarypass@{address}/0"));
    let shown = || {
        let shown = format!("{tier:?}");
        assert_no_credentials(&format!("{shown} {tier:#?}"));
        assert!(shown.contains(&address), "{shown}");
        shown
    };

    assert!(shown().contains("Connecting"), "{}", shown());
    wait_until_up(&tier).await;
    assert!(shown().contains("Up"), "{}", shown());
    server.kill();
    crate::support::wait_until_down(&tier).await;
    assert!(shown().contains("Down"), "{}", shown());
}
