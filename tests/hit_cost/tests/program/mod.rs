//! The program under measurement.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// Builds the program in release mode, as users do. The test itself is not built in this way.
pub(crate) fn build() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("release");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(&target)
        // Flags that were set for the tests do not apply to this build.
        .env_remove("RUSTFLAGS")
        .status();
    assert!(built.is_ok_and(|status| status.success()), "the program could not be built");
    target.join("release/hit-cost")
}
