//! Guide: one page for each feature.
//!
//! A page has the problem, the smallest code, how it works, and the caveats.
//!
//! | page | about |
//! |---|---|
//! | [`keys`] | templates, skipped arguments, readable parts of keys in Redis |
//! | [`methods`] | companions, handles, traits, other attributes |
//! | [`freshness`] | ttl, stale values, early refresh |
//! | [`invalidation`] | entries, tags, patterns, and when they have taken effect |
//! | [`single_flight`] | one load for all callers, over all processes |
//! | [`errors`] | failed loads, and keeping `None` and `Err` |
//! | [`warm_up`] | lists at start, and keys that stay warm |
//! | [`keyspaces`] | the cache without the attribute, and counters |
//! | [`redis`] | servers, URLs, rights, memory, causes |
//! | [`observability`] | counters, latencies, metrics, spans, events, the log |
//! | [`testing`] | a clock that you move, a tier that fails, counted loads |
//! | [`libraries`] | libraries that cache, and applications that decide where |
//! | [`deployment`] | a checklist |
//! | [`faq`] | why is there no hit, and other questions |

pub mod keys {
    #![doc = include_str!("guide/keys.md")]
}

pub mod methods {
    #![doc = include_str!("guide/methods.md")]
}

pub mod freshness {
    #![doc = include_str!("guide/freshness.md")]
}

pub mod invalidation {
    #![doc = include_str!("guide/invalidation.md")]
}

pub mod single_flight {
    #![doc = include_str!("guide/single_flight.md")]
}

pub mod errors {
    #![doc = include_str!("guide/errors.md")]
}

pub mod warm_up {
    #![doc = include_str!("guide/warm_up.md")]
}

pub mod keyspaces {
    #![doc = include_str!("guide/keyspaces.md")]
}

pub mod redis {
    #![doc = include_str!("../docs/redis.md")]
}

pub mod observability {
    #![doc = include_str!("../docs/observability.md")]
}

pub mod testing {
    #![doc = include_str!("guide/testing.md")]
}

pub mod libraries {
    #![doc = include_str!("guide/libraries.md")]
}

pub mod deployment {
    #![doc = include_str!("guide/deployment.md")]
}

pub mod faq {
    #![doc = include_str!("guide/faq.md")]
}
