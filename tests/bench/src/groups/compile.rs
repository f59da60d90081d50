//! Compile times for a user: a clean build of a small program, and one more function in it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use crate::{
    options::Options,
    programs::{PROGRAMS, Program},
    race::{Arm, cold_race, race},
    report::{Group, Report, number, ratio},
};

pub const GROUP: Group = Group { name: "compile", long: true, crates: super::PEERS, run };

/// Number of functions in the larger of the two programs that are compared; the smaller one has one.
const FUNCTIONS: u32 = 51;

fn run(options: &Options) -> Report {
    let root = std::env::temp_dir().join(format!("cached-aside-compile-{}", std::process::id()));
    let selected = || PROGRAMS.iter().filter(|program| options.wants(program.name));
    let chosen: Vec<_> = selected().take(options.pick(2, usize::MAX)).collect();
    let projects: Vec<_> = chosen.iter().map(|program| Project::new(&root, program)).collect();

    let clean = projects.iter().map(|project| {
        Arm::new(project.program.name, move || {
            let _ = fs::remove_dir_all(project.folder.join("target"));
            project.write(1);
            let seconds = project.build();
            eprintln!("  {}: {seconds:.1} s", project.program.name);
            seconds
        })
    });
    let everything = Options { arms: Vec::new(), ..options.clone() };
    let clean = cold_race(&everything, options.pick(1, 2), clean.collect());
    let several = projects.iter().filter(|project| !project.program.function.is_empty());
    let one_more = several.map(|project| {
        Arm::new(project.program.name, move || {
            let [one, many] = [1, FUNCTIONS].map(|functions| {
                project.write(functions);
                project.build()
            });
            1e3 * (many - one) / f64::from(FUNCTIONS - 1)
        })
    });
    let one_more = race(&everything, options.pick(1, 3), one_more.collect());
    let floor = PROGRAMS[0].name;
    let head = ["program", "crates", "clean build, s", "÷ no cache", "one more function, ms", "÷ no cache"];
    let row = |project: &Project| {
        let name = project.program.name;
        vec![
            name.to_owned(),
            project.crates().to_string(),
            number(clean.median(name)),
            ratio(clean.ratio(name, floor)),
            number(one_more.median(name)),
            ratio(one_more.ratio(name, floor)),
        ]
    };
    let rows: Vec<_> =
        [head.map(str::to_owned).to_vec()].into_iter().chain(projects.iter().map(row)).collect();
    let _ = fs::remove_dir_all(&root);
    Report::default().table("A program with `tokio` and `serde`, in the profile `dev`, all cores", &rows)
}

struct Project {
    folder: PathBuf,
    program: &'static Program,
}

impl Project {
    fn new(root: &Path, program: &'static Program) -> Self {
        let folder = root.join(program.name.replace([' ', ','], "-"));
        fs::create_dir_all(folder.join("src")).expect("a folder for temporary files");
        let package = env!("CARGO_MANIFEST_DIR");
        let dependencies = program.dependencies.replace("{root}", &format!("{package}/../.."));
        let manifest = format!(
            "[workspace]\n[package]\nname = \"program\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[dependencies]\n\
             serde = {{ version = \"1\", features = [\"derive\"] }}\n\
             tokio = {{ version = \"1\", features = [\"macros\", \"rt-multi-thread\"] }}\n{dependencies}\n"
        );
        fs::write(folder.join("Cargo.toml"), manifest).expect("a file can be written");
        // The lock file pins the versions of the rest of the suite.
        fs::copy(format!("{package}/Cargo.lock"), folder.join("Cargo.lock")).expect("a file can be copied");
        Self { folder, program }
    }

    fn write(&self, functions: u32) {
        let Program { prelude, first, function, call, .. } = self.program;
        let mut source = format!("{prelude}\n{}\n", first.replace("{n}", "0"));
        let print = |number: &str| format!("    println!(\"{{:?}}\", {});\n", call.replace("{n}", number));
        let mut calls = print("0");
        for number in 1..functions {
            let number = number.to_string();
            source += &(function.replace("{n}", &number) + "\n");
            calls += &print(&number);
        }
        source = format!("{source}#[tokio::main]\nasync fn main() {{\n{calls}}}\n");
        fs::write(self.folder.join("src/main.rs"), source).expect("a file can be written");
    }

    /// Builds the program. Returns the seconds that it took.
    fn build(&self) -> f64 {
        let began = Instant::now();
        let output = self.cargo("build").output().expect("cargo can be started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        began.elapsed().as_secs_f64()
    }

    /// Returns the number of crates that are built, without the program itself.
    fn crates(&self) -> usize {
        let output =
            self.cargo("tree").args(["--prefix", "none", "--no-dedupe", "--edges", "normal,build"]).output();
        let text = String::from_utf8_lossy(&output.expect("cargo can be started").stdout).into_owned();
        let mut lines: Vec<_> = text.lines().collect();
        lines.sort_unstable();
        lines.dedup();
        lines.len().saturating_sub(1)
    }

    fn cargo(&self, command: &str) -> Command {
        let mut cargo = Command::new("cargo");
        cargo.arg(command).arg("--offline").current_dir(&self.folder);
        cargo.env("CARGO_TARGET_DIR", self.folder.join("target")).env("CARGO_INCREMENTAL", "0");
        cargo.env_remove("CARGO_BUILD_JOBS");
        cargo
    }
}
