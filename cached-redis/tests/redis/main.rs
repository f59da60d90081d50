//! Tests of the tier with real servers and a faulty network.

mod access;
mod breaker;
mod causes;
#[cfg(feature = "cluster")]
mod cluster;
mod credentials;
mod crowds;
mod faults;
mod first_call;
mod large;
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
