//! How deep a function can call itself through a cache.

use std::{
    io::Read,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    child::program,
    options::Options,
    recursion::{ARMS, Recursion},
    report::{Group, Report},
};

pub const GROUP: Group = Group { name: "recursion", long: false, crates: super::PEERS, run };

/// Default stack of a thread, for the standard library and for Tokio.
const STACK: u64 = 2 << 20;

/// Number of levels at which the search ends.
const MOST: u64 = 10_000;

/// Number of levels with which the bytes of stack are measured.
const FEW: u64 = 40;

/// Time limit of a process. An arm whose levels wait for each other never ends.
const PATIENCE: Duration = Duration::from_secs(20);

fn run(options: &Options) -> Report {
    let head = ["arm", "bytes of stack per level", "deepest level on 2 MiB"].map(str::to_owned);
    let arms = ARMS.iter().filter(|(name, _)| options.wants(name));
    let most = options.pick(100, MOST);
    let row = |(name, recursion): &(&str, Recursion)| {
        let (bytes, deepest) = (bytes_per_level(name, FEW), deepest(name, most));
        eprintln!("  {name}: {deepest:?}");
        // Levels in tasks of their own do not add up on a stack, so their addresses mean nothing.
        let is_bounded = deepest.is_some_and(|deepest| deepest < most);
        let has_one_stack = is_bounded || matches!(recursion, Recursion::Sync(_));
        vec![
            (*name).to_owned(),
            bytes.filter(|_| has_one_stack).map_or("–".to_owned(), |bytes| bytes.to_string()),
            match deepest {
                Some(deepest) if is_bounded => deepest.to_string(),
                Some(deepest) => format!("≥ {deepest}"),
                None => "–".to_owned(),
            },
        ]
    };
    let rows: Vec<_> = [head.to_vec()].into_iter().chain(arms.map(row)).collect();
    Report::default().table("A function that calls itself; each level is a miss", &rows)
}

/// Returns the deepest level that works, within 1 %; `None` if not even a few levels work.
fn deepest(arm: &str, most: u64) -> Option<u64> {
    bytes_per_level(arm, FEW)?;
    let (mut works, mut fails) = (FEW, most + 1);
    while fails - works > works / 100 + 1 {
        // A guess at the square of the levels that work finds the magnitude first.
        let guess = (works * 4).min(works.midpoint(fails)).max(works + 1);
        match bytes_per_level(arm, guess) {
            Some(_) => works = guess,
            None => fails = guess,
        }
        if works >= most {
            break;
        }
    }
    Some(if fails > most { most } else { works })
}

/// Returns the bytes of stack per level, as a process with that many levels prints them.
///
/// The result is `None` if the stack of the process overflows, or if the process does not end.
fn bytes_per_level(arm: &str, levels: u64) -> Option<u64> {
    let mut command = Command::new(program("recursion"));
    command.args([arm, &levels.to_string(), &STACK.to_string()]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.expect("the program can be started");
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("it is our process") {
            break status;
        }
        if began.elapsed() > PATIENCE {
            let _ = child.kill();
            break child.wait().expect("it is our process");
        }
        thread::sleep(Duration::from_millis(2));
    };
    let mut text = String::new();
    child.stdout.take().expect("it is piped").read_to_string(&mut text).expect("it prints text");
    status.success().then(|| text.trim().parse().expect("it prints a number"))
}
