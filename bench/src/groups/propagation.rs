//! How long another process serves from its memory what was invalidated here.

use std::time::Duration;

use cached_aside::Format;
use redis_harness::RedisServer;

use crate::{
    options::Options,
    remote::{Source, Worker, cache, version, wall},
    report::{Group, Report},
    work::runtime,
};

pub const GROUP: Group = Group { name: "propagation", long: false, crates: &["cached-aside", "redis"], run };

fn run(options: &Options) -> Report {
    let redis = RedisServer::start();
    let (url, runtime) = (redis.url(), runtime());
    let (cache, source) = (cache(&url, Format::Json), runtime.block_on(Source::new(&url)));
    let mut worker = Worker::start(&url);
    let (mut since_call, mut since_answer) = (Vec::new(), Vec::new());
    for round in 0..=options.pick(20, 2_000) {
        worker.say(&format!("version {round}"));
        let (called, answered) = runtime.block_on(async {
            // The worker has the value of the round before in its memory by now, and serves it over and over.
            tokio::time::sleep(Duration::from_millis(2)).await;
            source.write(round).await;
            let called = wall();
            version::invalidate(&cache, &source).await.expect("Redis is there");
            (called, wall())
        });
        let seen = worker.hear()[0];
        // The first round is there to fill memory.
        if round > 0 {
            since_call.push(millis(called, seen));
            since_answer.push(millis(answered, seen));
        }
    }
    let row = |name: &str, mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is an index")]
            let place = ((times.len() - 1) as f64 * share).round() as usize;
            format!("{:.2}", times[place])
        };
        vec![name.to_owned(), at(0.5), at(0.9), at(0.99), at(0.999), at(1.0)]
    };
    let rounds = since_call.len();
    let head = ["ms", "p50", "p90", "p99", "p99.9", "longest"].map(str::to_owned);
    let rows = [
        head.into(),
        row("since the call of `invalidate`", since_call),
        row("since it was acknowledged", since_answer),
    ];
    let title =
        format!("Until the other process has stopped to serve the old value, over {rounds} invalidations");
    Report::default().table(&title, &rows)
}

/// None if the later one came before.
fn millis(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1e6
}
