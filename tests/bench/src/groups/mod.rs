//! The groups of arms, in the order of the page. Each group is one file with one function.

mod allocations;
mod compile;
mod compile_many;
mod growth;
pub(crate) mod hitbox;
mod hits;
mod idle;
mod instructions;
mod invalidate;
mod memory;
mod miss;
mod propagation;
mod recursion;
mod redis_hits;
mod redis_invalidate;
mod redis_miss;
mod redis_stampede;
mod replay;
mod stampede;
mod tags;
mod threads;

use crate::report::Group;

/// All groups.
pub const GROUPS: &[Group] = &[
    hits::GROUP,
    threads::GROUP,
    instructions::GROUP,
    allocations::GROUP,
    replay::GROUP,
    miss::GROUP,
    stampede::GROUP,
    invalidate::GROUP,
    recursion::GROUP,
    memory::GROUP,
    growth::GROUP,
    redis_hits::GROUP,
    redis_miss::GROUP,
    redis_stampede::GROUP,
    redis_invalidate::GROUP,
    tags::GROUP,
    propagation::GROUP,
    idle::GROUP,
    compile::GROUP,
    compile_many::GROUP,
];

/// Crates that are named, with their versions, above each group in which all of them take part.
const PEERS: &[&str] = &[
    "cached-aside",
    "cached",
    "cachelito",
    "moka",
    "quick_cache",
    "foyer",
    "TinyUFO",
    "hitbox",
    "cachet",
    "multi-tier-cache",
];
