//! Many callers in several processes ask for one key that nobody has.

use std::{cell::RefCell, time::Instant};

use redis_harness::RedisServer;

use crate::{
    options::Options,
    race::{Arm, quartiles, race},
    remote::Worker,
    report::{Group, Report, number, ratio},
};

pub const GROUP: Group =
    Group { name: "redis_stampede", long: false, crates: &["cached-aside", "redis"], run };

const CALLERS: u32 = 10_000;

/// Milliseconds, so that all callers are there before it is over.
const LOAD: u32 = 200;

fn run(options: &Options) -> Report {
    let redis = RedisServer::start();
    let workers: Vec<_> = (0..4).map(|_| RefCell::new(Worker::start(&redis.url()))).collect();
    let loads = RefCell::new(Vec::<(&str, u64)>::new());
    let (workers, loads) = (&workers, &loads);
    let arm = |name: &'static str, processes: usize| {
        let mut turn = 0;
        Arm::new(name, move || {
            turn += 1;
            let taking_part = &workers[..processes];
            let callers = CALLERS / u32::try_from(processes).expect("a few");
            let began = Instant::now();
            for worker in taking_part {
                worker.borrow_mut().say(&format!("burst {processes}-{turn} {callers} {LOAD}"));
            }
            let answers: Vec<_> = taking_part.iter().map(|worker| worker.borrow_mut().hear()).collect();
            loads.borrow_mut().push((name, answers.iter().map(|answer| answer[0]).sum()));
            began.elapsed().as_secs_f64() * 1e3
        })
    };
    let names = ["1 process", "4 processes"];
    let rounds = race(options, options.pick(2, 15), vec![arm(names[0], 1), arm(names[1], 4)]);
    let row = |name: &String| {
        let of: Vec<_> =
            loads.borrow().iter().filter(|(arm, _)| arm == name).map(|(_, loads)| *loads).collect();
        vec![
            name.clone(),
            format!("{:.0}", quartiles(of.iter().map(|loads| *loads as f64))[1]),
            of.iter().max().copied().unwrap_or_default().to_string(),
            number(rounds.median(name)),
            ratio(rounds.median(name).map(|millis| millis / f64::from(LOAD))),
        ]
    };
    let head = ["", "loads", "most loads", "ms", "÷ the load"].map(str::to_owned);
    let rows: Vec<_> = [head.into()].into_iter().chain(rounds.names().iter().map(row)).collect();
    let title =
        format!("{CALLERS} tasks in all and one cold key, a load of {LOAD} ms: until all have their answer");
    Report::default().table(&title, &rows)
}
