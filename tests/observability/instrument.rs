//! `#[tracing::instrument]` beside `#[cached]`, in either order: each load has a span with the function's own
//! name.

use std::{future::Future, pin::Pin};

use async_trait::async_trait;
use cached_aside::cached;
use tracing::{info_span, instrument};

use crate::watch::Watch;

/// Opens a span that has the current span as its parent.
fn inside(function: &'static str) {
    info_span!("inside", function).in_scope(|| ());
}

mod below {
    use super::{cached, inside, instrument};

    #[cached("instrument:below:{id}", ttl = "1m")]
    #[instrument(ret, err, fields(function = "below"))]
    pub(super) async fn account(id: u64) -> Result<u64, String> {
        inside("below");
        Ok(id)
    }
}

mod above {
    use super::{cached, inside, instrument};

    #[instrument(ret, err, fields(function = "above"))]
    #[cached("instrument:above:{id}", ttl = "1m")]
    pub(super) async fn account(id: u64) -> Result<u64, String> {
        inside("above");
        Ok(id)
    }
}

mod conditional {
    use super::{cached, inside, instrument};

    #[cached("instrument:conditional:{id}", ttl = "1m")]
    #[cfg_attr(all(), instrument(fields(function = "conditional")), allow(clippy::let_and_return))]
    #[cfg_attr(any(), no_such_attribute)]
    #[cfg(any(unix, not(unix)))]
    pub(super) async fn account(id: u64) -> u64 {
        inside("conditional");
        let same = id;
        same
    }
}

mod borrowed {
    use super::{cached, inside, instrument};

    #[cached("instrument:borrowed", ttl = "1m")]
    #[instrument(skip_all, fields(function = "borrowed", len = name.len()))]
    pub(super) async fn account(name: &str, (_, many): (u8, &[u64])) -> u64 {
        inside("borrowed");
        many.iter().sum()
    }
}

mod blocking {
    use super::{cached, inside, instrument};

    #[cached("instrument:blocking:{id}", ttl = "1m", local)]
    #[instrument(ret, err, fields(function = "blocking"))]
    pub(super) fn account(id: u64) -> Result<u64, String> {
        inside("blocking");
        if id == 0 {
            return Err("none".to_owned());
        }
        Ok(id)
    }
}

mod boxed {
    use super::{Future, Pin, cached, inside, instrument};

    #[cached("instrument:boxed:{id}", ttl = "1m")]
    #[instrument(fields(function = "boxed"))]
    pub(super) fn account(id: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
        Box::pin(async move {
            inside("boxed");
            id
        })
    }
}

struct Bare;

impl Bare {
    #[cached("instrument:method:{id}", ttl = "1m", skip(self))]
    #[instrument(skip(self), err, fields(function = "method"))]
    async fn account(&self, id: u64) -> Result<u64, String> {
        inside("method");
        Ok(id)
    }
}

struct Handled;

impl Handled {
    #[cached("instrument:handled:{id}", ttl = "1m", skip(self), handle = account_entry)]
    #[instrument(skip(self), ret, err, fields(function = "handled"))]
    async fn account(&self, id: u64) -> Result<u64, String> {
        inside("handled");
        Ok(id)
    }

    #[instrument(skip(self), fields(function = "handled above"))]
    #[cached("instrument:handled_above:{id}", ttl = "1m", skip(self), handle = above_entry)]
    async fn above(&self, id: u64) -> u64 {
        inside("handled above");
        id
    }
}

trait Accounts {
    async fn account(&self, id: u64) -> u64;
}

struct Native;

impl Accounts for Native {
    #[cached("instrument:native:{id}", ttl = "1m", skip(self))]
    #[instrument(skip(self), fields(function = "native"))]
    async fn account(&self, id: u64) -> u64 {
        inside("native");
        id
    }
}

#[async_trait]
trait Objects {
    async fn account(&self, id: u64) -> u64;
}

struct Object;

#[async_trait]
impl Objects for Object {
    #[cached("instrument:object:{id}", ttl = "1m", skip(self))]
    #[instrument(skip(self), fields(function = "object"))]
    async fn account(&self, id: u64) -> u64 {
        inside("object");
        id
    }
}

/// Checks the spans of one function after a miss and a hit.
fn check(function: &str, name: &str, parent: Option<&str>) {
    let all = Watch::installed().spans_of(function);
    let names: Vec<_> = all.iter().map(|span| (span.name, span.parent)).collect();
    assert_eq!(names, [("inside", Some(name)), (name, parent)], "{function}");
}

#[tokio::test]
async fn each_load_has_one_span_of_the_name_of_the_function_and_a_hit_has_none() {
    Watch::installed();
    for _ in 0..2 {
        below::account(1).await.unwrap();
        above::account(1).await.unwrap();
        conditional::account(1).await;
        borrowed::account("a", (1, &[2])).await;
        blocking::account(1).unwrap();
        boxed::account(1).await;
        Bare.account(1).await.unwrap();
        Handled.account(1).await.unwrap();
        Handled.above(1).await;
        Native.account(1).await;
        Objects::account(&Object, 1).await;
    }
    let load = Some("cached_aside.load");
    for function in [
        "below",
        "above",
        "conditional",
        "borrowed",
        "blocking",
        "boxed",
        "method",
        "handled",
        "native",
        "object",
    ] {
        check(function, "account", load);
    }
    check("handled above", "above", load);
    below::account::invalidate(1).await.unwrap();
    Handled.account_entry(1).invalidate().await.unwrap();
    assert_eq!(below::account::peek(1).await, None);
}
