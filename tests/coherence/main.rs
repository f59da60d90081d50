//! What two processes with one shared tier promise each other. Time stands still until it is moved.

mod availability;
mod bound;
mod clashes;
mod close;
mod edges;
mod events;
mod invalidation;
mod keep_warm;
mod leases;
mod names;
mod odd;
mod support;
mod tags;
mod unshared;
mod warm;
