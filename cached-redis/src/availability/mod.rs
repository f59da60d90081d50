//! Availability of the server: when to send a request, and how long to await the reply.
//!
//! `gate` admits operations by the rule of `breaker`, and `wait` times the waits. `backoff` paces
//! connection attempts and probes. `status` and `health` report the outcome to the application.

pub(crate) mod backoff;
pub(crate) mod breaker;
pub(crate) mod gate;
pub(crate) mod health;
pub(crate) mod status;
pub(crate) mod wait;
