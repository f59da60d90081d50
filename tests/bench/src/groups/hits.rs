//! Cost of a hit in the in-process tier, by the kinds of keys and values, and by the number of keys.

use std::{collections::HashMap, sync::Arc};

use crate::{
    arms::arms,
    crew::{Hits, measure},
    functions::CAPACITY,
    kinds::KINDS,
    options::Options,
    plot::{Bar, Bars, Plot},
    race::Rounds,
    report::{Group, Report, number, ratio},
    work::{Order, Text, keys_of},
};

pub const GROUP: Group = Group { name: "hits", long: false, crates: super::PEERS, run };

struct Race {
    title: &'static str,
    rounds: Rounds,
}

fn run(options: &Options) -> Report {
    let few = 1_000;
    let many = options.pick(2_000, 100_000);
    let kinds = KINDS.each_ref().map(|kind| {
        run_race(options, kind.title, &(kind.arms)(few, &|name| options.wants(name)), &Order::Uniform.of(few))
    });
    let wants = |name: &str| options.wants(name);
    let small = arms::<Text, Arc<String>>(&keys_of(few), CAPACITY, &wants);
    let large = arms::<Text, Arc<String>>(&keys_of(many), CAPACITY, &wants);
    let numbers = arms::<u64, u64>(&keys_of(many), CAPACITY, &wants);
    let sets = [
        run_race(options, "1 k, uniform", &small, &Order::Uniform.of(few)),
        run_race(options, "1 k, Zipf", &small, &Order::Zipf.of(few)),
        run_race(options, "100 k, uniform", &large, &Order::Uniform.of(many)),
        run_race(options, "100 k, Zipf", &large, &Order::Zipf.of(many)),
        run_race(options, "u64 → u64, 100 k, uniform", &numbers, &Order::Uniform.of(many)),
    ];
    Report::default()
        .plot(Plot::bars("hits", "Time of a hit, relative to the fastest", kinds.iter().map(panel).collect()))
        .table("Kinds of keys and values: 1,000 keys, uniform, one thread; ns per hit", &times(&kinds))
        .table("The same, divided by `ours, async` in each round", &ratios(&kinds))
        .table(
            "Working sets and distributions: `(&str, u32)` → `Arc` unless said, one thread; ns per hit",
            &times(&sets),
        )
        .table("The same, divided by `ours, async` in each round", &ratios(&sets))
        .table("Goals", &goals(&kinds))
}

fn run_race(options: &Options, title: &'static str, arms: &[Hits], order: &[u32]) -> Race {
    eprintln!("  {title}");
    Race { title, rounds: measure(options, arms, &[1], order) }
}

fn names(races: &[Race]) -> Vec<String> {
    races.first().map(|race| race.rounds.names().to_vec()).unwrap_or_default()
}

fn matrix(races: &[Race], cell: impl Fn(&Rounds, &str) -> String) -> Vec<Vec<String>> {
    let head = ["arm"].into_iter().chain(races.iter().map(|race| race.title)).map(str::to_owned).collect();
    let row = |name: String| {
        let cells = races.iter().map(|race| cell(&race.rounds, &name)).collect::<Vec<_>>();
        [name].into_iter().chain(cells).collect()
    };
    [head].into_iter().chain(names(races).into_iter().map(row)).collect()
}

fn times(races: &[Race]) -> Vec<Vec<String>> {
    matrix(races, |rounds, name| number(rounds.median(name)))
}

fn ratios(races: &[Race]) -> Vec<Vec<String>> {
    matrix(races, |rounds, name| ratio(rounds.ratio(name, "ours, async")))
}

fn panel(race: &Race) -> Bars {
    let by_ratio = |reference: &str| {
        let ratio = |name: &String| (race.rounds.ratio(name, reference).unwrap_or(f64::NAN), name.clone());
        let mut all: Vec<_> = race.rounds.names().iter().map(ratio).collect();
        all.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        all
    };
    // The reference is the fastest arm by ratios: relative to it, no other arm is below one.
    let fastest = race.rounds.ranking().first().and_then(|name| by_ratio(name).first().cloned());
    let bar = |(value, name): (f64, String)| {
        let label = format!("{} ({} ns)", ratio(Some(value)), number(race.rounds.median(&name)));
        Bar { name, value, label }
    };
    let bars = fastest.map(|(_, name)| by_ratio(&name).into_iter().map(bar).collect());
    Bars { title: race.title.to_owned(), bars: bars.unwrap_or_default() }
}

fn goals(kinds: &[Race]) -> Vec<Vec<String>> {
    let rounds: HashMap<_, _> = kinds.iter().map(|race| (race.title, &race.rounds)).collect();
    let text = "(&str, u32) → u64";
    let goal = |label: &str, at_most: &str, value: Option<f64>| {
        vec![label.to_owned(), at_most.to_owned(), ratio(value)]
    };
    // `quick_cache` has a number as its key, so this goal divides medians of two different races.
    let bare = rounds["u64 → u64"].median("quick_cache");
    let ours = rounds[text].median("ours, async");
    vec![
        vec![
            "`ours, async`, `(&str, u32)` key, divided by".to_owned(),
            "goal".to_owned(),
            "measured".to_owned(),
        ],
        goal("`cached, concurrent`", "≤ 0.50", rounds[text].ratio("ours, async", "cached, concurrent")),
        goal("`moka future` with a borrowed key", "≤ 0.35", rounds[text].ratio("ours, async", "moka future")),
        goal("`quick_cache` with a `u64` key", "≤ 2.50", ours.zip(bare).map(|(ours, bare)| ours / bare)),
    ]
}
