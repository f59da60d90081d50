//! Setting of a measurement.

use std::{fs, process::Command, thread, time::SystemTime};

const LOCK: &str = include_str!("../Cargo.lock");

/// Returns one line with the machine, the day, the compiler and the versions.
pub(crate) fn line(crates: &[&str]) -> String {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let plural = if cores == 1 { "" } else { "s" };
    let day = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let day = day.split('T').next().unwrap_or_default();
    let mut parts = vec![format!("{}, {cores} core{plural}", processor()), day.to_owned(), compiler()];
    parts.extend(crates.iter().map(|name| format!("{name} {}", version(name).unwrap_or("?"))));
    format!("<sub>{}</sub>", parts.join(" · "))
}

/// Returns the version of a crate in the lock file of this suite.
///
/// If a peer uses an older version as well, this is the newest.
fn version(name: &str) -> Option<&'static str> {
    let (_, after) = LOCK.rsplit_once(&format!("name = \"{name}\"\nversion = \""))?;
    after.split('"').next()
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("model name"));
    line.and_then(|line| line.split_once(": ")).map_or("unknown processor", |(_, name)| name).to_owned()
}

fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn version_is_the_newest_in_the_lock_file() {
        assert!(version("moka").is_some_and(|version| version.starts_with("0.12.")));
        assert!(
            version("quick_cache").is_some_and(|version| version.starts_with("0.7.")),
            "not that of a peer"
        );
        assert_eq!(version("no-such-crate"), None);
    }
}
