//! The tier against real servers and a misbehaving network.

mod faults;
mod outages;
mod round_trips;
mod runtimes;
mod settings;
mod support;
mod values;
