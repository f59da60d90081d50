//! Memory of a full cache. Each cache is measured in a process of its own.

use std::process::Command;

use redis_harness::RedisServer;

use crate::{
    child::{program, rows},
    large::ARMS,
    options::Options,
    plot::{Bar, Bars, Plot},
    regions::BOUNDED,
    report::{Group, Report, number, ratio},
};

pub const GROUP: Group = Group { name: "memory", long: false, crates: super::PEERS, run };

/// Name of the arm that has a server behind it.
const SHARED: &str = "ours, async, with Redis";

fn run(options: &Options) -> Report {
    let entries = options.pick(20_000, 1_000_000);
    let ours = |(name, _): &&(&str, _)| name.starts_with("ours");
    let names = ARMS.iter().take_while(ours).map(|(name, _)| *name);
    let names = names.chain([SHARED]).chain(ARMS.iter().skip_while(ours).map(|(name, _)| *name));
    let found: Vec<_> =
        names.filter(|name| options.wants(name)).map(|name| measured(name, entries)).collect();
    let ours = found.iter().find(|(name, ..)| *name == "ours, async").map(|(_, heap, _)| *heap);
    let head = ["arm", "heap, bytes", "resident, bytes", "heap ÷ ours"].map(str::to_owned).to_vec();
    let row = |(name, heap, resident): &(&str, f64, f64)| {
        vec![
            (*name).to_owned(),
            number(Some(*heap)),
            number(Some(*resident)),
            ratio(ours.map(|ours| heap / ours)),
        ]
    };
    let table: Vec<_> = [head].into_iter().chain(found.iter().map(row)).collect();
    let mut sorted = found.clone();
    sorted.sort_by(|(_, one, _), (_, other, _)| one.total_cmp(other));
    let bar = |(name, heap, _): (&str, f64, f64)| Bar {
        name: name.to_owned(),
        value: heap,
        label: format!("{} bytes", number(Some(heap))),
    };
    let bars = Bars {
        title: format!("u64 → u64, {entries} entries"),
        bars: sorted.into_iter().map(bar).collect(),
    };
    Report::default()
        .plot(Plot::bars("memory", "Heap per entry", vec![bars]))
        .table(&format!("Per entry, `u64` → `u64`, {entries} entries"), &table)
        .table(
            &format!("Ours, bounded, and full at {entries} entries: heap per entry, bytes"),
            &full(options, entries),
        )
}

/// Returns the name of an arm, and the bytes of an entry: on the heap, and resident.
fn measured(name: &'static str, entries: u32) -> (&'static str, f64, f64) {
    let rows = if name == SHARED {
        // By default, the server forgets which process has read a key when these are more than a million.
        let redis = RedisServer::start_with(&["--tracking-table-max-keys", "0"]);
        rows(Command::new(program("shared_memory")).args([&redis.url(), &entries.to_string()]))
    } else {
        rows(Command::new(program("counting")).args(["memory", name, &entries.to_string()]))
    };
    let [heap, resident] = [0, 1].map(|column| cell(&rows, 0, column) / f64::from(entries));
    (name, heap, resident)
}

/// Returns the table of entries in a full cache.
fn full(options: &Options, entries: u32) -> Vec<Vec<String>> {
    let head = ["arm", "each requested once", "each requested again", "again ÷ once"].map(str::to_owned);
    let row = |(name, _): &(&str, _)| {
        let rows = rows(Command::new(program("counting")).args(["full", name, &entries.to_string()]));
        let [once, again] = [0, 1].map(|row| cell(&rows, row, 0) / cell(&rows, row, 1));
        vec![(*name).to_owned(), number(Some(once)), number(Some(again)), ratio(Some(again / once))]
    };
    let rows = BOUNDED.iter().filter(|(name, _)| options.wants(name)).map(row);
    [head.to_vec()].into_iter().chain(rows).collect()
}

/// Returns one number that the program has printed.
fn cell(rows: &[Vec<String>], row: usize, column: usize) -> f64 {
    let cell = rows.get(row).and_then(|row| row.get(column)).and_then(|cell| cell.parse().ok());
    cell.expect("the program prints numbers")
}
