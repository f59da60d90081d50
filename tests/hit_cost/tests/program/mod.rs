//! The programs under measurement.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

/// Builds the program in release mode, as users do. The test itself is not built in this way.
pub(crate) fn build() -> PathBuf {
    build_with_artifacts();
    folder().join("release/hit-cost")
}

/// Builds the program, and returns the libraries of these crates, of which it consists.
pub(crate) fn libraries<const N: usize>(crates: [&str; N]) -> [PathBuf; N] {
    let artifacts = build_with_artifacts();
    crates.map(|name| {
        let is_it = |artifact: &&Value| artifact["target"]["name"] == name;
        let files = artifacts.iter().find(is_it).and_then(|artifact| artifact["filenames"].as_array());
        let mut files = files.into_iter().flatten().filter_map(Value::as_str).map(Path::new);
        let is_library = |file: &&Path| file.extension().is_some_and(|extension| extension == "rlib");
        files.find(is_library).expect("the program has this library").to_owned()
    })
}

/// Returns the folder of the builds.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("release")
}

/// Builds the program. Returns what Cargo reports about it and its libraries.
fn build_with_artifacts() -> Vec<Value> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--bin", "hit-cost"])
        .args(["--message-format", "json-render-diagnostics", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(folder())
        // Flags that were set for the tests do not apply to this build.
        .env_remove("RUSTFLAGS")
        .stderr(Stdio::inherit())
        .output();
    let built = built.expect("Cargo runs these tests");
    assert!(built.status.success(), "the program could not be built");
    let lines = String::from_utf8_lossy(&built.stdout);
    lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
