//! From an address to a connection.

pub(crate) mod cause;
pub(crate) mod connection;
pub(crate) mod credentials;
pub(crate) mod dialer;
pub(crate) mod endpoint;
pub(crate) mod query;
#[cfg_attr(not(feature = "sentinel"), path = "sentinel_disabled.rs")]
pub(crate) mod sentinel;
pub(crate) mod settings;
pub(crate) mod stage;
#[cfg_attr(not(feature = "tls"), path = "tls_disabled.rs")]
pub(crate) mod tls;
