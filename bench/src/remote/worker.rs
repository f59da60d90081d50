//! Processes that share one Redis.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use cached_aside::{Cache, Format, cached};
use redis::{AsyncCommands, aio::MultiplexedConnection};
use tokio::{runtime::Runtime, task::JoinSet, time::sleep};

use super::{cache, connect};
use crate::child::program;

/// What the values are read from.
#[derive(Clone)]
pub(crate) struct Source(MultiplexedConnection);

impl Source {
    pub(crate) async fn new(url: &str) -> Self {
        Self(connect(url).await)
    }

    pub(crate) async fn write(&self, number: u64) {
        let _: () = self.0.clone().set("source", number).await.expect("Redis is there");
    }
}

#[cached("version", ttl = "1h", cache = cache, skip(cache, source))]
pub(crate) async fn version(cache: &Cache, source: &Source) -> u64 {
    source.0.clone().get("source").await.expect("Redis is there")
}

#[cached("slow:{key}", ttl = "1h", cache = cache, skip(cache, takes))]
async fn slow(cache: &Cache, key: &str, takes: Duration) -> usize {
    sleep(takes).await;
    key.len()
}

/// A process.
pub(crate) struct Worker {
    process: Child,
    words: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    /// One that is ready.
    pub(crate) fn start(url: &str) -> Self {
        let mut command = Command::new(program("redis_worker"));
        let started = command.arg(url).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process = started.expect("the worker can be started");
        let words = process.stdin.take().expect("it is piped");
        let answers = BufReader::new(process.stdout.take().expect("it is piped"));
        Self { process, words, answers }
    }

    pub(crate) fn say(&mut self, words: &str) {
        writeln!(self.words, "{words}").expect("the worker runs");
    }

    /// The numbers that it answers with.
    pub(crate) fn hear(&mut self) -> Vec<u64> {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the worker runs");
        line.split_whitespace().map(|word| word.parse().expect("it answers with numbers")).collect()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Nanoseconds on the clock that all processes of a machine share.
pub(crate) fn wall() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    u64::try_from(since.as_nanos()).expect("it is before 2554")
}

/// What a worker does on stdin's word.
///
/// | line in | line out |
/// |---|---|
/// | `version NUMBER` | asks for the version until it is this one; then when it began the first call that returned it |
/// | `burst KEY CALLERS MS` | calls from so many tasks a function that takes so long; then its loads, and the ms of them all |
pub fn work(url: &str) {
    let runtime = Runtime::new().expect("threads can be started");
    let cache = cache(url, Format::Json);
    let source = runtime.block_on(Source::new(url));
    for line in std::io::stdin().lines() {
        let line = line.expect("it is text");
        let mut words = line.split(' ');
        let mut word = || words.next().expect("the line is whole");
        match word() {
            "version" => {
                let wanted: u64 = word().parse().expect("a number");
                println!("{}", runtime.block_on(wait_for(wanted, &cache, &source)));
            }
            _ => {
                let (key, callers, takes) = (word().to_owned(), word(), word());
                let callers: u32 = callers.parse().expect("a number");
                let takes = Duration::from_millis(takes.parse().expect("a number"));
                let (loads, millis) = runtime.block_on(burst(&cache, &key, callers, takes));
                println!("{loads} {millis}");
            }
        }
    }
}

async fn wait_for(wanted: u64, cache: &Cache, source: &Source) -> u64 {
    loop {
        let began = wall();
        if version(cache, source).await == wanted {
            return began;
        }
        // So that who must hear of the change has a processor.
        thread::sleep(Duration::from_micros(20));
    }
}

async fn burst(cache: &Cache, key: &str, callers: u32, takes: Duration) -> (u64, u128) {
    let before = cache.stats().loads;
    let began = Instant::now();
    let mut calls = JoinSet::new();
    for _ in 0..callers {
        let (cache, key) = (cache.clone(), key.to_owned());
        calls.spawn(async move { slow(&cache, &key, takes).await });
    }
    assert!(calls.join_all().await.iter().all(|len| *len == key.len()));
    (cache.stats().loads - before, began.elapsed().as_millis())
}
