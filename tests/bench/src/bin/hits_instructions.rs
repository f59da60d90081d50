//! Makes a number of hits, for callgrind to count: `hits_instructions KIND ARM HITS`.
//!
//! The difference between two runs with different numbers of hits is the cost of the additional hits.
//! Everything before the first hit is the same.

use std::env;

use cached_aside_bench::{
    kinds::KINDS,
    work::{Order, install},
};

/// Number of keys. It is small, because the machine that callgrind simulates is slow.
const KEYS: u32 = 100;

fn main() {
    install();
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [kind, arm, hits] = arguments.as_slice() else { panic!("KIND ARM HITS") };
    let kind = KINDS.iter().find(|known| known.title == kind).expect("a kind of this title");
    let arms = (kind.arms)(KEYS, &|name| name == arm);
    let arm = arms.first().expect("an arm of this name");
    arm.run(&Order::Uniform.of(KEYS)[..hits.parse().expect("a number of hits")]);
}
