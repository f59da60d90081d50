//! Injection of faults.

use std::time::Duration;

use redis_harness::Mode;

use super::{Fault, FaultKind, PlannedFault, Target};
use crate::{
    clock::now,
    history::{Ack, Event, EventKind, FOREIGN, Strength},
    run::{Fleet, Worker},
    universe::{Form, name},
    worker::{NAMESPACE, stored_name},
};

/// A fault in progress.
#[derive(Debug)]
pub(crate) struct Injector {
    planned: PlannedFault,
    from: u64,
}

impl Injector {
    pub(crate) fn begin(planned: PlannedFault, fleet: &mut Fleet) -> Self {
        let from = now();
        match (planned.kind, planned.target) {
            (FaultKind::RedisKill, _) => fleet.redis.kill(planned.key),
            (FaultKind::RedisFreeze, _) => fleet.redis.pick(planned.key).freeze(),
            (FaultKind::DenyDelete, _) => allow_delete(fleet, '-'),
            (FaultKind::Flush, _) => foreign_flush(fleet),
            (FaultKind::ForeignDelete, _) => foreign_delete(fleet, planned.key),
            (FaultKind::SlotMove, _) => fleet.redis.move_slot_of(&shared_name(planned.key)),
            (FaultKind::WorkerKill, Target::Slot(slot)) => fleet.replace(slot, Worker::kill),
            (FaultKind::WorkerLeave, Target::Slot(slot)) => fleet.replace(slot, Worker::leave),
            (FaultKind::WorkerFreeze, Target::Slot(slot)) => fleet.worker(slot).freeze(),
            (kind, Target::Slot(slot)) => set_mode(fleet, slot, mode(kind)),
            (FaultKind::Swallow, Target::Everyone) => {
                fleet.redis.proxies().iter().for_each(|proxy| proxy.set_mode(Mode::Swallow));
                (0..fleet.keys()).for_each(|key| foreign_delete(fleet, key));
            }
            (_, Target::Everyone) => {}
        }
        Self { planned, from }
    }

    /// Returns the planned duration of the fault.
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_millis(self.planned.duration)
    }

    /// Ends the fault and returns its record.
    pub(crate) fn end(self, fleet: &mut Fleet) -> Fault {
        let PlannedFault { kind, target, .. } = self.planned;
        match (kind, target) {
            (FaultKind::RedisKill, _) => fleet.redis.restart(),
            (FaultKind::RedisFreeze, _) => fleet.redis.pick(self.planned.key).thaw(),
            (FaultKind::DenyDelete, _) => allow_delete(fleet, '+'),
            (FaultKind::WorkerFreeze, Target::Slot(slot)) => fleet.worker(slot).thaw(),
            (FaultKind::Swallow, Target::Everyone) => {
                (0..fleet.redis.proxies().len()).for_each(|slot| fleet.reset_proxy(slot));
            }
            (FaultKind::WorkerKill | FaultKind::WorkerLeave, _) | (_, Target::Everyone) => {}
            (_, Target::Slot(slot)) => fleet.reset_proxy(slot),
        }
        Fault { kind, target, from: self.from, to: now() }
    }
}

fn set_mode(fleet: &Fleet, slot: usize, mode: Mode) {
    if let Some(proxy) = fleet.redis.proxy(slot) {
        proxy.set_mode(mode);
    }
}

/// Returns the full name of a key in Redis.
fn shared_name(key: u32) -> String {
    name(key).map_or_else(|| stored_name(key), |name| format!("{NAMESPACE}:{name}"))
}

fn mode(kind: FaultKind) -> Mode {
    match kind {
        FaultKind::Delay(millis) => Mode::Delay(Duration::from_millis(millis)),
        FaultKind::Reset => Mode::Reset,
        FaultKind::Swallow => Mode::Swallow,
        FaultKind::Refuse => Mode::Refuse,
        FaultKind::Truncate => Mode::Truncate(7),
        _ => Mode::Pass,
    }
}

/// Grants (`+`) or revokes (`-`) the right to delete, for all clients.
fn allow_delete(fleet: &Fleet, sign: char) {
    let rights = ["DEL", "UNLINK"].map(|command| format!("{sign}{command}"));
    fleet.redis.run_on_each(&["ACL", "SETUSER", "default", &rights[0], &rights[1]]);
}

/// Writes a version and deletes the key, as another program. The reply to the deletion acknowledges it.
fn foreign_delete(fleet: &mut Fleet, key: u32) {
    let version = fleet.database.cli(&["INCR", &format!("v:{key}")]).parse().unwrap_or_default();
    let start = now();
    fleet.redis.delete(&shared_name(key));
    fleet.record(foreign(Form::ForeignKey, key, start, version));
}

/// Empties Redis, as another program.
fn foreign_flush(fleet: &mut Fleet) {
    let start = now();
    fleet.redis.run_on_each(&["FLUSHALL"]);
    fleet.record(foreign(Form::Flush, 0, start, 0));
}

fn foreign(form: Form, key: u32, start: u64, version: u64) -> Event {
    let kind = EventKind::Invalidate(form, Strength::Plain, Ack::Done);
    Event { process: FOREIGN, kind, key, start, end: now(), version, began: 0, load: 0 }
}
