//! Other programs of this package, and their output.

use std::{
    env,
    path::PathBuf,
    process::{Command, Stdio},
};

/// Returns the path at which Cargo places a program of the package when it builds the benchmarks.
pub(crate) fn program(name: &str) -> PathBuf {
    let own = env::current_exe().expect("this program has a path");
    let profile =
        own.parent().and_then(|folder| folder.parent()).expect("it is two folders deep in `target`");
    profile.join(name)
}

/// Runs a program, and returns the lines that it prints, each split at tabs.
pub(crate) fn rows(command: &mut Command) -> Vec<Vec<String>> {
    let output = command.stderr(Stdio::inherit()).output().expect("the program can be started");
    assert!(output.status.success(), "{command:?}: {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}
