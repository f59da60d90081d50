//! The snippets of the pages, which compile and run as doctests of this package.

/// The README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// The page about Redis.
#[cfg(doctest)]
#[doc = include_str!("../../docs/redis.md")]
struct RedisPage;

/// The page about metrics, spans and events.
#[cfg(doctest)]
#[doc = include_str!("../../docs/observability.md")]
struct Observability;
