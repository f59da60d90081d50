//! Cost that a cache adds to a function that takes no time.
//!
//! Each key is new, and evicts another entry. It is requested once, or several times in a row.

mod caches;
mod turns;

use crate::{
    arms::{PARTS, has_bound_and_ttl},
    options::Options,
    race::{Rounds, race},
    report::{Group, Report, number, ratio},
};

use caches::{ARMS, Caches};

pub const GROUP: Group = Group { name: "miss", long: false, crates: super::PEERS, run };

/// Capacity in entries. The attributes of `cached` and `cachelito` take it as a literal.
const CAPACITY: u32 = 10_000;

/// Result of one race.
struct MissRace {
    title: &'static str,
    rounds: Rounds,
    loads_per_key: Vec<(String, f64)>,
}

fn run(options: &Options) -> Report {
    let caches = Caches::new();
    let races = [(1, "once"), (2, "twice"), (10, "ten times")].map(|(times, title)| {
        eprintln!("  each key {title}");
        let rounds = race(options, options.pick(3, 31), caches.arms(options, times));
        let loads = rounds.names().iter().map(|name| (name.clone(), caches.loads_per_key(name)));
        MissRace { title, loads_per_key: loads.collect(), rounds }
    });
    caches.check_entries(options);
    let (once, again) = races.split_at(1);
    let full = format!("full at {CAPACITY} entries");
    [
        (format!("A key that is requested once, {full}"), once),
        (format!("A key that is requested several times in a row, {full}"), again),
    ]
    .into_iter()
    .fold(Report::default(), |report, (title, races)| {
        PARTS.iter().fold(report, |report, (part, end)| {
            report.table(&format!("{title}; {end}"), &table(races, *part))
        })
    })
}

fn table(races: &[MissRace], part: bool) -> Vec<Vec<String>> {
    let is_repeated = races.len() > 1;
    let columns = races.iter().flat_map(|race| {
        let mut columns = vec![
            format!("{}, ns per key", race.title),
            "spread".to_owned(),
            "spread of ÷ moka".to_owned(),
            "÷ moka, get_with".to_owned(),
            "÷ ours".to_owned(),
        ];
        columns.extend(is_repeated.then(|| "loads per key".to_owned()));
        columns
    });
    let row = |name: &String| {
        let cells = races.iter().flat_map(|race| cells(race, name, is_repeated));
        [name.clone()].into_iter().chain(cells).collect()
    };
    let names = races[0].rounds.names().iter().filter(|name| has_bound_and_ttl(name) == part);
    [["arm".to_owned()].into_iter().chain(columns).collect()].into_iter().chain(names.map(row)).collect()
}

fn cells(race: &MissRace, name: &str, is_repeated: bool) -> Vec<String> {
    let percent =
        |share: Option<f64>| share.map_or("–".to_owned(), |share| format!("{:.0} %", 100.0 * share));
    let is_async = ARMS.iter().any(|(arm, is_async)| *arm == name && *is_async);
    let [moka, ours] = match is_async {
        true => ["moka future, get_with", "ours, async"],
        false => ["moka sync, get_with", "ours, sync local"],
    };
    let rounds = &race.rounds;
    let mut cells = vec![
        number(rounds.median(name)),
        percent(rounds.spread(name)),
        percent(rounds.ratio_spread(name, moka)),
        ratio(rounds.ratio(name, moka)),
        ratio(rounds.ratio(name, ours)),
    ];
    if is_repeated {
        let loads = race.loads_per_key.iter().find(|(arm, _)| arm == name).map(|(_, loads)| *loads);
        cells.push(loads.map_or("–".to_owned(), |loads| format!("{loads:.2}")));
    }
    cells
}
