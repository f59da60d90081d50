//! The Redis tier of cached-aside.
//!
//! [`RedisTier`] is a [`Tier`](cached_core::Tier) whose trouble stays its own: building it does no I/O, every
//! operation has a time budget, and while Redis cannot be reached every operation fails at once. A background
//! task connects, checks the connection with a heartbeat and replaces it when it is broken. While Redis hangs or is
//! slow, it is not asked before a load, so that nobody pays for it; [`RedisTier::watch_state`] tells who wants to know.
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
//! `tls`: `rediss://`, over rustls. `sentinel`: `redis-sentinel://`, a primary that is found through Redis Sentinel.
//! `cluster`: `redis-cluster://`, the primaries of a Redis Cluster.
//!
//! The rooms, each of which uses only those before it: `protocol`, `connect`, `availability`, `tracking`, `node`, `cluster`, `topology`,
//! `tier`. An operation goes down through them: `tier` → `topology` → (`cluster`) → `node` → its gate → its link → Redis. Beside it the
//! node's supervisor owns the connection, its heartbeat proves that what was read over it still holds, and `tracking` hears what does not.

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
