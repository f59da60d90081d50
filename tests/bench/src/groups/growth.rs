//! Cost of a hit in a cache of many entries.

use std::time::Instant;

use crate::{
    arms::arms,
    crew::Hits,
    options::Options,
    peers::{CachedLruTtl, Peer},
    plot::{Lines, Plot, Scale},
    race::{Arm, race},
    report::{Group, Report, number, ratio},
    work::{Shuffle, keys_of},
};

pub const GROUP: Group = Group {
    name: "growth",
    long: false,
    crates: &["cached-aside", "cached", "moka", "quick_cache", "foyer", "TinyUFO"],
    run,
};

/// Measured arms. The caches that are missing here are built on one of these.
const ARMS: [&str; 7] = [
    "ours, async",
    "cached, concurrent",
    CachedLruTtl::NAME,
    "moka sync",
    "quick_cache",
    "foyer lfu",
    "tinyufo",
];

/// Number of hits between two readings of the clock.
const STRIDE: usize = 1 << 7;

fn run(options: &Options) -> Report {
    let mut sizes = vec![1_000, 10_000];
    sizes.extend(if options.quick { [].as_slice() } else { &[100_000, 1_000_000] });
    sizes.extend((options.long && !options.quick).then_some(10_000_000));
    let mut turns = Vec::new();
    for &size in &sizes {
        eprintln!("  fills with {size}");
        // The margin prevents evictions from shards that are a little fuller than others.
        let capacity = size + size / 4 + 10_000;
        let keys = keys_of(size);
        // The attribute of `cached` takes its bound as a literal, so `CachedLruTtl` stands in for it.
        let mut hits = arms::<u64, u64>(&keys, capacity, &|name| {
            name != CachedLruTtl::NAME && ARMS.contains(&name) && options.wants(name)
        });
        if options.wants(CachedLruTtl::NAME) {
            let peer = CachedLruTtl::new(capacity);
            hits.push(Hits::new(CachedLruTtl::NAME, &keys, move |key| peer.call(key)));
        }
        turns.extend(hits.into_iter().map(|hits| turn(options, hits, size)));
    }
    let rounds = race(&Options { arms: Vec::new(), ..options.clone() }, options.rounds(), turns);
    let names: Vec<_> = ARMS.iter().filter(|name| options.wants(name)).collect();
    let curve = |name: &&&str| {
        let values = sizes.iter().map(|&size| rounds.median(&at(name, size)).unwrap_or(f64::NAN));
        ((**name).to_string(), values.collect())
    };
    let lines = Lines {
        title: "u64 → u64, all keys alike, one thread".to_owned(),
        across: "entries".to_owned(),
        up: "ns per hit".to_owned(),
        places: sizes.iter().map(|&size| short(size)).collect(),
        scale: Scale::Log,
        curves: names.iter().map(curve).collect(),
    };
    let table = |cell: &dyn Fn(&str, u32) -> String| {
        let head = ["arm".to_owned()].into_iter().chain(sizes.iter().map(|&size| short(size))).collect();
        let row = |name: &&&str| {
            let cells = sizes.iter().map(|&size| cell(name, size));
            [(**name).to_string()].into_iter().chain(cells).collect()
        };
        [head].into_iter().chain(names.iter().map(row)).collect::<Vec<_>>()
    };
    Report::default()
        .plot(Plot::lines("growth", "A hit in a cache of many entries", vec![lines]))
        .table(
            "`u64` → `u64`, all keys alike, one thread; ns per hit, by entries",
            &table(&|name, size| number(rounds.median(&at(name, size)))),
        )
        .table(
            "Divided by the same arm with the fewest entries",
            &table(&|name, size| ratio(rounds.ratio(&at(name, size), &at(name, sizes[0])))),
        )
}

fn turn(options: &Options, hits: Hits, size: u32) -> Arm<'static> {
    let (length, mut shuffle) = ((4 * size as usize).min(1 << 22), Shuffle::new(1));
    let order: Vec<_> = (0..length).map(|_| shuffle.below(size)).collect();
    let (name, turn, mut place) = (at(&hits.name, size), options.turn(), 0);
    Arm::new(name, move || {
        let (began, mut done) = (Instant::now(), 0);
        while began.elapsed() < turn {
            let stride = &order[place..(place + STRIDE).min(length)];
            hits.run(stride);
            done += stride.len();
            place = if place + STRIDE < length { place + STRIDE } else { 0 };
        }
        began.elapsed().as_nanos() as f64 / done as f64
    })
}

fn at(arm: &str, size: u32) -> String {
    format!("{arm} @ {size}")
}

fn short(size: u32) -> String {
    match size {
        1_000_000.. => format!("{} M", size / 1_000_000),
        _ => format!("{} k", size / 1_000),
    }
}
