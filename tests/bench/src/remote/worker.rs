//! Processes that share one Redis server.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::runtime::Runtime;

use super::{Bursts, PATIENCE, Versions};
use crate::child::program;

/// Handle of a worker process.
pub(crate) struct Worker {
    process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts a worker. Commands may be sent at once.
    pub(crate) fn start(url: &str) -> Self {
        let mut command = Command::new(program("redis_worker"));
        let started = command.arg(url).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process = started.expect("the worker can be started");
        let stdin = process.stdin.take().expect("it is piped");
        let stdout = BufReader::new(process.stdout.take().expect("it is piped"));
        Self { process, stdin, stdout }
    }

    pub(crate) fn send(&mut self, command: &str) {
        writeln!(self.stdin, "{command}").expect("the worker runs");
    }

    /// Reads the numbers of the next answer.
    pub(crate) fn receive(&mut self) -> Vec<u64> {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("the worker runs");
        line.split_whitespace().map(|word| word.parse().expect("it answers with numbers")).collect()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns the nanoseconds since 1970 on the wall clock, which all processes of a machine share.
pub(crate) fn wall_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    u64::try_from(since.as_nanos()).expect("it is before 2554")
}

/// Runs a worker: reads commands from stdin, and answers each with a line on stdout.
///
/// The name of the cache is the last argument, because it may contain spaces.
///
/// * `version NUMBER CACHE` reads until the version is `NUMBER`. The answer is the time (`wall_nanos`) at which the
///   first call that returned it began.
/// * `burst KEY CALLERS MS CACHE` calls a function that takes `MS` milliseconds, from `CALLERS` tasks at
///   once. The answer is the number of its loads, and the milliseconds until all tasks have returned.
pub fn work(url: &str) {
    let runtime = Runtime::new().expect("threads can be started");
    let (mut versions, mut bursts) = (None, None);
    for line in std::io::stdin().lines() {
        let line = line.expect("it is text");
        match line.split_once(' ').expect("the line is whole") {
            ("version", rest) => {
                let (wanted, arm) = rest.split_once(' ').expect("a number and a name");
                let wanted = wanted.parse().expect("a number");
                let versions = versions.get_or_insert_with(|| runtime.block_on(Versions::new(url)));
                println!("{}", runtime.block_on(wait_for(wanted, arm, versions)));
            }
            (_, rest) => {
                let words: Vec<_> = rest.splitn(4, ' ').collect();
                let [key, callers, millis, arm] = words.as_slice() else { panic!("{line}") };
                let callers = callers.parse().expect("a number");
                let takes = Duration::from_millis(millis.parse().expect("a number"));
                let bursts = bursts.get_or_insert_with(|| runtime.block_on(Bursts::new(url)));
                let key = key.parse().expect("a number");
                let (loads, millis) = runtime.block_on(bursts.run(arm, key, callers, takes));
                println!("{loads} {millis}");
            }
        }
    }
}

/// Reads until the version is `wanted`. Returns the start of the call that read it.
///
/// Panics after `PATIENCE`, because the notification of a peer may be lost.
async fn wait_for(wanted: u64, arm: &str, versions: &Versions) -> u64 {
    let first = Instant::now();
    loop {
        let began = wall_nanos();
        if versions.read(arm).await == wanted {
            return began;
        }
        assert!(first.elapsed() < PATIENCE, "{arm}: it still serves what was invalidated");
        // The pause leaves a processor to the task that receives the notification.
        thread::sleep(Duration::from_micros(20));
    }
}
