//! Errors of the callers that waited, by kind, and the number of loads.

use std::{error::Error, fmt, io};

use cached_aside::{Cache, SharedLoadError, cached};

use crate::support::{Closed, NoRate, Source, cache, call_concurrently, error_chain};

const CALLERS: usize = 1_000;

#[cached("anyhow", ttl = "1h", cache = cache, skip(cache, source))]
async fn fails_with_anyhow(cache: Cache, source: Source) -> anyhow::Result<u32> {
    source.run().await;
    Err(anyhow::Error::new(Closed).context("no rate"))
}

#[tokio::test]
async fn anyhow_error_is_shared_with_its_causes() {
    let (cache, source) = (cache(), Source::gated());
    let results =
        call_concurrently(&cache, &source, CALLERS, || fails_with_anyhow(cache.clone(), source.clone()))
            .await;
    let errors: Vec<_> = results.into_iter().map(Result::unwrap_err).collect();
    assert_eq!(source.runs(), 1);
    assert!(errors.iter().all(|error| format!("{error:#}") == "no rate: the bank is closed"));
    // The caller that loaded gets the original error, as it would without a cache.
    let original = errors.iter().filter(|error| error.downcast_ref::<Closed>().is_some());
    let shared = errors.iter().filter(|error| error.downcast_ref::<SharedLoadError>().is_some());
    assert_eq!((original.count(), shared.count()), (1, CALLERS - 1));
}

#[cached("eyre", ttl = "1h", cache = cache, skip(cache, source))]
async fn fails_with_eyre(cache: Cache, source: Source) -> eyre::Result<u32> {
    source.run().await;
    Err(eyre::Report::new(Closed).wrap_err("no rate"))
}

#[tokio::test]
async fn eyre_error_is_shared_with_its_causes() {
    let (cache, source) = (cache(), Source::gated());
    let results =
        call_concurrently(&cache, &source, CALLERS, || fails_with_eyre(cache.clone(), source.clone())).await;
    assert_eq!(source.runs(), 1);
    for error in results.into_iter().map(Result::unwrap_err) {
        assert_eq!(format!("{error:#}"), "no rate: the bank is closed");
    }
}

#[cached("boxed", ttl = "1h", cache = cache, skip(cache, source))]
async fn fails_with_box(cache: Cache, source: Source) -> Result<u32, Box<dyn Error + Send + Sync>> {
    source.run().await;
    Err(Box::new(NoRate(Closed)))
}

#[cached("boxed-here", ttl = "1h", cache = cache, skip(cache, source))]
async fn fails_with_local_box(cache: Cache, source: Source) -> Result<u32, Box<dyn Error>> {
    source.run().await;
    Err(Box::new(NoRate(Closed)))
}

#[tokio::test]
async fn boxed_error_is_shared_with_its_causes() {
    let (cache, source) = (cache(), Source::gated());
    let results =
        call_concurrently(&cache, &source, CALLERS, || fails_with_box(cache.clone(), source.clone())).await;
    assert_eq!(source.runs(), 1);
    let errors: Vec<_> = results.into_iter().map(Result::unwrap_err).collect();
    assert!(errors.iter().all(|error| error_chain(&**error) == "no rate: the bank is closed"));
    assert_eq!(errors.iter().filter(|error| error.is::<NoRate>()).count(), 1);

    let source = Source::gated();
    let results =
        call_concurrently(&cache, &source, CALLERS, || fails_with_local_box(cache.clone(), source.clone()))
            .await;
    assert_eq!(source.runs(), 1);
    let errors: Vec<_> = results.into_iter().map(Result::unwrap_err).collect();
    assert!(errors.iter().all(|error| error_chain(&**error) == "no rate: the bank is closed"));
}

#[cached("io", ttl = "1h", cache = cache, skip(cache, source))]
async fn fails_with_io(cache: Cache, source: Source) -> io::Result<u32> {
    source.run().await;
    Err(io::Error::new(io::ErrorKind::ConnectionRefused, NoRate(Closed)))
}

#[tokio::test]
async fn io_error_is_shared_with_its_kind() {
    let (cache, source) = (cache(), Source::gated());
    let results =
        call_concurrently(&cache, &source, CALLERS, || fails_with_io(cache.clone(), source.clone())).await;
    assert_eq!(source.runs(), 1);
    for error in results.into_iter().map(Result::unwrap_err) {
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(error_chain(&error), "no rate: the bank is closed");
    }
}

/// Error that cannot be cloned, but can be made from the text of another one.
#[derive(Debug)]
enum RateError {
    Own(Closed),
    Shared(SharedLoadError),
}

impl fmt::Display for RateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(cause) => write!(f, "no rate, as {cause}"),
            Self::Shared(error) => error.fmt(f),
        }
    }
}

impl Error for RateError {}

impl From<SharedLoadError> for RateError {
    fn from(error: SharedLoadError) -> Self {
        Self::Shared(error)
    }
}

#[cached("own", ttl = "1h", cache = cache, skip(cache, source))]
async fn fails_with_rate_error(cache: Cache, source: Source) -> Result<u32, RateError> {
    source.run().await;
    Err(RateError::Own(Closed))
}

#[tokio::test]
async fn error_made_from_shared_load_error_is_shared() {
    let (cache, source) = (cache(), Source::gated());
    let results =
        call_concurrently(&cache, &source, CALLERS, || fails_with_rate_error(cache.clone(), source.clone()))
            .await;
    assert_eq!(source.runs(), 1);
    let errors: Vec<_> = results.into_iter().map(Result::unwrap_err).collect();
    assert!(errors.iter().all(|error| error.to_string() == "no rate, as the bank is closed"));
    let shared = errors.iter().filter(|error| matches!(error, RateError::Shared(_)));
    assert_eq!(shared.count(), CALLERS - 1);
}

/// Failure that is neither an `Error` nor `Clone`.
#[derive(Debug, PartialEq)]
enum StatusError {
    Status(u16),
}

#[cached("said", ttl = "1h", cache = cache, skip(cache, source), share_err = |e| {
    let StatusError::Status(status) = e;
    StatusError::Status(*status)
})]
async fn fails_with_status(cache: Cache, source: Source) -> Result<u32, StatusError> {
    source.run().await;
    Err(StatusError::Status(503))
}

#[cached("said-anyway", ttl = "1h", cache = cache, skip(cache, source), share_err = |e| format!("another's: {e}"))]
async fn fails_with_string(cache: Cache, source: Source) -> Result<u32, String> {
    source.run().await;
    Err("closed".to_owned())
}

#[tokio::test]
async fn share_err_takes_precedence_over_clone() {
    let (cache, source) = (cache(), Source::gated());
    let results =
        call_concurrently(&cache, &source, CALLERS, || fails_with_status(cache.clone(), source.clone()))
            .await;
    assert_eq!(source.runs(), 1);
    assert!(results.iter().all(|result| *result == Err(StatusError::Status(503))));

    let source = Source::gated();
    let call = || fails_with_string(cache.clone(), source.clone());
    let results = call_concurrently(&cache, &source, CALLERS, call).await;
    assert_eq!(source.runs(), 1);
    assert_eq!(results.iter().filter(|result| **result == Err("closed".to_owned())).count(), 1);
    let others = results.iter().filter_map(|result| result.as_ref().err());
    assert!(others.filter(|error| *error != "closed").all(|error| error.starts_with("another's: ")));
}

/// Error with a text that cannot be read.
#[derive(Debug)]
struct PanickingDisplay;

impl fmt::Display for PanickingDisplay {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("it has no text")
    }
}

impl Error for PanickingDisplay {}

impl From<SharedLoadError> for PanickingDisplay {
    fn from(_: SharedLoadError) -> Self {
        Self
    }
}

#[cached("mute", ttl = "1h", cache = cache, skip(cache, source))]
async fn fails_with_panicking_display(cache: Cache, source: Source) -> Result<u32, PanickingDisplay> {
    source.run().await;
    Err(PanickingDisplay)
}

#[tokio::test]
async fn an_error_whose_display_panics_still_reaches_its_callers() {
    let (cache, source) = (cache(), Source::gated());
    let results = call_concurrently(&cache, &source, 10, || {
        fails_with_panicking_display(cache.clone(), source.clone())
    })
    .await;
    assert!(results.iter().all(Result::is_err));
    assert_eq!((source.runs(), source.max_running()), (10, 1));
}

/// Error that cannot be made from text.
#[derive(Debug, PartialEq)]
struct PanickingFrom;

impl fmt::Display for PanickingFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("out of order")
    }
}

impl Error for PanickingFrom {}

impl From<SharedLoadError> for PanickingFrom {
    fn from(_: SharedLoadError) -> Self {
        panic!("it has no text")
    }
}

#[cached("stubborn", ttl = "1h", cache = cache, skip(cache, source))]
async fn fails_with_panicking_from(cache: Cache, source: Source) -> Result<u32, PanickingFrom> {
    source.run().await;
    Err(PanickingFrom)
}

#[tokio::test]
async fn a_panic_in_the_conversion_of_an_error_does_not_reach_other_callers() {
    let (cache, source) = (cache(), Source::gated());
    let results =
        call_concurrently(&cache, &source, 10, || fails_with_panicking_from(cache.clone(), source.clone()))
            .await;
    assert!(results.iter().all(|result| *result == Err(PanickingFrom)));
    assert_eq!(source.runs(), 10);
}
