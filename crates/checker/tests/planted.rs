//! Each planted bug is found, and as what it is.

use std::{
    process::{Command, Output},
    sync::{Mutex, PoisonError},
    thread,
};

/// How many runs go on at a time. More would starve each other, and a starved worker is excused from much.
const TOGETHER: usize = 2;

fn checker(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_checker")).args(arguments).output().expect("the checker starts")
}

/// What is wrong with the run of a bug, if anything.
fn missed(name: &str, promises: &str) -> Option<String> {
    let run = checker(&["--plant", name]);
    let told = String::from_utf8_lossy(&run.stdout);
    let is_found = promises.split(',').any(|promise| told.contains(&format!("\nviolation of {promise}:")));
    if run.status.code() == Some(1) && is_found {
        return None;
    }
    let table: Vec<_> = told.lines().filter(|line| !line.starts_with("  worker")).collect();
    let errors = String::from_utf8_lossy(&run.stderr);
    Some(format!("{name} was not found as {promises} ({}):\n{}\n{errors}", run.status, table.join("\n")))
}

#[test]
fn every_planted_bug_is_found() {
    let list = checker(&["--list-plants"]);
    let list = String::from_utf8(list.stdout).expect("the list is text");
    let plants = list.lines().map(|line| {
        let mut words = line.split_whitespace();
        (words.next().expect("a name"), words.next().expect("promises"))
    });
    let plants: Vec<_> = plants.collect();
    assert!(plants.len() >= 12, "{plants:?}");

    let (next, missing) = (Mutex::new(plants.into_iter()), Mutex::new(Vec::new()));
    let take = || next.lock().unwrap_or_else(PoisonError::into_inner).next();
    thread::scope(|scope| {
        for _ in 0..TOGETHER {
            scope.spawn(|| {
                while let Some((name, promises)) = take() {
                    let missed = missed(name, promises);
                    missing.lock().unwrap_or_else(PoisonError::into_inner).extend(missed);
                }
            });
        }
    });
    let missing = missing.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(missing.is_empty(), "{}", missing.join("\n\n"));
}

#[test]
fn a_bug_that_nobody_planted_is_refused() {
    assert_eq!(checker(&["--plant", "no-such-bug"]).status.code(), Some(2));
}
