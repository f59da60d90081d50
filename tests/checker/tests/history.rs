//! A million operations with everything that can go wrong, and no promise broken.

use std::process::Command;

/// How a process says in which state its tier is.
const STANDING: &str = "cached-aside: the shared tier of ";

#[test]
fn a_million_operations_break_no_promise() {
    let checker = Command::new(env!("CARGO_BIN_EXE_checker"))
        .args(["--ops", "1_000_000"])
        .output()
        .expect("the checker starts");
    let told = String::from_utf8_lossy(&checker.stdout);
    let errors = String::from_utf8_lossy(&checker.stderr);
    // In a run with faults the caches have something to say of their tier, where no feature sends it elsewhere.
    let errors: Vec<_> = errors.lines().filter(|line| !line.starts_with(STANDING)).collect();
    for seed in told.lines().filter_map(|line| line.strip_prefix("seed: ")) {
        println!("again: cargo run -p checker -- --ops 1_000_000 --seed {seed}");
    }
    assert!(checker.status.success() && errors.is_empty(), "{told}\n{}", errors.join("\n"));
    assert!(told.lines().any(|line| line == "violations: 0"), "{told}");
}
