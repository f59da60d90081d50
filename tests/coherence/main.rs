//! Promises between two processes with one shared tier. Time stands still until a test moves it.

mod availability;
mod bound;
mod clashes;
mod close;
mod edges;
mod events;
mod faulty_tier;
mod followers;
mod invalidation;
mod keep_warm;
mod leases;
mod names;
mod support;
mod tags;
mod unshared;
mod walks;
mod warm;
