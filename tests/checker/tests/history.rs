//! A million operations with all kinds of faults break no promise.

use std::process::Command;

/// Prefix of a line in which a process reports the state of its tier.
const STATUS_PREFIX: &str = "cached-aside: the shared tier of ";

#[test]
fn a_million_operations_break_no_promise() {
    let checker = Command::new(env!("CARGO_BIN_EXE_checker"))
        .args(["--ops", "1_000_000"])
        .output()
        .expect("the checker starts");
    let stdout = String::from_utf8_lossy(&checker.stdout);
    let errors = String::from_utf8_lossy(&checker.stderr);
    // In a run with faults, the caches report the state of their tier to stderr, unless a feature sends it
    // elsewhere.
    let errors: Vec<_> = errors.lines().filter(|line| !line.starts_with(STATUS_PREFIX)).collect();
    for seed in stdout.lines().filter_map(|line| line.strip_prefix("seed: ")) {
        println!("again: cargo run -p checker -- --ops 1_000_000 --seed {seed}");
    }
    assert!(checker.status.success() && errors.is_empty(), "{stdout}\n{}", errors.join("\n"));
    assert!(stdout.lines().any(|line| line == "violations: 0"), "{stdout}");
}
