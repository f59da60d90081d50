//! The models. Each function is one model, and panics if an order of steps breaks the claim of the function.

pub mod coherence;
mod explore;
pub mod flight;
pub mod marks;
pub mod pending;

use explore::{Act, Orders, block_on, explore, lock, together};
