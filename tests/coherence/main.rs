//! What two processes with one shared tier promise each other. Time stands still until it is moved.

mod bound;
mod events;
mod invalidation;
mod leases;
mod support;
mod tags;
