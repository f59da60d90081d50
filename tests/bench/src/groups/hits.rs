//! Cost of a hit in the in-process tier, by the kinds of keys and values, and by the number of keys.

use std::{collections::HashMap, sync::Arc};

use crate::{
    arms::{PARTS, arms, has_bound_and_ttl},
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
    let report = Report::default()
        .plot(Plot::bars("hits", "Time of a hit, relative to the fastest", kinds.iter().map(panel).collect()))
        .table("Goals", &goals(&kinds, &sets));
    let report = tables(report, "Kinds of keys and values: 1,000 keys, uniform, one thread", &kinds);
    tables(report, "Working sets and distributions: `(&str, u32)` → `Arc` unless said, one thread", &sets)
}

/// Adds the tables of the races: first the arms that have a bound and a ttl, then the others.
fn tables(report: Report, title: &str, races: &[Race]) -> Report {
    PARTS.iter().fold(report, |report, (part, end)| {
        let [times, ratios] = [times(races, *part), ratios(races, *part)];
        report
            .table(&format!("{title}; {end}; ns per hit"), &times)
            .table("The same, divided by `ours, async` in each round", &ratios)
    })
}

fn run_race(options: &Options, title: &'static str, arms: &[Hits], order: &[u32]) -> Race {
    eprintln!("  {title}");
    Race { title, rounds: measure(options, arms, &[1], order) }
}

fn names(races: &[Race]) -> Vec<String> {
    races.first().map(|race| race.rounds.names().to_vec()).unwrap_or_default()
}

fn matrix(races: &[Race], part: bool, cell: impl Fn(&Rounds, &str) -> String) -> Vec<Vec<String>> {
    let head = ["arm"].into_iter().chain(races.iter().map(|race| race.title)).map(str::to_owned).collect();
    let row = |name: String| {
        let cells = races.iter().map(|race| cell(&race.rounds, &name)).collect::<Vec<_>>();
        [name].into_iter().chain(cells).collect()
    };
    let names = names(races).into_iter().filter(|name| has_bound_and_ttl(name) == part);
    [head].into_iter().chain(names.map(row)).collect()
}

fn times(races: &[Race], part: bool) -> Vec<Vec<String>> {
    matrix(races, part, |rounds, name| number(rounds.median(name)))
}

fn ratios(races: &[Race], part: bool) -> Vec<Vec<String>> {
    matrix(races, part, |rounds, name| ratio(rounds.ratio(name, "ours, async")))
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

/// Returns the table of goals. All of them compare with peers that have a bound and a ttl.
fn goals(kinds: &[Race], sets: &[Race]) -> Vec<Vec<String>> {
    let rounds: HashMap<_, _> = kinds.iter().chain(sets).map(|race| (race.title, &race.rounds)).collect();
    let goal = |race: &str, label: &str, at_most: &str, value: Option<f64>| {
        vec![race.to_owned(), label.to_owned(), at_most.to_owned(), ratio(value)]
    };
    let text = "(&str, u32) → u64";
    let against = |peer: &str, at_most: &str| {
        goal(text, &format!("`{peer}`"), at_most, rounds[text].ratio("ours, async", peer))
    };
    let best = |title: &str, race: &str| {
        let ratios =
            rounds[race].names().iter().filter(|name| has_bound_and_ttl(name) && !name.starts_with("ours"));
        let ratios = ratios.filter_map(|name| Some((rounds[race].ratio("ours, async", name)?, name)));
        let best = ratios.max_by(|(one, _), (other, _)| one.total_cmp(other));
        let label = best.map_or("–".to_owned(), |(_, name)| format!("the best peer, `{name}`"));
        goal(title, &label, "≤ 0.90", best.map(|(ratio, _)| ratio))
    };
    vec![
        ["race", "`ours, async`, divided by", "goal", "measured"].map(str::to_owned).to_vec(),
        against("cached, concurrent, bounded, ttl", "≤ 0.50"),
        against("moka future", "≤ 0.35"),
        best("(&str, u32) → Arc, 100 k keys, uniform", "100 k, uniform"),
        best("u64 → u64, 100 k keys, uniform", "u64 → u64, 100 k, uniform"),
    ]
}
