//! The command line.

use std::{str::FromStr, time::Duration};

use crate::{
    clock::now,
    faults::FaultMix,
    plants,
    run::{Plan, SUBCOMMAND},
    worker::Job,
};

pub(crate) const USAGE: &str = "\
usage: checker [options]
  --ops N              operations in all (1000000)
  --minutes M          end after M minutes, if the operations have not ended before
  --seed N             which plan (a new one each time)
  --workers N          processes (4)
  --keys N             keys, of which four make a group (8)
  --rate N             operations a second, of all workers (12000)
  --faults on|off      whether anything goes wrong (on)
  --cluster on|off     whether Redis is a cluster of three, whose slots move (off)
  --confirmed-share S  of the writes that ask for a confirmation, 0 to 1 (0.01)
  --history FILE       write all events to a file, a line each
  --plant BUG          turn a planted bug on (needs the feature `planted`), with a plan that suits it
  --plan-of BUG        the same plan without the bug
  --list-plants        name the bugs";

/// Task of the program.
#[derive(Debug)]
pub(crate) enum Request {
    Run(Box<Plan>),
    /// Run as a worker process of another checker.
    Work(Box<Job>),
    List,
    Help,
}

pub(crate) fn parse(arguments: &[String]) -> Result<Request, String> {
    if let [first, job] = arguments
        && first == SUBCOMMAND
    {
        let job = serde_json::from_str(job).map_err(|error| format!("not a job: {error}"))?;
        return Ok(Request::Work(Box::new(job)));
    }
    let mut plan = Plan { seed: now() % 1_000_000_000, ..Plan::default() };
    // A bug has its own plan. It is applied first, so that the other options can change it.
    for pair in arguments.windows(2) {
        let is_planted = pair[0] == "--plant";
        if !is_planted && pair[0] != "--plan-of" {
            continue;
        }
        let plant =
            plants::find(&pair[1]).ok_or_else(|| format!("no planted bug is called `{}`", pair[1]))?;
        (plant.adapt_plan)(&mut plan);
        if is_planted && cfg!(not(feature = "planted")) {
            return Err("planted bugs need the feature `planted`".to_owned());
        }
        plan.plant = Some(plant).filter(|_| is_planted);
    }
    let mut rest = arguments.iter();
    while let Some(option) = rest.next() {
        match option.as_str() {
            "--help" | "-h" => return Ok(Request::Help),
            "--list-plants" => return Ok(Request::List),
            _ => {}
        }
        let value = rest.next().ok_or_else(|| format!("`{option}` is unknown, or lacks its value"))?;
        match option.as_str() {
            "--ops" => plan.operations = number(option, value)?,
            "--minutes" => {
                let minutes: f64 = number(option, value)?;
                plan.time_limit = Duration::try_from_secs_f64(minutes * 60.0).ok();
            }
            "--seed" => plan.seed = number(option, value)?,
            "--workers" => plan.workers = number::<usize>(option, value)?.clamp(1, 64),
            "--keys" => plan.keys = number::<u32>(option, value)?.clamp(1, 100_000),
            "--rate" => plan.rate = number::<u64>(option, value)?.max(1),
            "--faults" if value == "on" => {}
            "--faults" if value == "off" => plan.faults = FaultMix::NONE,
            "--cluster" if value == "off" => {}
            "--cluster" if value == "on" => plan.is_cluster = true,
            "--confirmed-share" => plan.mix.confirmed = per_million(number(option, value)?)?,
            "--history" => plan.history = Some(value.into()),
            "--plant" | "--plan-of" => {}
            _ => return Err(format!("`{option} {value}` is unknown")),
        }
    }
    if plan.is_cluster && plan.faults != FaultMix::NONE {
        plan.faults = FaultMix::CLUSTER;
    }
    if arguments.iter().any(|argument| argument == "--minutes")
        && !arguments.iter().any(|argument| argument == "--ops")
    {
        plan.operations = u64::MAX;
    }
    Ok(Request::Run(Box::new(plan)))
}

fn number<T: FromStr>(option: &str, value: &str) -> Result<T, String> {
    value.replace('_', "").parse().map_err(|_| format!("`{option}` takes a number, not `{value}`"))
}

fn per_million(share: f64) -> Result<u32, String> {
    if !(0.0..=1.0).contains(&share) {
        return Err("a share lies between 0 and 1".to_owned());
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and a million")]
    Ok((share * 1e6) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(line: &str) -> Result<Plan, String> {
        let words: Vec<_> = line.split_whitespace().map(ToOwned::to_owned).collect();
        match parse(&words)? {
            Request::Run(plan) => Ok(*plan),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn options_change_the_plan() {
        let plan = plan("--ops 2_000 --seed 7 --workers 2 --keys 12 --faults off --confirmed-share 0.5")
            .expect("good");
        assert_eq!((plan.operations, plan.seed, plan.workers, plan.keys), (2_000, 7, 2, 12));
        assert_eq!((plan.faults, plan.mix.confirmed, plan.time_limit), (FaultMix::NONE, 500_000, None));
    }

    #[test]
    fn cluster_option_selects_the_faults_of_a_cluster() {
        assert_eq!(plan("--cluster on").expect("good").faults, FaultMix::CLUSTER);
        assert_eq!(plan("--cluster on --faults off").expect("good").faults, FaultMix::NONE);
        assert!(!plan("--cluster off").expect("good").is_cluster);
    }

    #[test]
    fn minutes_without_ops_have_no_operation_limit() {
        let plan = plan("--minutes 0.5").expect("good");
        assert_eq!((plan.time_limit, plan.operations), (Some(Duration::from_secs(30)), u64::MAX));
    }

    #[test]
    fn invalid_arguments_are_rejected() {
        for line in [
            "--ops",
            "--ops many",
            "--faults maybe",
            "--colour red",
            "--cluster maybe",
            "--plant none",
            "--confirmed-share 2",
        ] {
            assert!(plan(line).is_err(), "{line}");
        }
    }
}
