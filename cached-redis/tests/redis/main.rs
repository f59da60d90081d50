//! Tests of the tier with real servers and a faulty network.

mod access;
mod barriers;
mod breaker;
mod causes;
#[cfg(feature = "cluster")]
mod cluster;
mod coalesced_reads;
mod credentials;
mod faults;
mod first_call;
mod heartbeat_cost;
mod large;
mod leases;
mod outages;
mod patterns;
mod round_trips;
mod runtimes;
#[cfg(feature = "sentinel")]
mod sentinel;
mod settings;
mod support;
mod tags;
#[cfg(feature = "tls")]
mod tls;
mod tracking;
mod values;
