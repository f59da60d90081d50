//! The Redis tier of cached-aside.
//!
//! [`RedisTier`] is a [`Tier`](cached_core::tier::Tier) that isolates the application from failures of Redis.
//! Building it does no I/O, every operation has a time budget, and while Redis cannot be reached every
//! operation fails at once. A background task connects, checks the connection with a heartbeat and replaces a
//! broken one. While Redis hangs or is slow, it is not queried before a load, so no caller pays for it.
//! [`RedisTier::watch_state`] reports each change of the state.
//!
//! ```
//! use std::time::Duration;
//!
//! use cached_redis::RedisTier;
//!
//! # fn main() -> Result<(), cached_core::Error> {
//! let tier = RedisTier::builder("redis://127.0.0.1:6379/0")
//!     .operation_timeout(Duration::from_millis(20))
//!     .build()?;
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! * `tls`: `rediss://`, over rustls.
//! * `sentinel`: `redis-sentinel://`, a primary that is found through Redis Sentinel.
//! * `cluster`: `redis-cluster://`, the primaries of a Redis Cluster.
//!
//! # Modules
//!
//! Each module uses only the modules before it: `protocol`, `connect`, `availability`, `tracking`, `node`,
//! `cluster`, `topology`, `tier`. An operation passes through `tier`, `topology`, `cluster` if there is one,
//! and `node` with its gate and its link, to Redis. In the background, the node's supervisor owns the
//! connection. The heartbeat of the connection proves that entries read over it are current, and `tracking`
//! receives the pushes about entries that are not.

mod availability;
#[cfg_attr(not(feature = "cluster"), path = "cluster/disabled.rs")]
mod cluster;
mod connect;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod node;
mod protocol;
mod tier;
mod topology;
mod tracking;

pub use availability::{
    health::{LargeHealth, RedisHealth},
    status::{RedisState, RedisStateWatch},
};
pub use connect::credentials::{Credentials, CredentialsError, CredentialsProvider};
pub use tier::{RedisTier, builder::RedisTierBuilder};
