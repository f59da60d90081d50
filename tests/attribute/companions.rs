//! Companions under another name than the function's.

use cached_aside::{cached, invalidates};

use crate::support::Runs;

static RUNS: Runs = Runs::new();

/// Module with the same name as a function, which is allowed.
mod user {
    pub(super) const NAME: &str = "Ada";
}

#[cached("companions:user:{id}", ttl = "1m", companions = user_cache)]
async fn user(id: u64) -> String {
    RUNS.add();
    format!("{} {id}", user::NAME)
}

/// Type with the same name as a function, which is allowed.
#[allow(non_camel_case_types)]
struct rate {
    of: u64,
}

#[cached(ttl = "1m", local, companions = rates)]
fn rate(name: &str) -> u64 {
    RUNS.add();
    name.len() as u64
}

#[cached("companions:generic", ttl = "1m", companions = sizes)]
async fn size<T: Send + Sync>(name: &str) -> usize {
    RUNS.add();
    name.len() * size_of::<T>()
}

#[invalidates(user_cache(id), sizes::<u32>("x"))]
async fn rename(id: u64) -> Result<(), String> {
    if id > 0 { Ok(()) } else { Err("nobody".to_owned()) }
}

/// Function with the name of a crate.
///
/// Companions of the same name would hide the crate.
#[cached("companions:serde:{n}", ttl = "1m", companions = serde_cache)]
async fn serde(n: u64) -> u64 {
    fn is_serialize<T: serde::Serialize>(value: T) -> T {
        value
    }
    is_serialize(n)
}

#[tokio::test]
async fn companions_have_the_given_name() {
    for _ in 0..2 {
        assert_eq!(user(7).await, "Ada 7");
        assert_eq!(rate("eur"), rate { of: 3 }.of);
        assert_eq!(size::<u32>("x").await, 4);
        assert_eq!(serde(1).await, 1);
    }
    assert_eq!(RUNS.take(), 3);
    assert_eq!(user_cache::peek(7).await.as_deref(), Some("Ada 7"));
    rates::invalidate("eur").unwrap();
    assert_eq!(rates::peek("eur"), None);
    rename(7).await.unwrap();
    assert_eq!(user_cache::peek(7).await, None);
    assert_eq!(sizes::peek::<u32>("x").await, None);
    assert!(user_cache::key(7).unwrap().ends_with("companions:user:7"));
}
