//! Calls a function that calls itself: `recursion ARM LEVELS STACK`.
//!
//! Prints the bytes of stack per level. The program overflows its stack if that has too few bytes.

use std::env;

use cached_aside_bench::{recursion::run, work::install};

fn main() {
    install();
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [arm, levels, stack] = arguments.as_slice() else { panic!("ARM LEVELS STACK") };
    let [levels, stack] = [levels, stack].map(|number| number.parse::<u64>().expect("a number"));
    println!("{}", run(arm, levels, usize::try_from(stack).expect("a size")));
}
