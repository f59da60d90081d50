//! The Redis tier of cached-aside.
//!
//! [`RedisTier`] is a [`Tier`](cached_core::Tier) whose trouble stays its own: building it does no I/O, every
//! operation has a time budget, and while Redis cannot be reached every operation fails at once. A background
//! task connects, checks the connection every second and replaces it when it is broken.
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
//! The path of an operation is `tier` → `link` → Redis; `supervisor` runs beside it and owns the connection.

mod backoff;
mod builder;
mod endpoint;
mod failure;
mod link;
mod scripts;
mod settings;
mod supervisor;
mod tier;

pub use builder::RedisTierBuilder;
pub use tier::RedisTier;
