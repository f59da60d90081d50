//! Instructions per hit. The counts are reproducible even on a busy machine.

use std::{
    fs,
    process::{Command, Stdio},
};

use crate::{
    child::program,
    kinds::KINDS,
    options::Options,
    report::{Group, Report, ratio},
};

pub const GROUP: Group = Group { name: "instructions", long: false, crates: super::PEERS, run };

const ARMS: [&str; 9] = [
    "ours, async",
    "ours, sync local",
    "cached, concurrent",
    "cached, concurrent, bounded, ttl",
    "moka future",
    "moka sync",
    "quick_cache",
    "foyer lfu",
    "foyer s3fifo",
];

const HITS: [u32; 2] = [2_000, 22_000];

fn run(options: &Options) -> Report {
    if !Command::new("valgrind")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
    {
        return Report::default().text("Not measured: `valgrind` is not installed.");
    }
    let kinds = &KINDS[..options.pick(1, 3)];
    let head = ["arm".to_owned()]
        .into_iter()
        .chain(kinds.iter().flat_map(|kind| [kind.title.to_owned(), "÷ ours".to_owned()]));
    let per_hit = |kind: &str, arm: &str| {
        let [few, many] = HITS.map(|hits| instructions(kind, arm, hits));
        (many.saturating_sub(few)) as f64 / f64::from(HITS[1] - HITS[0])
    };
    let ours: Vec<_> = kinds.iter().map(|kind| per_hit(kind.title, ARMS[0])).collect();
    let row = |name: &&str| {
        let cells = kinds.iter().zip(&ours).flat_map(|(kind, &ours)| {
            let count = if *name == ARMS[0] { ours } else { per_hit(kind.title, name) };
            [format!("{count:.0}"), ratio(Some(count / ours))]
        });
        [(*name).to_owned()].into_iter().chain(cells).collect()
    };
    let rows = ARMS.iter().filter(|name| options.wants(name)).map(row);
    let table: Vec<_> = [head.collect()].into_iter().chain(rows).collect();
    Report::default().table("Instructions per hit, counted by callgrind", &table)
}

/// Returns the instructions counted in one process that makes `hits` hits.
fn instructions(kind: &str, arm: &str, hits: u32) -> u64 {
    let file = std::env::temp_dir().join(format!("callgrind.{}.out", std::process::id()));
    let output = Command::new("valgrind")
        // Only the lookups are counted: not the filling, and no other thread.
        .args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*Hits*run*"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(program("hits_instructions"))
        .args([kind, arm, &hits.to_string()])
        .output()
        .expect("valgrind can be started");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    let counted = fs::read_to_string(&file).expect("callgrind writes what it counted");
    let _ = fs::remove_file(&file);
    let total =
        counted.lines().find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")));
    total.and_then(|total| total.trim().parse().ok()).expect("callgrind writes its total")
}
