//! Command-line options.

use std::{ops::RangeInclusive, path::PathBuf, str::FromStr, time::Duration};

pub(crate) const HELP: &str = "\
Worker processes answer a stream of questions with a language model, through one cached function.

Usage: llm_workers [options]

  --redis URL        share the answers through this Redis; without it, each worker caches alone
  --questions FILE   lines of `label<TAB>question<TAB>question`, plain or gzip; without it, a short built-in list
  --requests N       questions to ask [4000]
  --users N          users who ask them, about 4 notes each [5]
  --workers N        processes that answer [4]
  --concurrency N    questions that one worker has in hand at a time [8]
  --latency-ms N     median time of an answer of the model [200]
  --seed N           another seed is another stream; the same seed is the same stream [1]
  --help             this text

The model is a stand-in that this program runs on 127.0.0.1: it speaks the chat completions protocol, and takes about
as long for an answer as --latency-ms says. Real answers take 30 to 120 s.

In Redis, the answers of a run are under `llm-workers-...`, and expire after 30 minutes.
";

#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) redis: Option<String>,
    pub(crate) questions: Option<PathBuf>,
    pub(crate) requests: u32,
    pub(crate) users: u32,
    pub(crate) workers: usize,
    pub(crate) concurrency: u32,
    pub(crate) latency: Duration,
    pub(crate) seed: u64,
}

impl Args {
    /// Parses the command line. Returns `None` if help is requested.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut args = Self {
            redis: None,
            questions: None,
            requests: 4_000,
            users: 5,
            workers: 4,
            concurrency: 8,
            latency: Duration::from_millis(200),
            seed: 1,
        };
        while let Some(word) = words.next() {
            if matches!(word.as_str(), "--help" | "-h") {
                return Ok(None);
            }
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (word.as_str(), None),
            };
            args.set(name, || {
                value.or_else(|| words.next()).ok_or_else(|| format!("{name} needs a value; see --help"))
            })?;
        }
        Ok(Some(args))
    }

    fn set(&mut self, name: &str, value: impl FnOnce() -> Result<String, String>) -> Result<(), String> {
        match name {
            "--redis" => self.redis = Some(value()?),
            "--questions" => self.questions = Some(value()?.into()),
            "--requests" => self.requests = number(name, &value()?, 1..=10_000_000)?,
            "--users" => self.users = number(name, &value()?, 1..=1_000_000)?,
            "--workers" => self.workers = number(name, &value()?, 1..=64)?,
            "--concurrency" => self.concurrency = number(name, &value()?, 1..=1_000)?,
            "--latency-ms" => self.latency = Duration::from_millis(number(name, &value()?, 0..=600_000)?),
            "--seed" => self.seed = number(name, &value()?, 0..=u64::MAX)?,
            _ => return Err(format!("`{name}` is not an option; see --help")),
        }
        Ok(())
    }
}

fn number<N>(name: &str, text: &str, range: RangeInclusive<N>) -> Result<N, String>
where
    N: FromStr + PartialOrd + std::fmt::Display,
{
    match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!("{name}: `{text}` is not a number from {} to {}", range.start(), range.end())),
    }
}
