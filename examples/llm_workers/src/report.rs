//! The text before a run, and the tables after it.

use std::time::Duration;

use crate::{
    args::Args,
    fleet::Fleet,
    openai::{COMPLETION_PRICE, PROMPT_PRICE},
    stream::{Demand, NOTES_PER_USER, Stream},
    upstream::Bill,
    worker::{Done, Outcome},
};

pub(crate) fn introduction(args: &Args, stream: &Stream, namespace: &str) -> String {
    let tier = match args.redis {
        Some(_) => format!("They share their answers through Redis, under {namespace}."),
        None => "No --redis: each caches alone, and pays for what another one already knows.".to_owned(),
    };
    format!(
        "{} requests of {} users about {} notes, out of {} questions, dealt at random to {} worker processes\n\
         that have {} in hand at a time. The stand-in for the model takes about {} ms (a real one: 30 to 120 s).\n\
         {tier}\n\n",
        grouped(stream.requests.len() as u64),
        grouped(args.users.into()),
        grouped(u64::from(args.users) * NOTES_PER_USER as u64),
        grouped(stream.questions.len() as u64),
        args.workers,
        args.concurrency,
        args.latency.as_millis(),
    )
}

pub(crate) fn table(args: &Args, stream: &Stream, fleet: &Fleet, bill: &Bill, elapsed: Duration) -> String {
    let errors = fleet.done.iter().filter(|done| done.error.is_some()).count();
    let unanswered = stream.requests.len() - fleet.done.len();
    let mut lines = sources(&fleet.done);
    lines.push(String::new());
    lines.extend(demands(stream, bill, unanswered == 0));
    lines.push(String::new());
    for (label, count) in [
        ("asked twice at once", bill.repeated_at_once),
        ("asked again later", bill.repeated_later),
        ("errors", errors as u64),
        ("unanswered", unanswered as u64),
    ] {
        lines.push(format!("{label:<34}{:>10}", grouped(count)));
    }
    lines.push(format!("{:<34}{:>8.1} s", "the whole run took", elapsed.as_secs_f64()));
    lines.push(String::new());
    lines.extend(notes(args, bill));
    lines.extend(failures(args, fleet));
    lines.join("\n") + "\n"
}

/// Returns a table with one row for each source of answers.
fn sources(done: &[Done]) -> Vec<String> {
    let head = format!("{:<34}{:>10}{:>9}{:>11}{:>11}", "answered by", "requests", "share", "p50", "p95");
    let rows = [
        ("this process (hit, L1)", Some(Outcome::L1)),
        ("Redis (hit, L2)", Some(Outcome::L2)),
        ("a call under way (joined)", Some(Outcome::Joined)),
        ("the model (miss)", Some(Outcome::Miss)),
        ("the model (cache turned off)", Some(Outcome::Bypass)),
        ("all", None),
    ];
    let rows = rows.into_iter().filter_map(|(label, outcome)| {
        let of_row = done.iter().filter(|done| outcome.is_none_or(|outcome| done.outcome == outcome));
        let mut nanos: Vec<u64> = of_row.map(|done| done.nanos).collect();
        nanos.sort_unstable();
        let is_usual = outcome != Some(Outcome::Bypass);
        (is_usual || !nanos.is_empty()).then(|| {
            format!(
                "{label:<34}{:>10}{:>9}{:>11}{:>11}",
                grouped(nanos.len() as u64),
                share(nanos.len() as f64, done.len() as f64),
                percentile(&nanos, 50),
                percentile(&nanos, 95),
            )
        })
    });
    std::iter::once(head).chain(rows).collect()
}

/// Returns a table of the costs of this run, next to the costs of the same requests in other set-ups.
fn demands(stream: &Stream, bill: &Bill, is_complete: bool) -> Vec<String> {
    let run = Demand { calls: bill.calls, usage: bill.usage };
    let (uncached, per_worker) = (stream.uncached(), stream.cached_per_worker());
    // An unanswered request costs nothing but is no saving, so an incomplete run shows no savings.
    let saving = |of: Demand| {
        let whole = if is_complete { of.usage.dollars() } else { 0.0 };
        share(whole - run.usage.dollars(), whole)
    };
    let head = format!(
        "{:<34}{:>10}{:>14}{:>14}{:>10}{:>17}",
        "", "calls", "prompt tok.", "compl. tok.", "cost", "this run saves"
    );
    let rows = [
        ("this run", run, String::new()),
        ("without a cache", uncached, saving(uncached)),
        ("with one cache per process", per_worker, saving(per_worker)),
        ("distinct (user, note, question)", stream.distinct(), String::new()),
    ];
    let rows = rows.into_iter().map(|(label, demand, saved)| {
        let row = format!(
            "{label:<34}{:>10}{:>14}{:>14}{:>10}{saved:>17}",
            grouped(demand.calls),
            grouped(demand.usage.prompt_tokens),
            grouped(demand.usage.completion_tokens),
            format!("${:.2}", demand.usage.dollars()),
        );
        row.trim_end().to_owned()
    });
    std::iter::once(head).chain(rows).collect()
}

/// Returns notes on the meaning of the numbers and on their limits.
fn notes(args: &Args, bill: &Bill) -> Vec<String> {
    let mut lines = vec![
        "`this run` was counted by the stand-in. The rows below it were not run, but computed from the same requests,"
            .to_owned(),
        "dealt to the same workers: a call for each request, for each pair of worker and question, for each question."
            .to_owned(),
        "The same text of the same user about the same note is one question; in other words it is another one."
            .to_owned(),
        format!(
            "Tokens are estimated as a quarter of the characters; a million costs ${PROMPT_PRICE} (prompt) or \
             ${COMPLETION_PRICE} (completion)."
        ),
        "Times are those of `answer::with`, measured in the worker.".to_owned(),
    ];
    if args.redis.is_some() && bill.repeated_at_once > 0 {
        lines.push(
            "Two workers may ask the same at once: the more often, the more requests are in hand and the longer an \
             answer takes."
                .to_owned(),
        );
    }
    lines
}

/// Returns a description of every failure.
fn failures(args: &Args, fleet: &Fleet) -> Vec<String> {
    let mut lines = Vec::new();
    let totals = &fleet.totals;
    let is_new = |done: &&Done| done.outcome == Outcome::Miss && done.error.is_none();
    let new = fleet.done.iter().filter(is_new).count() as u64;
    if args.redis.is_some() && totals.stored == 0 {
        lines.push(
            "\nRedis took no answer, so each worker cached alone: is it running, and CACHED_ASIDE unset?"
                .to_owned(),
        );
    } else if args.redis.is_some() && (totals.failed_reads > 0 || totals.stored < new) {
        lines.push(format!(
            "\nRedis took {} of {} new answers (reads that failed: {}); the workers went on without it.",
            grouped(totals.stored),
            grouped(new),
            grouped(totals.failed_reads),
        ));
    }
    if let Some(error) = fleet.done.iter().find_map(|done| done.error.as_ref()) {
        lines.push(format!("\nThe first error: {error}"));
    }
    for death in &fleet.deaths {
        lines.push(format!(
            "\nWorker {} died ({}) and left {} requests unanswered; the computed rows have them all the same.",
            death.worker,
            death.exit_status,
            grouped(death.unanswered as u64),
        ));
    }
    lines
}

fn share(part: f64, whole: f64) -> String {
    if whole > 0.0 { format!("{:.1} %", 100.0 * part / whole) } else { "-".to_owned() }
}

/// Returns a percentile of sorted times, by nearest rank.
fn percentile(nanos: &[u64], percent: usize) -> String {
    let rank = (nanos.len() * percent).div_ceil(100);
    match rank.checked_sub(1).and_then(|index| nanos.get(index)) {
        Some(nanos) => format!("{:.1?}", Duration::from_nanos(*nanos)),
        None => "-".to_owned(),
    }
}

/// Formats `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
