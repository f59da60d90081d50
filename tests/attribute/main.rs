//! Every form of function that the attribute takes.
//!
//! Loads are counted, because a right value may also come from a cache that does nothing, or from a wrong
//! entry.
#![deny(warnings)]
#![allow(
    clippy::pedantic,
    clippy::style,
    clippy::complexity,
    clippy::suspicious,
    reason = "the forms matter, not the bodies"
)]

mod arguments;
mod attributes;
mod companions;
mod forbidden;
mod functions;
mod generics;
mod invalidates;
mod keys;
mod loads;
mod methods;
mod other_attributes;
mod policies;
mod recursion;
mod support;
mod tags;
mod warm;
mod weights;

use other_attributes::framed;
