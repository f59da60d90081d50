//! Each planted bug is found, and as what it is; and the plan in which it is found shows nothing without the bug.

use std::{
    process::{Command, Output},
    sync::{Mutex, PoisonError},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

/// How many runs go on at a time. More would starve each other, and a starved worker is excused from much.
const TOGETHER: usize = 2;

fn checker(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_checker")).args(arguments).output().expect("the checker starts")
}

/// What a run says, without the log of each worker.
fn told(run: &Output) -> String {
    let out = String::from_utf8_lossy(&run.stdout);
    let lines: Vec<_> = out.lines().filter(|line| !line.starts_with("  worker")).collect();
    format!("({})\n{}\n{}", run.status, lines.join("\n"), String::from_utf8_lossy(&run.stderr))
}

/// What is wrong with the runs of a bug, if anything.
fn faults(name: &str, promises: &str, seed: &str) -> Vec<String> {
    let without = checker(&["--plan-of", name, "--seed", seed]);
    let with = checker(&["--plant", name, "--seed", seed]);
    let mut faults = Vec::new();
    if !without.status.success() {
        faults.push(format!("the plan of {name} breaks a promise without the bug {}", told(&without)));
    }
    let out = String::from_utf8_lossy(&with.stdout);
    let is_found = promises.split(',').any(|promise| out.contains(&format!("\nviolation of {promise}:")));
    if with.status.code() != Some(1) || !is_found {
        faults.push(format!("{name} was not found as {promises} {}", told(&with)));
    }
    faults
}

#[test]
fn every_planted_bug_is_found_and_nothing_without_one() {
    let list = checker(&["--list-plants"]);
    let list = String::from_utf8(list.stdout).expect("the list is text");
    let plants = list.lines().map(|line| {
        let mut words = line.split_whitespace();
        (words.next().expect("a name"), words.next().expect("promises"))
    });
    let plants: Vec<_> = plants.collect();
    assert!(plants.len() >= 12, "{plants:?}");
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    let seed = (since.as_secs() % 1_000_000).to_string();

    let (next, wrong) = (Mutex::new(plants.into_iter()), Mutex::new(Vec::new()));
    let take = || next.lock().unwrap_or_else(PoisonError::into_inner).next();
    thread::scope(|scope| {
        for _ in 0..TOGETHER {
            scope.spawn(|| {
                while let Some((name, promises)) = take() {
                    let faults = faults(name, promises, &seed);
                    wrong.lock().unwrap_or_else(PoisonError::into_inner).extend(faults);
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn a_bug_that_nobody_planted_is_refused() {
    assert_eq!(checker(&["--plant", "no-such-bug"]).status.code(), Some(2));
}
