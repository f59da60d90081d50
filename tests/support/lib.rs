//! The examples of the pages, which compile and run as doctests of this package.

/// The README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../src/guide/keys.md")]
struct Keys;

#[cfg(doctest)]
#[doc = include_str!("../../src/guide/methods.md")]
struct Methods;

#[cfg(doctest)]
#[doc = include_str!("../../src/guide/freshness.md")]
struct Freshness;

#[cfg(doctest)]
#[doc = include_str!("../../src/guide/invalidation.md")]
struct Invalidation;

#[cfg(doctest)]
#[doc = include_str!("../../src/guide/single_flight.md")]
struct SingleFlight;

#[cfg(doctest)]
#[doc = include_str!("../../src/guide/errors.md")]
struct Errors;

#[cfg(doctest)]
#[doc = include_str!("../../src/guide/warm_up.md")]
struct WarmUp;

#[cfg(doctest)]
#[doc = include_str!("../../src/guide/keyspaces.md")]
struct Keyspaces;

#[cfg(doctest)]
#[doc = include_str!("../../docs/redis.md")]
struct Redis;

#[cfg(doctest)]
#[doc = include_str!("../../docs/observability.md")]
struct Observability;

#[cfg(doctest)]
#[doc = include_str!("../../src/guide/testing.md")]
struct Testing;

#[cfg(doctest)]
#[doc = include_str!("../../src/guide/libraries.md")]
struct Libraries;

#[cfg(doctest)]
#[doc = include_str!("../../src/guide/deployment.md")]
struct Deployment;

#[cfg(doctest)]
#[doc = include_str!("../../src/guide/faq.md")]
struct Faq;

/// The comparison. Only the example of this library compiles.
#[cfg(doctest)]
#[doc = include_str!("../../COMPARE.md")]
struct Compare;
