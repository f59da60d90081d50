//! Settings that a builder rejects, and secrets that are never shown.

use std::{error::Error as _, time::Duration};

use cached_core::Error;
use cached_redis::{RedisTier, RedisTierBuilder};
use redis_harness::RedisServer;

use crate::support::{get, tier, up};

const CANARIES: [&str; 2] = ["canaryuser", "canarypass"];

pub(crate) fn refused(builder: RedisTierBuilder) -> Error {
    let error = builder.build().expect_err("this cannot work");
    assert!(error.is_config(), "{error}");
    error
}

pub(crate) fn assert_silent(text: &str) {
    for canary in CANARIES {
        assert!(!text.contains(canary), "{text}");
    }
}

pub(crate) fn assert_error_is_silent(error: &Error) {
    assert_silent(&format!("{error} {error:?} {error:#?}"));
    let mut source = error.source();
    while let Some(cause) = source {
        assert_silent(&format!("{cause} {cause:?}"));
        source = cause.source();
    }
}

#[test]
fn an_unusable_url_is_refused_without_being_quoted() {
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
        assert_error_is_silent(&refused(RedisTier::builder(url)));
    }
}

#[test]
#[cfg(not(feature = "tls"))]
fn tls_is_refused_by_name() {
    for scheme in ["rediss", "valkeys"] {
        let error = refused(RedisTier::builder(format!("{scheme}://canaryuser:canarypass@localhost/")));
        assert_error_is_silent(&error);
        assert!(error.to_string().contains("feature `tls`"), "{error}");
    }
}

#[test]
#[cfg(not(feature = "sentinel"))]
fn sentinels_are_refused_by_name() {
    let error = refused(RedisTier::builder("redis-sentinel://canaryuser:canarypass@one/primary"));
    assert_error_is_silent(&error);
    assert!(error.to_string().contains("feature `sentinel`"), "{error}");
}

#[test]
fn a_duration_of_zero_is_refused_by_name() {
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
        let error = refused(builder);
        assert_error_is_silent(&error);
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[tokio::test]
async fn durations_may_be_as_long_as_they_can() {
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
fn a_builder_does_not_show_the_url() {
    let builder = RedisTier::builder("redis://canaryuser:canarypass@localhost/");
    assert_silent(&format!("{builder:?} {builder:#?}"));
}

#[tokio::test]
async fn a_tier_shows_where_its_server_is_and_how_it_stands() {
    let mut server = RedisServer::start();
    server.cli(&["ACL", "SETUSER", "canaryuser", "on", ">canarypass", "~*", "+@all"]);
    let address = format!("127.0.0.1:{}", server.port());
    let tier = tier(&format!("redis://canaryuser:canarypass@{address}/0"));
    let shown = || {
        let shown = format!("{tier:?}");
        assert_silent(&format!("{shown} {tier:#?}"));
        assert!(shown.contains(&address), "{shown}");
        shown
    };

    assert!(shown().contains("Connecting"), "{}", shown());
    up(&tier).await;
    assert!(shown().contains("Up"), "{}", shown());
    server.kill();
    crate::support::down(&tier).await;
    assert!(shown().contains("Down"), "{}", shown());
}
