//! Memory of a full cache. Each cache is measured in a process of its own.

use std::process::Command;

use crate::{
    child::{program, rows},
    large::ARMS,
    options::Options,
    plot::{Bar, Bars, Plot},
    report::{Group, Report, number, ratio},
};

pub const GROUP: Group = Group { name: "memory", long: false, crates: super::PEERS, run };

fn run(options: &Options) -> Report {
    let entries = options.pick(20_000, 1_000_000);
    let wanted = ARMS.iter().filter(|(name, _)| options.wants(name));
    let found = wanted.map(|(name, _)| {
        let rows = rows(Command::new(program("counting")).args(["memory", name, &entries.to_string()]));
        let bytes = |column: usize| {
            let cell = rows.first().and_then(|row| row.get(column)).and_then(|cell| cell.parse::<f64>().ok());
            cell.expect("the program prints two numbers") / f64::from(entries)
        };
        (*name, bytes(0), bytes(1))
    });
    let found: Vec<_> = found.collect();
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
}
