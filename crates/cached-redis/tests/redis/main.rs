//! The tier against real servers and a misbehaving network.

mod breaker;
mod faults;
mod leases;
mod members;
mod outages;
mod patterns;
mod round_trips;
mod runtimes;
mod settings;
mod support;
mod tags;
mod values;
mod watching;
