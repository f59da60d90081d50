//! The command line.

use std::time::Duration;

pub(crate) const USAGE: &str = "\
usage: soak [--minutes M] [--leak]
  --minutes M   how long it runs (30)
  --leak        leaks memory and tasks, to see that this is noticed";

/// Length and kind of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) length: Duration,
    pub(crate) leak: bool,
}

impl Plan {
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut plan = Self { length: Duration::from_secs(30 * 60), leak: false };
        while let Some(option) = arguments.next() {
            match option.as_str() {
                "--leak" => plan.leak = true,
                "--minutes" => {
                    let minutes = arguments.next().and_then(|minutes| minutes.parse::<f64>().ok());
                    let length = minutes.and_then(|minutes| Duration::try_from_secs_f64(minutes * 60.0).ok());
                    plan.length = length
                        .filter(|length| *length >= Duration::from_secs(5))
                        .ok_or("--minutes: not a number, or less than five seconds")?;
                }
                other => return Err(format!("`{other}` is unknown")),
            }
        }
        Ok(plan)
    }

    /// Returns the interval between samples, such that each quarter has enough of them for a median.
    pub(crate) fn sample_every(self) -> Duration {
        (self.length / 100).min(Duration::from_secs(5))
    }

    /// Returns the interval between faults, which leaves time to recover from each.
    pub(crate) fn fault_every(self) -> Duration {
        (self.length / 12).clamp(Duration::from_millis(500), Duration::from_secs(15))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Plan, String> {
        Plan::parse(arguments.iter().map(|&argument| argument.to_owned()))
    }

    #[test]
    fn arguments_are_parsed_or_rejected() {
        assert_eq!(parse(&[]).unwrap().length, Duration::from_secs(1800));
        let plan = parse(&["--minutes", "0.5", "--leak"]).unwrap();
        assert_eq!(plan, Plan { length: Duration::from_secs(30), leak: true });
        for wrong in
            [&["--minutes"][..], &["--minutes", "x"], &["--minutes", "0"], &["--minutes", "-1"], &["x"]]
        {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
