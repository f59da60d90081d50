//! Command-line options.

use std::{env, path::PathBuf, time::Duration};

/// Usage text.
pub const HELP: &str = "\
cargo bench --manifest-path tests/bench/Cargo.toml -- [OPTION]…

  --quick          a minute: does it still run?
  --long           also what takes long: ten million entries, clean builds of the peers
  --only A,B       these groups only
  --arms X,Y       only arms in whose names one of these occurs
  --trace FILE     replays this trace too: one key a line, gzipped; may be given several times
  --write          rewrites docs/performance.md and its plots with what was measured
  --list           the groups
  --help           this text
";

/// Command-line options.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch")]
pub struct Options {
    /// Runs everything briefly, to show that it runs; the numbers mean nothing.
    pub quick: bool,
    /// Includes groups and sizes that take long.
    pub long: bool,
    /// Names of the groups to run; all if empty.
    pub only: Vec<String>,
    /// Parts of the names of the arms to run; all if empty.
    pub arms: Vec<String>,
    /// Files to replay.
    pub traces: Vec<PathBuf>,
    /// Rewrites the page.
    pub write: bool,
    /// Lists the groups, and runs none.
    pub list: bool,
    /// Prints the usage text, and runs nothing.
    pub help: bool,
}

impl Options {
    /// Parses the arguments of this process. Cargo adds `--bench`, which is ignored.
    pub fn from_arguments() -> Result<Self, String> {
        let mut options = Self::default();
        let mut arguments = env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value =
                || arguments.next().ok_or_else(|| format!("`{argument}` needs a value\n\n{HELP}"));
            let list = |text: String| text.split(',').map(str::to_owned).collect::<Vec<_>>();
            match argument.as_str() {
                "--bench" => {}
                "--help" | "-h" => options.help = true,
                "--quick" => options.quick = true,
                "--long" => options.long = true,
                "--write" => options.write = true,
                "--list" => options.list = true,
                "--only" => options.only.extend(list(value()?)),
                "--arms" => options.arms.extend(list(value()?)),
                "--trace" => options.traces.push(file(&value()?)?),
                _ => return Err(format!("`{argument}` is not known\n\n{HELP}")),
            }
        }
        Ok(options)
    }

    /// Returns whether an arm takes part.
    pub fn wants(&self, arm: &str) -> bool {
        self.arms.is_empty() || self.arms.iter().any(|part| arm.contains(part.as_str()))
    }

    /// Returns `quick` in a quick run, and `real` otherwise.
    pub fn pick<T>(&self, quick: T, real: T) -> T {
        if self.quick { quick } else { real }
    }

    /// Returns the number of turns of each arm.
    pub fn rounds(&self) -> usize {
        self.pick(3, 21)
    }

    /// Returns the duration of a turn, for hits that are too short to be timed one by one.
    pub fn turn(&self) -> Duration {
        self.pick(Duration::from_millis(1), Duration::from_millis(15))
    }
}

/// Returns the path of an existing file.
///
/// Cargo runs benchmarks in the folder of their package. `PWD` keeps the folder in which Cargo was started.
fn file(name: &str) -> Result<PathBuf, String> {
    let from = env::var_os("PWD").map(PathBuf::from).unwrap_or_default();
    let places = [from.join(name), PathBuf::from(name)];
    places.into_iter().find(|path| path.is_file()).ok_or_else(|| format!("there is no file `{name}`"))
}
