//! The program whose costs are measured.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// As users build it, which the test itself is not.
pub(crate) fn build() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("release");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(&target)
        // What was asked for the tests is not for this.
        .env_remove("RUSTFLAGS")
        .status();
    assert!(built.is_ok_and(|status| status.success()), "the program could not be built");
    target.join("release/hit-cost")
}
