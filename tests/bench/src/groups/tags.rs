//! Cost of the invalidation of a tag, by the number of entries that have it. Needs `redis-server`.

use std::time::{Duration, Instant};

use redis_harness::RedisServer;

use crate::{
    options::Options,
    plot::{Lines, Plot, Scale},
    race::{Arm, Rounds, race},
    remote::{OurTags, Patterns, SetOfKeys, Tagged, runtime_for},
    report::{Group, RatioColumn, Report},
};

pub const GROUP: Group =
    Group { name: "tags", long: false, crates: &["cached-aside", "redis", "multi-tier-cache"], run };

const SIZES: [u32; 3] = [10, 1_000, 100_000];

const OURS: &str = "ours";
const BY_HAND: &str = "redis, a set of keys";
const PATTERN: &str = "multi-tier-cache, pattern";

fn run(options: &Options) -> Report {
    let redis = RedisServer::start();
    let sizes = if options.quick { &SIZES[..2] } else { &SIZES };
    // Each arm has a database of its own, because a pattern is searched among all keys of a database.
    let url = |database: u8| format!("{}{database}", redis.url());
    let ours = runtime_for(1).block_on(async { OurTags::new(&url(0)) });
    let by_hand = runtime_for(1).block_on(SetOfKeys::new(&url(1)));
    let patterns = runtime_for(1).block_on(Patterns::new(&url(2)));
    let mut arms = Vec::new();
    for &size in sizes {
        arms.push(arm(OURS, &ours, size));
        arms.push(arm(BY_HAND, &by_hand, size));
        arms.push(arm(PATTERN, &patterns, size));
    }
    let rounds = race(options, options.pick(2, 7), arms);
    let fewest = |name: &str| Some(at(name.rsplit_once(", ")?.0, SIZES[0]));
    let ours = |name: &str| {
        let size = sizes.iter().find(|&&size| name.ends_with(&at("", size)))?;
        Some(at(OURS, *size))
    };
    let columns = [
        RatioColumn::new(format!("÷ {} entries", SIZES[0]), fewest),
        RatioColumn::new("÷ ours with as many entries", ours),
    ];
    Report::default()
        .plot(Plot::lines("tags", "To invalidate a group", vec![lines(&rounds, sizes)]))
        .race_with_columns("Invalidate a group, by the entries in it", "µs", &rounds, &columns)
}

fn at(arm: &str, size: u32) -> String {
    format!("{arm}, {size} entries")
}

fn lines(rounds: &Rounds, sizes: &[u32]) -> Lines {
    let curve = |name: &str| {
        let values = sizes.iter().map(|&size| rounds.median(&at(name, size)).unwrap_or(f64::NAN));
        (name.to_owned(), values.collect())
    };
    Lines {
        title: "By the entries in it".to_owned(),
        across: "entries".to_owned(),
        up: "µs".to_owned(),
        places: sizes.iter().map(u32::to_string).collect(),
        scale: Scale::Log,
        curves: [OURS, BY_HAND, PATTERN].map(curve).into(),
    }
}

/// Returns an arm that fills and invalidates a group.
///
/// It repeats that several times per turn if the group is small.
fn arm<T: Tagged>(name: &str, tagged: &T, size: u32) -> Arm<'static> {
    let (tagged, times) = (tagged.clone(), (2_000 / size).clamp(1, 20));
    Arm::new(at(name, size), move || {
        let tagged = tagged.clone();
        let turn = runtime_for(1).spawn(async move {
            let mut took = Duration::ZERO;
            for _ in 0..times {
                tagged.fill(size).await;
                // The first command after the fill is slow, whichever it is. An empty group absorbs that.
                tagged.invalidate(0).await;
                let began = Instant::now();
                tagged.invalidate(size).await;
                took += began.elapsed();
                tagged.check_gone(size).await;
            }
            took.as_secs_f64() * 1e6 / f64::from(times)
        });
        runtime_for(1).block_on(turn).expect("it does not panic")
    })
}
