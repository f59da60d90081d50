//! Observable output of a cache, and secrets that must not be in it.
mod canary;
mod docs;
mod health;
mod instrument;
mod metrics;
mod recorder;
mod spans;
mod stats;
mod status;
mod support;
mod watch;
