//! The tier against real servers and a misbehaving network.

mod breaker;
#[cfg(feature = "cluster")]
mod cluster;
mod crowds;
mod faults;
mod leases;
mod members;
mod outages;
mod patterns;
mod quiet;
mod round_trips;
mod runtimes;
#[cfg(feature = "sentinel")]
mod sentinel;
mod settings;
mod support;
mod tags;
#[cfg(feature = "tls")]
mod tls;
mod values;
mod watching;
