//! Setup of connections, from a URL to a login.
//!
//! `endpoint` and `query` parse the URL, `sentinel` finds the primary, and `credentials` provides the login.
//! `dialer` and `tls` open the stream, and `connection` drives it. `stage` and `cause` explain a failed
//! attempt.

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
