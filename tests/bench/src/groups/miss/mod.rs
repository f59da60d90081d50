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
    let races = [(1, "once"), (2, "twice in a row"), (10, "ten times in a row")].map(|(times, title)| {
        eprintln!("  each key {title}");
        let rounds = race(options, options.pick(3, 31), caches.arms(options, times));
        let loads = rounds.names().iter().map(|name| (name.clone(), caches.loads_per_key(name)));
        MissRace { title, loads_per_key: loads.collect(), rounds }
    });
    caches.check_entries(options);
    races.iter().fold(Report::default(), |report, race| {
        let title = format!("A new key that is requested {}, full at {CAPACITY} entries", race.title);
        PARTS
            .iter()
            .fold(report, |report, (part, end)| report.table(&format!("{title}; {end}"), &table(race, *part)))
    })
}

fn table(race: &MissRace, part: bool) -> Vec<Vec<String>> {
    let head =
        ["arm", "CPU ns per key", "spread", "÷ moka, get_with", "spread of that", "÷ ours", "loads per key"];
    let rounds = &race.rounds;
    let percent =
        |share: Option<f64>| share.map_or("–".to_owned(), |share| format!("{:.0} %", 100.0 * share));
    let row = |name: &String| {
        let is_async = ARMS.iter().any(|(arm, is_async)| arm == name && *is_async);
        let [moka, ours] = match is_async {
            true => ["moka future, get_with", "ours, async"],
            false => ["moka sync, get_with", "ours, sync local"],
        };
        let loads = race.loads_per_key.iter().find(|(arm, _)| arm == name).map(|(_, loads)| *loads);
        vec![
            name.clone(),
            number(rounds.median(name)),
            percent(rounds.spread(name)),
            ratio(rounds.ratio(name, moka)),
            percent(rounds.ratio_spread(name, moka)),
            ratio(rounds.ratio(name, ours)),
            ratio(loads),
        ]
    };
    let names = rounds.names().iter().filter(|name| has_bound_and_ttl(name) == part);
    [head.map(str::to_owned).to_vec()].into_iter().chain(names.map(row)).collect()
}
