//! Compile times for a user: a clean build of a small program, and one more function in it.

use std::{fs, path::Path};

use crate::{
    options::Options,
    programs::{
        Project,
        one::{PROGRAMS, Program},
    },
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
    let projects: Vec<_> = chosen.iter().map(|program| Build::new(&root, program)).collect();

    let clean = projects.iter().map(|project| {
        Arm::new(project.program.name, move || {
            project.project.clean();
            let seconds = project.build(1);
            eprintln!("  {}: {seconds:.1} s", project.program.name);
            seconds
        })
    });
    let everything = Options { arms: Vec::new(), ..options.clone() };
    let clean = cold_race(&everything, options.pick(1, 2), clean.collect());
    let several = projects.iter().filter(|project| !project.program.function.is_empty());
    let one_more = several.map(|project| {
        Arm::new(project.program.name, move || {
            let [one, many] = [1, FUNCTIONS].map(|functions| project.build(functions));
            1e3 * (many - one) / f64::from(FUNCTIONS - 1)
        })
    });
    let one_more = race(&everything, options.pick(1, 3), one_more.collect());
    let floor = PROGRAMS[0].name;
    let head = ["program", "crates", "clean build, s", "÷ no cache", "one more function, ms", "÷ no cache"];
    let row = |project: &Build| {
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

struct Build {
    project: Project,
    program: &'static Program,
}

impl Build {
    fn new(root: &Path, program: &'static Program) -> Self {
        Self { project: Project::new(root, program.name, program.dependencies), program }
    }

    /// Builds the program with a number of functions. Returns the seconds that it took.
    fn build(&self, functions: u32) -> f64 {
        self.project.write(&self.program.source(functions));
        self.project.timed(&["build"], false)
    }

    /// Returns the number of crates that are built, without the program itself.
    fn crates(&self) -> usize {
        let arguments = ["tree", "--prefix", "none", "--no-dedupe", "--edges", "normal,build"];
        let text = self.project.output(&arguments).unwrap_or_default();
        let mut lines: Vec<_> = text.lines().collect();
        lines.sort_unstable();
        lines.dedup();
        lines.len().saturating_sub(1)
    }
}
