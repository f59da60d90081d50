//! Cost of a hit in Redis: the key is in the shared tier, and not in the memory of this process.

use std::time::Duration;

use crate::{
    options::Options,
    plot::{Bars, Plot},
    race::{Arm, Rounds, race},
    remote::{
        Bare, Cached, Codec, Hitbox, MultiTier, Ours, OursNoStore, Plain, PlainInMoka, Reader, cache,
        connect, items, read_concurrently, runtime_for,
    },
    report::{Group, RatioColumn, Report},
    work::loads,
};
use redis_harness::RedisServer;

pub const GROUP: Group = Group {
    name: "redis_hits",
    long: false,
    crates: &["cached-aside", "redis", "cached", "hitbox-redis", "multi-tier-cache"],
    run,
};

/// Numbers of rows of a small and of a large value.
const ROWS: [u32; 2] = [1, 85];

/// Number of tasks that read at the same time.
const TASKS: u32 = 256;

/// Returns the number of rounds.
///
/// A single caller has many short turns, because it may share its core with the server for a while.
pub(super) fn rounds(options: &Options, tasks: u32) -> usize {
    options.pick(2, if tasks == 1 { 41 } else { 11 })
}

/// Arm with which all others are compared.
const GET: &str = "redis, GET";

fn run(options: &Options) -> Report {
    let redis = RedisServer::start();
    let mut races = Vec::new();
    for rows in ROWS {
        let size = Codec::Json.encode(&items(0, rows)).len();
        let many = options.pick(300, if rows == 1 { 10_000 } else { 2_000 });
        for (tasks, keys) in [(1, options.pick(60, 400)), (TASKS, many)] {
            eprintln!("  {size} bytes, {tasks} at once");
            let what =
                if tasks == 1 { "one caller after the other".to_owned() } else { format!("{tasks} at once") };
            let title = format!("Values of {size} bytes of JSON, {what}");
            races.push((title, measure(options, &redis.url(), rows, tasks, keys)));
        }
    }
    let panels = races.iter().map(|(title, rounds)| Bars::ratios(title, rounds, GET, "µs"));
    let plot = Plot::bars("redis_hits", "Time of a hit in Redis, relative to a bare GET", panels.collect());
    let columns = [
        RatioColumn::new(format!("÷ {GET}"), |_| Some(GET.to_owned())),
        RatioColumn::new("÷ GET and the same decoder", decoder),
    ];
    races.iter().fold(Report::default().plot(plot), |report, (title, rounds)| {
        report.race_with_columns(&format!("{title}: µs per hit"), "µs", rounds, &columns)
    })
}

/// Returns the arm that is only a `GET` and the codec of `arm`.
fn decoder(arm: &str) -> Option<String> {
    let codec = Codec::ALL.into_iter().find(|codec| arm.contains(codec.name()))?;
    Some(with_decoder(codec))
}

fn with_decoder(codec: Codec) -> String {
    format!("{GET} and {}", codec.name())
}

fn measure(options: &Options, url: &str, rows: u32, tasks: u32, keys: u32) -> Rounds {
    let runtime = runtime_for(tasks);
    let mut arms = Vec::new();
    for codec in Codec::ALL {
        let bare = runtime.block_on(async {
            let mut bare = Bare(connect(url).await, codec, rows);
            bare.fill(0..keys).await;
            bare
        });
        if codec == Codec::Json {
            arms.push(arm(GET, bare.clone(), tasks, keys));
        }
        arms.push(arm(with_decoder(codec), Plain(bare.clone()), tasks, keys));
        if codec == Codec::Json {
            arms.push(Arm::new(format!("{GET}, {} and moka", codec.name()), move || {
                // The memory of the process is empty when a turn begins, as in the `cached-aside` arms.
                micros(read_concurrently(&PlainInMoka::new(bare.clone(), 2 * keys), tasks, 0..keys), keys)
            }));
        }
    }
    for codec in Codec::ALL {
        // Another cache fills Redis, as another process would.
        let filler = Ours { cache: cache(&format!("{url}{}", codec as u8), codec.format()), rows };
        read_concurrently(&filler, TASKS, 0..keys);
        runtime.block_on(filler.cache.flush());
        drop(filler);
        let ours = || Ours { cache: cache(&format!("{url}{}", codec as u8), codec.format()), rows };
        arms.push(ours_arm(format!("ours, {}", codec.name()), ours(), Clone::clone, tasks, keys));
        let name = format!("ours, {}, no_store", codec.name());
        arms.push(ours_arm(name, ours(), |ours| OursNoStore(ours.clone()), tasks, keys));
    }
    arms.push(arm("cached, MessagePack", runtime.block_on(Cached::new(url, rows)), tasks, keys));
    arms.push(arm("hitbox, bincode", Hitbox::new(url, rows), tasks, keys));
    arms.push(arm("multi-tier-cache, MessagePack", runtime.block_on(MultiTier::new(url, rows)), tasks, keys));
    race(options, rounds(options, tasks), arms)
}

/// Returns a `cached-aside` arm. L1 is empty when a turn begins.
fn ours_arm<R: Reader>(
    name: String,
    ours: Ours,
    reader: impl Fn(&Ours) -> R + 'static,
    tasks: u32,
    keys: u32,
) -> Arm<'static> {
    Arm::new(name, move || {
        ours.cache.clear_local();
        let before = ours.cache.stats().hits_l2;
        let took = read_concurrently(&reader(&ours), tasks, 0..keys);
        assert_eq!(ours.cache.stats().hits_l2 - before, u64::from(keys), "every call is a hit in Redis");
        micros(took, keys)
    })
}

/// Returns an arm without an in-process tier. Its first turn, which does not count, may fill Redis.
fn arm<R: Reader>(name: impl Into<String>, reader: R, tasks: u32, keys: u32) -> Arm<'static> {
    let mut is_first = true;
    Arm::new(name, move || {
        let before = loads();
        let took = read_concurrently(&reader, tasks, 0..keys);
        assert!(is_first || loads() == before, "every timed call is a hit");
        is_first = false;
        micros(took, keys)
    })
}

fn micros(took: Duration, keys: u32) -> f64 {
    took.as_secs_f64() * 1e6 / f64::from(keys)
}
