//! Errors that are cached for a while, although they cannot be cloned.

use std::io;

use cached_aside::{Cache, cached};

use crate::support::{Source, cache};

#[cached("kept-io", ttl = "1h", cache_err = "5s" if |e| e.kind() == io::ErrorKind::NotFound, cache = cache, skip(cache, source))]
async fn kept_io(cache: Cache, source: Source, kind: u8) -> io::Result<u32> {
    source.run().await;
    Err(if kind == 0 { io::ErrorKind::NotFound } else { io::ErrorKind::TimedOut }.into())
}

#[cached("kept-anyhow", ttl = "1h", cache_err = "5s", cache = cache, skip(cache, source))]
async fn kept_anyhow(cache: Cache, source: Source) -> anyhow::Result<u32> {
    source.run().await;
    anyhow::bail!("no rate")
}

#[derive(Debug, PartialEq)]
struct Status(u16);

#[cached("kept-option", ttl = "1h", cache_err = "5s", share_err = |e| Status(e.0), cache = cache, skip(cache, source))]
async fn kept_option(cache: Cache, source: Source) -> Result<u32, Status> {
    source.run().await;
    Err(Status(503))
}

#[tokio::test]
async fn shareable_error_is_cached_for_cache_err() {
    let (cache, source) = (cache(), Source::gated());
    source.release_all();
    for _ in 0..3 {
        let error = kept_io(cache.clone(), source.clone(), 0).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
    assert_eq!(source.runs(), 1);
    for _ in 0..3 {
        kept_io(cache.clone(), source.clone(), 1).await.unwrap_err();
    }
    assert_eq!(source.runs(), 4, "errors that the condition excludes are not cached");
    for _ in 0..3 {
        let error = kept_anyhow(cache.clone(), source.clone()).await.unwrap_err();
        assert_eq!(error.to_string(), "no rate");
    }
    assert_eq!(source.runs(), 5);
    for _ in 0..3 {
        assert_eq!(kept_option(cache.clone(), source.clone()).await, Err(Status(503)));
    }
    assert_eq!(source.runs(), 6);
}
