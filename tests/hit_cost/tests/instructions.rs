//! Limits on the instructions of a call. The counts are reproducible even on a busy machine.
#![cfg(target_os = "linux")]

use std::{path::Path, process::Command};

use program::build;

mod program;

/// Instructions of a hit of each function at the last measurement, including the loop around the call.
///
/// A change that makes a hit cheaper should also lower the figure here.
const HITS: [(&str, f64); 4] = [("number", 304.0), ("name", 413.0), ("square", 296.0), ("prompt", 1523.0)];

/// Instructions of a miss in a full cache, without and with a shared tier, and of a hit in the tier.
const OTHERS: [(&str, f64); 5] = [
    ("miss-cube", 7918.0),
    ("miss-local", 8522.0),
    ("miss-inline", 8606.0),
    ("tier-miss", 30858.0),
    ("tier-hit", 14659.0),
];

/// Tolerance, because other compilers, processors and C libraries give slightly different counts.
const MARGIN: f64 = 1.12;

#[test]
fn hit_stays_within_measured_instructions() {
    check(&HITS);
}

#[test]
fn miss_and_hit_in_a_tier_stay_within_measured_instructions() {
    check(&OTHERS);
}

fn check(limits: &[(&str, f64)]) {
    let program = build();
    let mut too_many = Vec::new();
    for &(function, measured) in limits {
        let each = each(&program, function, 10_000, 60_000);
        println!("{function}: {each:.1} instructions for a call, measured {measured:.1}");
        if each > measured * MARGIN {
            too_many.push(format!("{function}: {each:.1}, and {measured:.1} when it was measured"));
        }
    }
    assert!(too_many.is_empty(), "{}", too_many.join("; "));
}

#[test]
fn walk_of_a_value_costs_little_beside_its_encoding() {
    let program = build();
    let [walked, weighed, encoded] =
        ["walked", "weighed", "encoded"].map(|what| each(&program, what, 100, 300));
    let walk = walked - weighed;
    println!("{walk:.0} instructions for a walk, {encoded:.0} for the encoding as JSON");
    assert!(walk > 0.0 && walk * 20.0 < encoded, "{walk:.0} for a walk, {encoded:.0} for the encoding");
}

/// Returns the instructions of one of the calls by which two runs differ.
fn each(program: &Path, function: &str, few: u32, many: u32) -> f64 {
    let [before, after] = [few, many].map(|calls| instructions(program, function, calls.into()));
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let difference = (after - before) as f64;
    difference / f64::from(many - few)
}

/// Returns the instructions of a whole run, counted by callgrind.
fn instructions(program: &Path, function: &str, hits: u64) -> u64 {
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([function, &hits.to_string()])
        .output();
    let run = run.expect("valgrind is there: tests/run.sh installs it");
    let text = String::from_utf8_lossy(&run.stderr);
    let collected =
        text.lines().find_map(|line| line.split_once("Collected : ")).map(|(_, count)| count.trim());
    let collected = collected.and_then(|count| count.parse().ok());
    collected.unwrap_or_else(|| panic!("callgrind has counted nothing: {text}"))
}
