//! Hit ratios and times of bounded caches on sequences of requests.

use std::{cell::Cell, time::Instant};

use cached_aside::{Cache, cached};

use crate::{
    options::Options,
    peers::{CachedLru, Foyer, Lfu, MokaLru, MokaTinyLfu, Peer, Quick, S3Fifo, Sieve, Ufo},
    plot::{Lines, Plot, Scale},
    race::{Arm, Rounds, cold_race},
    report::{Group, Report, number, ratio},
    work::{Trace, load, loads},
};

pub const GROUP: Group = Group {
    name: "replay",
    long: false,
    crates: &["cached-aside", "moka", "quick_cache", "foyer", "TinyUFO", "cached"],
    run,
};

/// Capacities, in percent of the different keys of a trace.
const SHARES: [u32; 3] = [1, 5, 20];

#[cached("replay", ttl = "1h", local, cache = cache, skip(cache))]
fn ours(cache: &Cache, key: u64) -> u64 {
    load(key)
}

fn run(options: &Options) -> Report {
    let mut traces = Trace::generated(options.pick(20_000, 200_000));
    for path in &options.traces {
        let trace = Trace::read(path);
        traces.push(trace.unwrap_or_else(|error| panic!("{} cannot be replayed: {error}", path.display())));
    }
    let results: Vec<_> = traces.iter().map(|trace| replay(options, trace)).collect();
    let lines = traces.iter().zip(&results).map(|(trace, cells)| panel(trace, cells));
    let plot = Plot::lines("replay", "Hit ratio by capacity", lines.collect());
    let mut report = Report::default().plot(plot);
    for (trace, cells) in traces.iter().zip(&results) {
        let count = trace.requests.len();
        let title = format!("{}: {count} requests for {} keys; hits in percent", trace.name, trace.footprint);
        report = report
            .table(&title, &ratios(cells))
            .table(&format!("{}: ns per request, and divided by ours", trace.name), &times(cells));
    }
    report
}

/// Result of one trace at one capacity.
struct ReplayResult {
    share: u32,
    capacity: u32,
    /// Hits of each arm, in percent.
    hits: Vec<(String, f64)>,
    rounds: Rounds,
}

struct ReplayArm<'a> {
    name: &'static str,
    /// Hits of the last run, in percent.
    hits: Cell<f64>,
    run_once: Box<dyn Fn() -> Outcome + 'a>,
}

fn replay(options: &Options, trace: &Trace) -> Vec<ReplayResult> {
    let entry = bytes_per_entry(trace);
    let at_share = |share: u32| {
        let capacity = (trace.footprint * share / 100).max(1);
        let ours = ReplayArm {
            name: "ours",
            hits: Cell::default(),
            run_once: Box::new(move || replay_ours(trace, capacity, entry)),
        };
        let mut replay_arms = vec![
            ours,
            replay_arm::<MokaTinyLfu<u64, u64>>(trace, capacity),
            replay_arm::<MokaLru<u64, u64>>(trace, capacity),
            replay_arm::<Quick<u64, u64>>(trace, capacity),
            replay_arm::<Foyer<u64, u64, Lfu>>(trace, capacity),
            replay_arm::<Foyer<u64, u64, S3Fifo>>(trace, capacity),
            replay_arm::<Foyer<u64, u64, Sieve>>(trace, capacity),
            replay_arm::<Ufo<u64, u64>>(trace, capacity),
            replay_arm::<CachedLru>(trace, capacity),
        ];
        replay_arms.retain(|arm| options.wants(arm.name));
        let arms = replay_arms.iter().map(|ReplayArm { name, hits, run_once }| {
            Arm::new(*name, move || {
                let outcome = run_once();
                hits.set(100.0 * outcome.hits as f64 / trace.requests.len() as f64);
                outcome.nanos
            })
        });
        let rounds = cold_race(options, options.pick(1, 3), arms.collect());
        eprintln!("  {} at {share} %", trace.name);
        let hits = replay_arms.iter().map(|ReplayArm { name, hits, .. }| ((*name).to_owned(), hits.get()));
        ReplayResult { share, capacity, hits: hits.collect(), rounds }
    };
    SHARES.map(at_share).into()
}

struct Outcome {
    hits: usize,
    /// Nanoseconds per request.
    nanos: f64,
}

fn replay_arm<P: Peer<u64, u64>>(trace: &Trace, capacity: u32) -> ReplayArm<'_> {
    let run_once = move || {
        let peer = P::single_shard(capacity);
        measure(trace, |key| peer.call(&key))
    };
    ReplayArm { name: P::NAME, hits: Cell::default(), run_once: Box::new(run_once) }
}

fn replay_ours(trace: &Trace, capacity: u32, (bytes, entries): (u64, u64)) -> Outcome {
    let cache = small((u64::from(capacity) * bytes).div_ceil(entries));
    let outcome = measure(trace, |key| ours(&cache, key));
    let (stored, most) = (cache.stats().l1_entries, u64::from(capacity));
    // The capacity is below the number of different keys, so the cache is full at the end. Pending evictions
    // may leave it slightly above its capacity, so 1 % is tolerated.
    assert!(stored * 100 <= most * 101, "{stored} entries, but only {most} are allowed");
    assert!(stored * 100 >= most * 99, "{stored} entries, but {most} are allowed");
    outcome
}

fn measure(trace: &Trace, call: impl Fn(u64) -> u64) -> Outcome {
    let (before, began) = (loads(), Instant::now());
    for &request in &trace.requests {
        let key = u64::from(request);
        assert_eq!(call(key), key, "the value of its key");
    }
    let nanos = began.elapsed().as_nanos() as f64 / trace.requests.len() as f64;
    Outcome { hits: trace.requests.len() - (loads() - before), nanos }
}

fn small(bytes: u64) -> Cache {
    Cache::builder().l1_max_bytes(bytes).build().expect("valid settings")
}

/// Returns a number of bytes, and the number of entries for which `cached-aside` counts them.
///
/// L1 is bounded by bytes. The ratio converts a capacity in entries to one in bytes.
fn bytes_per_entry(trace: &Trace) -> (u64, u64) {
    let cache = small(1 << 40);
    for key in 0..trace.footprint {
        ours(&cache, key.into());
    }
    let stats = cache.stats();
    assert_eq!(stats.l1_entries, u64::from(trace.footprint), "all are kept");
    (stats.l1_bytes, stats.l1_entries)
}

fn head(cells: &[ReplayResult], first: &str) -> Vec<String> {
    let columns = cells.iter().map(|cell| format!("{} % ({})", cell.share, cell.capacity));
    [first.to_owned()].into_iter().chain(columns).collect()
}

fn ratios(cells: &[ReplayResult]) -> Vec<Vec<String>> {
    let names = cells[0].hits.iter().map(|(name, _)| name);
    let rows = names.enumerate().map(|(index, name)| {
        let cells = cells.iter().map(|cell| format!("{:.2}", cell.hits[index].1));
        [name.clone()].into_iter().chain(cells).collect()
    });
    let gap = |cell: &ReplayResult| {
        let ours = cell.hits.iter().find(|(name, _)| name == "ours").map(|(_, hits)| *hits);
        let others = cell.hits.iter().filter(|(name, _)| name != "ours").map(|(_, hits)| *hits);
        ours.map_or("–".to_owned(), |ours| format!("{:+.2}", ours - others.fold(0.0, f64::max)))
    };
    let gaps = ["ours − the best peer".to_owned()].into_iter().chain(cells.iter().map(gap)).collect();
    [head(cells, "arm")].into_iter().chain(rows).chain([gaps]).collect()
}

fn times(cells: &[ReplayResult]) -> Vec<Vec<String>> {
    let row = |name: &String| {
        let cells = cells.iter().map(|cell| {
            let (time, quotient) = (cell.rounds.median(name), cell.rounds.ratio(name, "ours"));
            format!("{} / {}", number(time), ratio(quotient))
        });
        [name.clone()].into_iter().chain(cells).collect()
    };
    [head(cells, "arm")].into_iter().chain(cells[0].rounds.names().iter().map(row)).collect()
}

fn panel(trace: &Trace, cells: &[ReplayResult]) -> Lines {
    let names = cells[0].hits.iter().map(|(name, _)| name).enumerate();
    let curve = |(index, name): (usize, &String)| {
        (name.clone(), cells.iter().map(|cell| cell.hits[index].1).collect())
    };
    Lines {
        title: trace.name.clone(),
        across: "capacity, as a share of the different keys".to_owned(),
        up: "hits, %".to_owned(),
        places: cells.iter().map(|cell| format!("{} %", cell.share)).collect(),
        scale: Scale::Near,
        curves: names.map(curve).collect(),
    }
}
