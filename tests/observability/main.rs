//! What can be seen of a cache from outside, and what must not be.
mod canary;
mod docs;
mod health;
mod instrument;
mod metrics;
mod recorder;
mod spans;
mod standing;
mod stats;
mod support;
mod watch;
