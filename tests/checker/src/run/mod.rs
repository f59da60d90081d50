//! A run: starts all processes, follows the plan, and collects the history.

mod fleet;
mod plan;
mod servers;
mod worker;

use std::{
    thread,
    time::{Duration, Instant},
};

pub(crate) use fleet::Fleet;
pub(crate) use plan::{Plan, Roles};
pub(crate) use worker::{SUBCOMMAND, Worker};

use crate::{
    clock::now,
    faults::{Fault, FaultKind, Injector, PlannedFault, Schedule, Target},
    history::{History, Milestone},
    rng::Rng,
    worker::{FINAL, STOP, STOP_WRITES},
};

/// Timeout for a step of a worker that needs almost no time.
const PATIENCE: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(20);
/// Duration in milliseconds of the last outage of a run with faults. One worker writes, and is cut off.
const LAST_OUTAGE: u64 = 700;

/// Runs a plan.
pub(crate) fn run(plan: &Plan) -> History {
    let origin = now();
    let mut fleet = Fleet::start(plan);
    let mut faults = Vec::new();
    let ends = plan.time_limit.map(|limit| Instant::now() + limit);
    let is_over =
        |fleet: &Fleet| fleet.count() >= plan.operations || ends.is_some_and(|ends| Instant::now() >= ends);

    let schedule = Schedule::new(plan.seed, plan.faults, plan.workers, plan.keys);
    for step in schedule {
        wait(Duration::from_millis(step.calm), &fleet, &is_over);
        if is_over(&fleet) {
            break;
        }
        let began = Instant::now();
        let mut open: Vec<_> =
            step.faults.into_iter().map(|fault| Injector::begin(fault, &mut fleet)).collect();
        open.sort_by_key(Injector::duration);
        for fault in open {
            thread::sleep(fault.duration().saturating_sub(began.elapsed()));
            faults.push(fault.end(&mut fleet));
        }
    }
    let stuck = finish(plan, &mut fleet, &mut faults).err();
    let (events, processes) = fleet.end();
    History { settings: plan.settings, keys: plan.keys, events, faults, processes, origin, stuck }
}

/// Waits for `time`, or until the run is over.
fn wait(time: Duration, fleet: &Fleet, is_over: &impl Fn(&Fleet) -> bool) {
    let began = Instant::now();
    while began.elapsed() < time && !is_over(fleet) {
        thread::sleep(TICK.min(time));
        fleet.forget_traffic();
    }
}

/// Ends a run.
///
/// In a run with faults, one worker is cut off and writes, while the others only read, so its invalidations
/// are the last ones. Then all faults are healed, and every worker resends its undelivered invalidations.
/// After enough time for all processes to receive them, each worker reads every key.
///
/// # Errors
/// Fails if a worker does not reach one of these phases in time.
fn finish(plan: &Plan, fleet: &mut Fleet, faults: &mut Vec<Fault>) -> Result<(), String> {
    fleet.wait_for(Milestone::Ready, PATIENCE)?;
    if plan.faults.refuse > 0 {
        let slots = u64::try_from(plan.workers).unwrap_or(1);
        let slot = usize::try_from(Rng::derive(plan.seed, &[0xC105E]).below(slots)).unwrap_or_default();
        fleet.send_command(STOP_WRITES, Some(slot));
        let planned = PlannedFault {
            kind: FaultKind::Refuse,
            target: Target::Slot(slot),
            duration: LAST_OUTAGE,
            key: 0,
        };
        let fault = Injector::begin(planned, fleet);
        wait(fault.duration(), fleet, &|_| false);
        fleet.send_command(STOP_WRITES, None);
        faults.push(fault.end(fleet));
    }
    fleet.send_command(STOP, None);
    fleet.wait_for(Milestone::Stopped, PATIENCE)?;
    let settled = plan.settings.recovery_ns() + plan.settings.outage_ns();
    wait(Duration::from_nanos(settled), fleet, &|_| false);
    fleet.send_command(FINAL, None);
    fleet.wait_for(Milestone::Finished, PATIENCE)
}
