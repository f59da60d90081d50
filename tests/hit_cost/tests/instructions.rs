//! Limits on the instructions of a hit. The counts are reproducible even on a busy machine.
#![cfg(target_os = "linux")]

use std::{path::Path, process::Command};

use program::build;

mod program;

/// Instructions of a hit of each function at the last measurement, including the loop around the call.
///
/// A change that makes a hit cheaper should also lower the figure here.
const MEASURED: [(&str, f64); 4] =
    [("number", 310.0), ("name", 411.0), ("square", 299.0), ("prompt", 1531.0)];

/// Tolerance, because other compilers, processors and C libraries give slightly different counts.
const MARGIN: f64 = 1.12;

#[test]
fn hit_stays_within_measured_instructions() {
    let program = build();
    let mut too_many = Vec::new();
    for (function, measured) in MEASURED {
        let (few, many) = (10_000, 60_000);
        let [before, after] = [few, many].map(|hits| instructions(&program, function, hits));
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        let each = (after - before) as f64 / (many - few) as f64;
        println!("{function}: {each:.1} instructions for a hit, measured {measured:.1}");
        if each > measured * MARGIN {
            too_many.push(format!("{function}: {each:.1}, and {measured:.1} when it was measured"));
        }
    }
    assert!(too_many.is_empty(), "{}", too_many.join("; "));
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
