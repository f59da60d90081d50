//! Each planted bug is found as a violation of its promises, and its plan breaks no promise without the bug.
//!
//! Bugs with one plan share the run without a bug.

use std::{
    collections::HashSet,
    env,
    process::{Command, Output},
    sync::{Mutex, PoisonError},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

/// Number of runs at a time. More would starve each other, and a starved worker is excused from much.
const CONCURRENCY: usize = 2;

/// Number of seeds with which a bug is looked for, one after the other, until it is found.
///
/// The README gives the rate at which one run misses a bug, and the resulting rate for all seeds.
const SEEDS: u64 = 6;

/// Variable with the first seed. The others are the next numbers.
const SEED: &str = "CHECKER_SEED";
/// Variable with the only bug to look for, if it is set.
const PLANT: &str = "CHECKER_PLANT";

fn checker(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_checker")).args(arguments).output().expect("the checker starts")
}

/// Returns the output of a run, without the log of each worker.
fn output_of(run: &Output) -> String {
    let out = String::from_utf8_lossy(&run.stdout);
    let lines: Vec<_> = out.lines().filter(|line| !line.starts_with("  worker")).collect();
    format!("({})\n{}\n{}", run.status, lines.join("\n"), String::from_utf8_lossy(&run.stderr))
}

/// Returns the command that repeats a run.
fn repeat_command(option: &str, name: &str, seed: u64) -> String {
    format!("again: cargo run -p checker --features planted -- {option} {name} --seed {seed}")
}

/// One run without a bug, or runs one after the other until the bug is found.
#[derive(Clone, Copy)]
enum Check<'a> {
    /// Run of the plan of this bug, without the bug.
    Without(&'a str),
    With {
        name: &'a str,
        promises: &'a str,
    },
}

/// Returns a description of the failure, if there is one.
fn failure(check: Check<'_>, seed: u64) -> Option<String> {
    match check {
        Check::Without(name) => {
            let without = checker(&["--plan-of", name, "--seed", &seed.to_string()]);
            let (output, command) = (output_of(&without), repeat_command("--plan-of", name, seed));
            let failure = format!("the plan of {name} breaks a promise without the bug {output}\n{command}");
            (!without.status.success()).then_some(failure)
        }
        Check::With { name, promises } => failure_with_bug(name, promises, seed),
    }
}

fn failure_with_bug(name: &str, promises: &str, seed: u64) -> Option<String> {
    let mut missed = Vec::new();
    for seed in seed..seed + SEEDS {
        let with = checker(&["--plant", name, "--seed", &seed.to_string()]);
        if is_found(&with, promises) {
            return None;
        }
        missed.push(format!("{}\n{}", output_of(&with), repeat_command("--plant", name, seed)));
    }
    Some(format!("{name} was not found as {promises} {}", missed.join("\n")))
}

fn is_found(run: &Output, promises: &str) -> bool {
    let out = String::from_utf8_lossy(&run.stdout);
    let is_reported = |promise| out.contains(&format!("\nviolation of {promise}:"));
    run.status.code() == Some(1) && promises.split(',').any(is_reported)
}

#[test]
fn planted_bugs_are_found_and_plans_are_clean() {
    let list = checker(&["--list-plants"]);
    let list = String::from_utf8(list.stdout).expect("the list is text");
    let only = env::var(PLANT).ok();
    let plants = list.lines().map(|line| {
        let mut words = line.split_whitespace();
        let mut word = |description| words.next().expect(description);
        (word("a name"), word("promises"), word("the first bug of its plan"))
    });
    let plants: Vec<_> = plants.filter(|(name, ..)| only.as_ref().is_none_or(|only| only == name)).collect();
    assert!(plants.len() >= 12 || plants.len() == usize::from(only.is_some()), "{plants:?}");
    let seed =
        env::var(SEED).map_or_else(|_| seed_of_now(), |seed| seed.parse().expect("a seed is a number"));
    println!("again: {SEED}={seed}");

    let shared: HashSet<_> = plants.iter().map(|&(_, _, plan)| plan).collect();
    let with = plants.iter().map(|&(name, promises, _)| Check::With { name, promises });
    let checks: Vec<_> = shared.into_iter().map(Check::Without).chain(with).collect();
    let (next, wrong) = (Mutex::new(checks.into_iter()), Mutex::new(Vec::new()));
    let take = || next.lock().unwrap_or_else(PoisonError::into_inner).next();
    thread::scope(|scope| {
        for _ in 0..CONCURRENCY {
            scope.spawn(|| {
                while let Some(check) = take() {
                    let failure = failure(check, seed);
                    wrong.lock().unwrap_or_else(PoisonError::into_inner).extend(failure);
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn seed_of_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    since.as_secs() % 1_000_000
}

#[test]
fn unknown_bug_is_rejected() {
    assert_eq!(checker(&["--plant", "no-such-bug"]).status.code(), Some(2));
}
