//! What the models do. Each function is one model: it panics if some order of steps breaks what it says.

pub mod coherence;
mod explore;
pub mod flight;
pub mod marks;
pub mod pending;

use explore::{Act, Orders, block_on, explore, lock, together};
