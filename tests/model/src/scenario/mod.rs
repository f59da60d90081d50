//! The models. Each function is one model, and panics if an order of steps breaks the claim of the function.

pub mod coherence;
pub mod epochs;
mod explore;
pub mod flight;
pub mod outbox;

use explore::{Orders, ThreadBody, block_on, explore, lock, run_concurrently};
