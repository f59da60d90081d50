//! Lints that a crate forbids: generated code must not allow them again.
#![forbid(
    dead_code,
    deprecated,
    missing_copy_implementations,
    missing_debug_implementations,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    private_bounds,
    private_interfaces,
    single_use_lifetimes,
    unknown_lints,
    unreachable_code,
    unreachable_pub,
    unsafe_code,
    unused_braces,
    unused_imports,
    unused_lifetimes,
    unused_mut,
    unused_parens,
    unused_qualifications,
    unused_variables
)]

use std::time::Duration;

use cached_aside::{LoadTimeout, cached, invalidates};

#[derive(Clone, Copy, Debug)]
struct TimedOut;

impl From<LoadTimeout> for TimedOut {
    fn from(_: LoadTimeout) -> Self {
        Self
    }
}

const MINUTE: Duration = Duration::from_secs(60);

/// Function with all policies, and with an argument that only the key uses.
#[cached(
    "forbidden:{id}:{lang}", ttl = MINUTE, cache_if = |v| *v > 0, ttl_from = |_| MINUTE, cache_err = "5s", stale = "1m",
    soft_timeout = "1s", refresh_ahead = 0.5, load_timeout = "5s", jitter = 0.1, tags = ["forbidden:{id}"],
    tags_from = |v| vec![cached_aside::tag!("forbidden:{}", v)], max_loads = 4, keep_warm = 2
)]
pub(crate) async fn everything(id: u64, lang: &str) -> Result<u64, TimedOut> {
    #![allow(clippy::unnecessary_wraps)]
    if id == 0 {
        return Err(TimedOut);
    }
    Ok(id)
}

#[cached("forbidden:local", ttl = "1m", local)]
fn blocking(text: &str, (first, _): (u8, u8), mut n: u64) -> Option<u64> {
    n += u64::from(first);
    let len = u64::try_from(text.len()).ok()?;
    Some(n + len)
}

#[cached("forbidden:generic", ttl = "1m", cache_none)]
async fn generic<T: serde::Serialize + Sync>(list: &[T]) -> Option<usize> {
    Some(list.len())
}

/// Type with methods of each kind.
#[derive(Clone, Copy, Debug)]
struct Service {
    id: u64,
}

impl Service {
    #[cached("forbidden:service:{self.id}:{name}", ttl = "1m", handle = length_entry)]
    async fn length(&self, name: &str) -> usize {
        usize::try_from(self.id).unwrap_or(0)
    }

    #[cached("forbidden:double:{n}", ttl = "1m", local, skip(self))]
    fn double(&self, n: u64) -> u64 {
        n * 2
    }

    #[invalidates(self.length_entry(name), everything(n, "en"))]
    async fn rename(&self, name: &str, n: u64) -> Result<(), TimedOut> {
        Ok(())
    }
}

/// The runtime is built by hand, because the attributes of tokio allow a lint themselves.
#[test]
fn generated_code_allows_no_forbidden_lint() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(each_form());
}

async fn each_form() {
    for _ in 0..2 {
        assert_eq!(everything(1, "en").await.ok(), Some(1));
        assert_eq!(blocking("a", (1, 2), 3), Some(5));
        assert_eq!(generic::<u8>(&[1, 2]).await, Some(2));
        let service = Service { id: 7 };
        assert_eq!((service.length("a").await, service.double(2)), (7, 4));
        service.rename("a", 1).await.unwrap();
    }
}
