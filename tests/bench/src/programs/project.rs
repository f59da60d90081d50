//! One program in a folder of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

/// A package with one source file.
pub(crate) struct Project {
    folder: PathBuf,
    target: PathBuf,
    name: String,
}

impl Project {
    /// Creates a package in `root`, without a source.
    ///
    /// `{root}` in `dependencies` stands for the path of this repository.
    pub(crate) fn new(root: &Path, title: &str, dependencies: &str) -> Self {
        let name: String = title
            .chars()
            .filter(|character| character.is_ascii_alphanumeric() || *character == ' ')
            .map(|character| if character == ' ' { '-' } else { character })
            .collect();
        // A package must not have the name of one of its dependencies.
        let name = format!("program-{name}");
        let folder = root.join(&name);
        fs::create_dir_all(folder.join("src")).expect("a folder for temporary files");
        let package = env!("CARGO_MANIFEST_DIR");
        let dependencies = dependencies.replace("{root}", &format!("{package}/../.."));
        let manifest = format!(
            "[workspace]\n[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
             [profile.release]\nstrip = true\n[dependencies]\n\
             serde = {{ version = \"1\", features = [\"derive\"] }}\n\
             tokio = {{ version = \"1\", features = [\"macros\", \"rt-multi-thread\"] }}\n{dependencies}\n"
        );
        fs::write(folder.join("Cargo.toml"), manifest).expect("a file can be written");
        // The lock file pins the versions of the rest of the suite.
        fs::copy(format!("{package}/Cargo.lock"), folder.join("Cargo.lock")).expect("a file can be copied");
        Self { target: folder.join("target"), folder, name }
    }

    /// Makes the package share its dependencies with others, in the folder `target`.
    pub(crate) fn with_target(self, target: PathBuf) -> Self {
        Self { target, ..self }
    }

    /// Replaces the source. The time of the file changes even if its content does not.
    pub(crate) fn write(&self, source: &str) {
        fs::write(self.folder.join("src/main.rs"), source).expect("a file can be written");
    }

    /// Deletes all that was built.
    pub(crate) fn clean(&self) {
        let _ = fs::remove_dir_all(&self.target);
    }

    /// Runs Cargo. Returns the seconds that it took.
    pub(crate) fn timed(&self, arguments: &[&str], is_incremental: bool) -> f64 {
        let mut cargo = self.cargo(arguments);
        cargo.env("CARGO_INCREMENTAL", if is_incremental { "1" } else { "0" });
        let began = Instant::now();
        let output = cargo.output().expect("cargo can be started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        began.elapsed().as_secs_f64()
    }

    /// Returns the size of the program that `cargo build --release` has built, in bytes.
    pub(crate) fn size(&self) -> u64 {
        let program = self.target.join("release").join(&self.name);
        fs::metadata(program).expect("it was built").len()
    }

    /// Returns what Cargo prints; `None` if it does not have the command.
    pub(crate) fn output(&self, arguments: &[&str]) -> Option<String> {
        let output = self.cargo(arguments).output().expect("cargo can be started");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut cargo = Command::new("cargo");
        cargo.args(arguments).current_dir(&self.folder);
        cargo.env("CARGO_NET_OFFLINE", "true").env("CARGO_TARGET_DIR", &self.target);
        cargo.env_remove("CARGO_BUILD_JOBS");
        cargo
    }
}
