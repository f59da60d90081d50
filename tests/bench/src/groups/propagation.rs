//! Time for which another process serves an invalidated value from its memory.

use std::time::Duration;

use redis_harness::RedisServer;

use crate::{
    options::Options,
    plot::{Lines, Plot, Scale},
    remote::{Versions, Worker, wall_nanos},
    report::{Group, Report},
    work::runtime,
};

pub const GROUP: Group = Group {
    name: "propagation",
    long: false,
    crates: &["cached-aside", "redis", "multi-tier-cache", "cached"],
    run,
};

const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("longest", 1.0)];

/// Times of one cache until the other process serves the new value, in ms.
struct Delays {
    name: &'static str,
    since_call: Vec<f64>,
    since_answer: Vec<f64>,
}

fn run(options: &Options) -> Report {
    let redis = RedisServer::start();
    let (url, runtime) = (redis.url(), runtime());
    let versions = runtime.block_on(Versions::new(&url));
    let mut worker = Worker::start(&url);
    let names = Versions::NAMES.into_iter().filter(|name| options.wants(name));
    let mut delays: Vec<_> =
        names.map(|name| Delays { name, since_call: Vec::new(), since_answer: Vec::new() }).collect();
    for Delays { name, .. } in &delays {
        runtime.block_on(versions.write(name, 0));
        worker.send(&format!("version 0 {name}"));
        worker.receive();
    }
    let rounds = options.pick(20, 2_000);
    for round in 1..=rounds {
        for Delays { name, since_call, since_answer } in &mut delays {
            worker.send(&format!("version {round} {name}"));
            let (called, answered) = runtime.block_on(async {
                // By the end of this pause, the worker repeatedly serves the previous value from its memory.
                tokio::time::sleep(Duration::from_millis(2)).await;
                versions.write(name, round).await;
                let called = wall_nanos();
                versions.invalidate(name).await;
                (called, wall_nanos())
            });
            let seen = worker.receive()[0];
            since_call.push(millis(called, seen));
            since_answer.push(millis(answered, seen));
        }
    }
    for delay in &mut delays {
        delay.since_call.sort_by(f64::total_cmp);
        delay.since_answer.sort_by(f64::total_cmp);
    }
    let curve = |delay: &Delays| {
        let values = QUANTILES.map(|(_, share)| quantile(&delay.since_call, share));
        (delay.name.to_owned(), values.into())
    };
    let lines = Lines {
        title: "Since the call that invalidates it".to_owned(),
        across: format!("of {rounds} invalidations"),
        up: "ms".to_owned(),
        places: QUANTILES.map(|(name, _)| name.to_owned()).into(),
        scale: Scale::Log,
        curves: delays.iter().map(curve).collect(),
    };
    let row = |name: String, times: &[f64]| {
        let cells = QUANTILES.map(|(_, share)| format!("{:.2}", quantile(times, share)));
        [name].into_iter().chain(cells).collect::<Vec<_>>()
    };
    let head = ["ms".to_owned()].into_iter().chain(QUANTILES.map(|(name, _)| name.to_owned())).collect();
    let rows = delays.iter().flat_map(|Delays { name, since_call, since_answer }| {
        [
            row(format!("{name}, since the call"), since_call),
            row(format!("{name}, since it was acknowledged"), since_answer),
        ]
    });
    let rows: Vec<_> = [head].into_iter().chain(rows).collect();
    let title = "Until the other process has stopped serving the old value";
    Report::default()
        .plot(Plot::lines("propagation", title, vec![lines]))
        .table(&format!("{title}, over {rounds} invalidations"), &rows)
}

/// Returns the quantile `share` of sorted times.
fn quantile(times: &[f64], share: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is an index")]
    let index = ((times.len() - 1) as f64 * share).round() as usize;
    times[index]
}

/// Returns the milliseconds from `from` to `to`, or 0 if `to` is earlier.
fn millis(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1e6
}
