//! Stampede over several processes: many callers request one key that is in no tier.

use std::{
    cell::{Cell, RefCell},
    time::Instant,
};

use redis_harness::RedisServer;

use crate::{
    options::Options,
    plot::{Bar, Bars, Plot},
    race::{Arm, Rounds, quartiles, race},
    remote::{Bursts, Worker},
    report::{Group, Report, number, ratio},
};

pub const GROUP: Group = Group {
    name: "redis_stampede",
    long: false,
    crates: &["cached-aside", "redis", "hitbox-redis", "multi-tier-cache", "cached"],
    run,
};

const CALLERS: u32 = 10_000;

/// Duration of the load in milliseconds, so long that all callers arrive before it ends.
const LOAD: u32 = 200;

const PROCESSES: [usize; 2] = [1, 4];

/// Loads of each turn, with the name of the arm.
type Loads = Vec<(String, u64)>;

fn run(options: &Options) -> Report {
    let redis = RedisServer::start();
    let workers: Vec<_> = (0..4).map(|_| RefCell::new(Worker::start(&redis.url()))).collect();
    let (counts, key) = (RefCell::new(Loads::new()), Cell::new(0_u64));
    let (workers, counts, key) = (&workers, &counts, &key);
    let arm = |cache: &'static str, processes: usize| {
        let name = arm_name(cache, processes);
        Arm::new(name.clone(), move || {
            key.set(key.get() + 1);
            let (participants, key) = (&workers[..processes], key.get());
            let callers = CALLERS / u32::try_from(processes).expect("a few");
            let began = Instant::now();
            for worker in participants {
                worker.borrow_mut().send(&format!("burst {key} {callers} {LOAD} {cache}"));
            }
            let answers: Vec<_> = participants.iter().map(|worker| worker.borrow_mut().receive()).collect();
            let millis = began.elapsed().as_secs_f64() * 1e3;
            counts.borrow_mut().push((name.clone(), answers.iter().map(|answer| answer[0]).sum()));
            millis
        })
    };
    let arms = PROCESSES.iter().flat_map(|&processes| Bursts::NAMES.map(|cache| arm(cache, processes)));
    let rounds = race(options, options.pick(2, 11), arms.collect());
    let counts = counts.take();
    Report::default()
        .plot(Plot::bars("redis_stampede", &title(), vec![load_bars(&rounds, &counts), time_bars(&rounds)]))
        .table(&format!("{}: until all have their answer", title()), &rows(&rounds, &counts))
}

fn title() -> String {
    format!("{CALLERS} tasks in all and one cold key, a load of {LOAD} ms")
}

fn arm_name(cache: &str, processes: usize) -> String {
    let plural = if processes == 1 { "" } else { "es" };
    format!("{cache}, {processes} process{plural}")
}

fn load_bars(rounds: &Rounds, counts: &Loads) -> Bars {
    let bar = |name: &String| {
        let [median, _] = loads_of(counts, name);
        Bar { name: name.clone(), value: median, label: format!("{median:.0}") }
    };
    Bars { title: "Loads".to_owned(), bars: rounds.names().iter().map(bar).collect() }
}

fn time_bars(rounds: &Rounds) -> Bars {
    let bar = |name: &String| {
        let millis = rounds.median(name);
        Bar { name: name.clone(), value: millis.unwrap_or(f64::NAN), label: format!("{} ms", number(millis)) }
    };
    Bars { title: "Until all have their answer".to_owned(), bars: rounds.names().iter().map(bar).collect() }
}

fn rows(rounds: &Rounds, counts: &Loads) -> Vec<Vec<String>> {
    let row = |name: &String| {
        let [median, most] = loads_of(counts, name);
        vec![
            name.clone(),
            format!("{median:.0}"),
            format!("{most:.0}"),
            number(rounds.median(name)),
            ratio(rounds.median(name).map(|millis| millis / f64::from(LOAD))),
        ]
    };
    let head = ["arm", "loads", "most loads", "ms", "÷ the load"].map(str::to_owned);
    [head.into()].into_iter().chain(rounds.names().iter().map(row)).collect()
}

/// Returns the median and the maximum of an arm's loads, over all rounds.
fn loads_of(counts: &Loads, name: &str) -> [f64; 2] {
    let loads: Vec<_> =
        counts.iter().filter(|(arm, _)| arm == name).map(|(_, loads)| *loads as f64).collect();
    [quartiles(loads.iter().copied())[1], loads.iter().copied().fold(f64::NAN, f64::max)]
}
