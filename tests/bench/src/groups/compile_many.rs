//! Compile times and sizes of a program with fifty cached functions: an edit, a check, a release.

use std::{cell::Cell, fs, path::Path};

use crate::{
    options::Options,
    programs::{
        Project,
        many::{ManyProgram, PROGRAMS},
    },
    race::{Arm, Rounds, cold_race},
    report::{Group, Report, number, ratio},
};

pub const GROUP: Group = Group { name: "compile_many", long: true, crates: &["cached-aside", "cached"], run };

/// Number of functions: ten of each shape.
const FUNCTIONS: usize = 50;

const TITLE: &str = "A program with fifty cached functions of five shapes, its dependencies already built";

fn run(options: &Options) -> Report {
    let root = std::env::temp_dir().join(format!("cached-aside-compile-many-{}", std::process::id()));
    let chosen: Vec<_> = PROGRAMS.iter().filter(|program| options.wants(program.name)).collect();
    let chosen = &chosen[..chosen.len().min(options.pick(1, usize::MAX))];
    let builds: Vec<_> = chosen.iter().map(|program| Build::new(&root, program)).collect();
    let commands: [&[&str]; 3] = [&["build"], &["check"], &["build", "--release"]];
    for build in &builds {
        // The first round of each race would otherwise build the dependencies.
        let seconds = commands.map(|command| build.timed(command));
        eprintln!("  {}: from nothing {seconds:.1?} s", build.program.name);
    }
    let rounds = |count: usize, arguments: &'static [&'static str], is_edited: bool| {
        let everything = Options { arms: Vec::new(), ..options.clone() };
        let arms = builds.iter().map(|build| {
            Arm::new(build.program.name, move || {
                if is_edited {
                    build.edits.set(build.edits.get() + 1);
                }
                build.timed(arguments)
            })
        });
        let rounds = cold_race(&everything, options.pick(1, count), arms.collect());
        eprintln!("  {arguments:?}{} done", if is_edited { " after an edit" } else { "" });
        rounds
    };
    let edited = rounds(5, commands[0], true);
    let touched = rounds(5, commands[0], false);
    let checked = rounds(5, commands[1], false);
    let released = rounds(3, commands[2], false);
    let columns = [
        Column::new("an edit of one body, s", edited),
        Column::new("a touch, s", touched),
        Column::new("`cargo check` after a touch, s", checked),
        Column::new("release build, s", released),
    ];
    let report = Report::default()
        .table(TITLE, &matrix(&builds, &columns, |rounds, name| number(rounds.median(name))))
        .table(
            "The same, divided by the program without a cache that is async or not, as this one",
            &matrix(&builds, &columns, |rounds, name| ratio(rounds.ratio(name, floor(name)))),
        )
        .table("Sizes of these programs", &sizes(&builds));
    let report = match builds.first().and_then(|build| build.lines(1)) {
        Some(_) => report,
        None => report.text("The LLVM lines are not counted: `cargo llvm-lines` is not installed."),
    };
    let _ = fs::remove_dir_all(&root);
    report
}

/// Returns the program without a cache with which a program is compared.
fn floor(name: &str) -> &'static str {
    if name.contains("sync") && !name.contains("async") { "no cache, sync" } else { "no cache, async" }
}

struct Column {
    title: &'static str,
    rounds: Rounds,
}

impl Column {
    fn new(title: &'static str, rounds: Rounds) -> Self {
        Self { title, rounds }
    }
}

fn matrix(builds: &[Build], columns: &[Column], cell: impl Fn(&Rounds, &str) -> String) -> Vec<Vec<String>> {
    let head = ["program"].into_iter().chain(columns.iter().map(|column| column.title));
    let row = |build: &Build| {
        let name = build.program.name;
        let cells = columns.iter().map(|column| cell(&column.rounds, name));
        [name.to_owned()].into_iter().chain(cells).collect()
    };
    [head.map(str::to_owned).collect()].into_iter().chain(builds.iter().map(row)).collect()
}

fn sizes(builds: &[Build]) -> Vec<Vec<String>> {
    let head = [
        "program",
        "stripped release program, KiB",
        "bytes per further function",
        "LLVM lines, debug",
        "LLVM lines per further function",
    ];
    let row = |build: &Build| {
        let [few, many] = [1, FUNCTIONS].map(|functions| build.size(functions));
        let [few_lines, many_lines] = [1, FUNCTIONS].map(|functions| build.lines(functions));
        let further = (FUNCTIONS - 1) as f64;
        let lines = few_lines.zip(many_lines).map(|(few, many)| (many - few) / further);
        vec![
            build.program.name.to_owned(),
            format!("{:.0}", many / 1024.0),
            format!("{:.0}", (many - few) / further),
            many_lines.map_or("–".to_owned(), |lines| format!("{lines:.0}")),
            lines.map_or("–".to_owned(), |lines| format!("{lines:.0}")),
        ]
    };
    [head.map(str::to_owned).to_vec()].into_iter().chain(builds.iter().map(row)).collect()
}

struct Build {
    project: Project,
    program: &'static ManyProgram,
    /// Number of edits so far.
    edits: Cell<usize>,
}

impl Build {
    fn new(root: &Path, program: &'static ManyProgram) -> Self {
        // Cargo builds a dependency once for all programs that want the same features of it.
        let project = Project::new(root, program.name, program.dependencies).with_target(root.join("target"));
        Self { project, program, edits: Cell::new(0) }
    }

    /// Writes the source, and runs Cargo. Returns the seconds that Cargo took.
    ///
    /// Cargo compiles a program that was written again, even if it is the same.
    fn timed(&self, arguments: &[&str]) -> f64 {
        self.project.write(&self.program.source(FUNCTIONS, self.edits.get()));
        self.project.timed(arguments, !arguments.contains(&"--release"))
    }

    /// Returns the size of the stripped program in bytes.
    fn size(&self, functions: usize) -> f64 {
        self.project.write(&self.program.source(functions, 0));
        self.project.timed(&["build", "--release"], false);
        self.project.size() as f64
    }

    /// Returns the lines of LLVM's language that rustc generates for the program.
    ///
    /// The result is `None` if `cargo llvm-lines` is not installed.
    fn lines(&self, functions: usize) -> Option<f64> {
        self.project.write(&self.program.source(functions, 0));
        let text = self.project.output(&["llvm-lines"])?;
        let total = text.lines().find(|line| line.contains("(TOTAL)"))?;
        total.split_whitespace().next()?.parse().ok()
    }
}
