//! Hits by several threads at once, on the same keys.

use std::sync::Arc;

use crate::{
    arms::{PARTS, arms, has_bound_and_ttl},
    crew::{arm_name, measure},
    functions::{CAPACITY, Functions},
    options::Options,
    plot::{Lines, Plot, Scale},
    race::Rounds,
    report::{Group, Report, number, ratio},
    work::{Order, Text, keys_of},
};

pub const GROUP: Group = Group { name: "threads", long: false, crates: super::PEERS, run };

const THREADS: [usize; 4] = [1, 2, 4, 8];

fn run(options: &Options) -> Report {
    let many = options.pick(2_000, 100_000);
    let races = [
        ThreadRace::new::<u64>(options, "(&str, u32) → u64, 1,000 keys, uniform", 1_000, Order::Uniform),
        // Each hit changes the count of an `Arc` that the threads share, a cost independent of the cache.
        ThreadRace::new::<Arc<String>>(options, "(&str, u32) → Arc, 1,000 keys, Zipf", 1_000, Order::Zipf),
        ThreadRace::new::<Arc<String>>(
            options,
            "(&str, u32) → Arc, 100,000 keys, uniform",
            many,
            Order::Uniform,
        ),
    ];
    let goal = [
        ["`ours, async`, `(&str, u32)` → `u64`, two threads to one", "goal", "measured"]
            .map(str::to_owned)
            .into(),
        vec![
            "hits of both together".to_owned(),
            "≥ 1.80".to_owned(),
            ratio(races[0].speedup("ours, async", 2)),
        ],
    ];
    let plot = Plot::lines(
        "threads",
        "Hits by several threads",
        races.iter().flat_map(ThreadRace::panels).collect(),
    );
    let report = races.iter().fold(Report::default().plot(plot), |report, race| race.tables(report));
    report.table("Goal", &goal)
}

/// Results of all arms with each number of threads.
struct ThreadRace {
    title: &'static str,
    names: Vec<String>,
    rounds: Rounds,
}

impl ThreadRace {
    fn new<V: Functions<Text>>(options: &Options, title: &'static str, keys: u32, order: Order) -> Self {
        eprintln!("  {title}");
        let arms = arms::<Text, V>(&keys_of(keys), CAPACITY, &|name| options.wants(name));
        let names = arms.iter().map(|arm| arm.name.clone()).collect();
        Self { title, names, rounds: measure(options, &arms, &THREADS, &order.of(keys)) }
    }

    /// Returns the hits of `count` threads together, as a multiple of the hits of one thread.
    fn speedup(&self, name: &str, count: usize) -> Option<f64> {
        let slower = self.rounds.ratio(&arm_name(name, count), &arm_name(name, 1));
        slower.map(|slower| count as f64 / slower)
    }

    fn panels(&self) -> [Lines; 2] {
        let panel = |up: &str, scale, value: &dyn Fn(&str, usize) -> f64| Lines {
            title: self.title.to_owned(),
            across: "threads".to_owned(),
            up: up.to_owned(),
            places: THREADS.map(|count| count.to_string()).into(),
            scale,
            curves: self
                .names
                .iter()
                .map(|name| (name.clone(), THREADS.map(|count| value(name, count)).into()))
                .collect(),
        };
        [
            panel("million hits per second, all threads together", Scale::Log, &|name, count| {
                throughput(&self.rounds, name, count)
            }),
            panel("times the hits of one thread", Scale::Whole, &|name, count| {
                self.speedup(name, count).unwrap_or(f64::NAN)
            }),
        ]
    }

    fn tables(&self, report: Report) -> Report {
        let Self { title, names, rounds } = self;
        PARTS.iter().fold(report, |report, (part, end)| {
            let names: Vec<_> = names.iter().filter(|name| has_bound_and_ttl(name) == *part).collect();
            report
                .table(
                    &format!("{title}; {end}; ns per hit as a thread sees it"),
                    &table(&names, |name, count| number(rounds.median(&arm_name(name, count)))),
                )
                .table(
                    "Hits of all threads together, times those of one thread, in each round",
                    &table(&names, |name, count| ratio(self.speedup(name, count))),
                )
                .table(
                    "Time divided by that of `ours, async` with as many threads",
                    &table(&names, |name, count| {
                        ratio(rounds.ratio(&arm_name(name, count), &arm_name("ours, async", count)))
                    }),
                )
        })
    }
}

fn throughput(rounds: &Rounds, name: &str, threads: usize) -> f64 {
    rounds.median(&arm_name(name, threads)).map_or(f64::NAN, |nanos| 1e3 * threads as f64 / nanos)
}

fn table(names: &[&String], cell: impl Fn(&str, usize) -> String) -> Vec<Vec<String>> {
    let head =
        THREADS.map(|count| if count == 1 { "1 thread".to_owned() } else { format!("{count} threads") });
    let row = |name: &&String| {
        [(*name).clone()].into_iter().chain(THREADS.map(|count| cell(name, count))).collect()
    };
    [["arm".to_owned()].into_iter().chain(head).collect()].into_iter().chain(names.iter().map(row)).collect()
}
