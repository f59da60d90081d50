//! Allocations of a hit, and the size of its future.

use std::process::Command;

use crate::{
    child::{program, rows},
    kinds::KINDS,
    options::Options,
    report::{Group, Report},
};

pub const GROUP: Group = Group { name: "allocations", long: false, crates: super::PEERS, run };

fn run(options: &Options) -> Report {
    let counts = rows(Command::new(program("counting")).arg("hits").args(&options.arms));
    let mut names: Vec<&String> = Vec::new();
    for row in &counts {
        if !names.contains(&&row[1]) {
            names.push(&row[1]);
        }
    }
    let titles = || KINDS.iter().map(|kind| kind.title.to_owned());
    let head = ["arm".to_owned()].into_iter().chain(titles()).collect();
    let row = |name: &String| {
        let cells = titles().map(|title| {
            let found = counts.iter().find(|row| row[0] == title && row[1] == *name);
            found.map_or("–", |row| &row[2]).to_owned()
        });
        [name.clone()].into_iter().chain(cells).collect()
    };
    let table: Vec<_> = [head].into_iter().chain(names.into_iter().map(row)).collect();
    let futures = KINDS.each_ref().map(|kind| (kind.title, (kind.futures)()));
    let sizes = |name: &str, index: usize| {
        let cells = futures.iter().map(|(_, sizes)| sizes[index].to_string());
        [name.to_owned()].into_iter().chain(cells).collect::<Vec<_>>()
    };
    let head = ["future".to_owned()].into_iter().chain(titles()).collect();
    Report::default().table("Allocations per hit", &table).table(
        "Bytes that a caller holds while it awaits a call",
        &[head, sizes("ours", 0), sizes("the same function without the attribute", 1)],
    )
}
