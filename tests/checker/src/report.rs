//! The report of a run.

use std::{collections::BTreeMap, fs, process::ExitCode};

use crate::{
    check::{Findings, Outages, Promise, Violation},
    clock::ms,
    history::{Ack, Answer, Event, EventKind, FOREIGN, History, LoadEnd},
    run::Plan,
};

/// Maximum number of other invalidations of the same time that are printed with a violation.
const NEIGHBOURS: usize = 6;

/// Prints the report. Returns success if no promise was violated.
pub(crate) fn report(plan: &Plan, history: &History, findings: &Findings) -> ExitCode {
    if let Some(path) = &plan.history
        && let Err(error) = fs::write(path, lines(history))
    {
        eprintln!("checker: the history could not be written: {error}");
    }
    operations(history);
    faults(history);
    promises(plan, history, findings);
    for violation in &findings.violations {
        print_violation(history, violation);
    }
    println!("violations: {}", findings.total());
    if findings.total() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn operations(history: &History) {
    let mut counts: BTreeMap<(u8, String), u64> = BTreeMap::new();
    for event in &history.events {
        if let Some(row) = row(event) {
            *counts.entry(row).or_default() += 1;
        }
    }
    println!("\noperations");
    for ((_, name), count) in counts {
        println!("  {name:<34} {count:>10}");
    }
}

/// Returns the row of the table that an event belongs to, after the position of the row.
fn row(event: &Event) -> Option<(u8, String)> {
    Some(match event.kind {
        EventKind::Read(answer) | EventKind::FinalRead(answer) => {
            (0, format!("read: {}", answer_name(answer)))
        }
        EventKind::Refresh(_) => (1, "refresh".to_owned()),
        EventKind::Invalidate(form, strength, ack) => {
            (2, format!("{form:?}, {strength:?}: {}", ack_name(ack)))
        }
        EventKind::Set(ack) => (3, format!("set: {}", ack_name(ack))),
        EventKind::Load(LoadEnd::Done) => (4, "load".to_owned()),
        EventKind::Load(end) => (4, format!("load: {end:?}")),
        EventKind::Stall => (5, "witness without an answer".to_owned()),
        EventKind::Milestone(_) => return None,
    })
}

fn answer_name(answer: Answer) -> &'static str {
    match answer {
        Answer::L1 => "from memory",
        Answer::L2 => "from Redis",
        Answer::Miss => "loaded",
        Answer::Joined => "joined",
        Answer::Bypass => "bypassed",
        Answer::Found => "keyspace, found",
        Answer::Absent => "keyspace, absent",
        Answer::Failed => "the load failed",
        Answer::Panicked => "the load panicked",
        Answer::Cancelled => "cancelled",
        Answer::Mixed => "another value",
    }
}

fn ack_name(ack: Ack) -> &'static str {
    match ack {
        Ack::Done => "done",
        Ack::NotPropagated => "not propagated",
        Ack::NotConfirmed => "not confirmed",
        Ack::Error => "error",
    }
}

fn faults(history: &History) {
    let mut counts: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for fault in &history.faults {
        let (count, time) = counts.entry(fault.kind.name()).or_default();
        *count += 1;
        *time += fault.to - fault.from;
    }
    if counts.is_empty() {
        println!("\nno faults");
        return;
    }
    println!("\nfaults{:>32}{:>11}", "times", "ms");
    for (name, (count, time)) in counts {
        println!("  {name:<30} {count:>5} {:>10}", time / ms(1));
    }
}

fn promises(plan: &Plan, history: &History, findings: &Findings) {
    println!("\npromise{:>15}{:>12}", "checked", "violated");
    for promise in Promise::ALL {
        let of = |counts: &BTreeMap<_, u64>| counts.get(&promise).copied().unwrap_or(0);
        println!("  {:<9}{:>11}{:>12}", promise.name(), of(&findings.checked), of(&findings.counts));
    }
    let end = history.events.iter().map(|event| event.end).max().unwrap_or(history.origin);
    println!(
        "\nseed {}, {} workers, {} keys, {} s, {} % of them calm everywhere; bound {} ms, grace {} ms",
        plan.seed,
        plan.workers,
        plan.keys,
        (end - history.origin) / ms(1_000),
        Outages::new(history).calm_percent(history.origin, end),
        history.settings.bound,
        history.settings.grace
    );
    println!(
        "longest life of a superseded value: {} ms, where Redis was in reach: {:.1} ms",
        findings.longest / ms(1),
        f64::from(u32::try_from(findings.longest_calm / 1_000).unwrap_or(u32::MAX)) / 1e3
    );
}

/// Prints a violation with the events that show it, and the faults around them.
fn print_violation(history: &History, violation: &Violation) {
    println!("\nviolation of {}: {}", violation.promise.name(), violation.description);
    let events: Vec<_> = violation.events.iter().map(|&index| &history.events[index]).collect();
    for event in &events {
        println!("  {}", line(history, event));
    }
    let from = events.iter().map(|event| event.start).min().unwrap_or(0);
    let to = events.iter().map(|event| event.end).max().unwrap_or(0);
    let is_near = |event: &&Event| {
        matches!(event.kind, EventKind::Invalidate(..)) && event.start <= to && event.end + ms(20) >= from
    };
    let others = history.events.iter().filter(is_near).filter(|event| !events.contains(event));
    for event in others.take(NEIGHBOURS) {
        println!("  besides: {}", line(history, event));
    }
    for fault in history.faults.iter().filter(|fault| fault.from <= to && fault.to + ms(2_000) >= from) {
        let at = |moment| format_time(history.origin, moment);
        println!(
            "  fault: {}, {:?}, {} to {}",
            fault.kind.name(),
            fault.target,
            at(fault.from),
            at(fault.to)
        );
    }
}

fn line(history: &History, event: &Event) -> String {
    let actor = match history.processes.get(usize::from(event.process)) {
        Some(process) => format!("worker {} (process {})", process.slot, event.process),
        None if event.process == FOREIGN => "another program".to_owned(),
        None => "an unknown process".to_owned(),
    };
    let at = |moment| format_time(history.origin, moment);
    let Event { kind, key, start, end, version, began, load, .. } = *event;
    let text = format!("{actor}: {kind:?} of key {key}, {} to {}", at(start), at(end));
    match (version, load) {
        (0, 0) => text,
        (_, 0) => format!("{text}, version {version}"),
        _ => {
            let (process, number) = (load >> 40, load & 0xFF_FFFF_FFFF);
            format!("{text}, version {version}, load {process}-{number} of {}", at(began))
        }
    }
}

/// Returns all events, one per line, in the order in which they began.
fn lines(history: &History) -> String {
    let mut events: Vec<_> = history.events.iter().collect();
    events.sort_by_key(|event| event.start);
    events.into_iter().map(|event| line(history, event) + "\n").collect()
}

/// Formats the time since the start of the run, in milliseconds and microseconds.
fn format_time(origin: u64, moment: u64) -> String {
    let micros = moment.saturating_sub(origin) / 1_000;
    format!("{}.{:03} ms", micros / 1_000, micros % 1_000)
}
