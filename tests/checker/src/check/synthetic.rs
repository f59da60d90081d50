//! Small histories for the tests of the checks.
//!
//! All times are in milliseconds after the start. All workers are ready long before.

use crate::{
    clock::ms,
    faults::{Fault, FaultKind, Target},
    history::{Ack, Answer, Event, EventKind, History, LoadEnd, Milestone, Process, Strength},
    settings::Settings,
    universe::Form,
};

const ORIGIN: u64 = 1_000_000_000_000;

/// History under construction.
#[derive(Clone, Debug)]
pub(super) struct HistoryBuilder(History);

impl HistoryBuilder {
    /// Creates a history with so many workers. Each of them is one process of the same number.
    pub(super) fn new(workers: u16) -> Self {
        let started = ORIGIN - ms(60_000);
        let process = |slot| Process { slot: usize::from(slot), started, killed: None };
        let processes = (0..workers).map(process).collect();
        let settings = Settings::default();
        let mut builder = Self(History {
            settings,
            keys: 8,
            events: Vec::new(),
            faults: Vec::new(),
            processes,
            origin: ORIGIN,
            stuck: None,
        });
        for worker in 0..workers {
            builder.push(worker, EventKind::Milestone(Milestone::Ready), 0, (0, 0), (0, 0, 0));
            let ready = builder.0.events.last_mut().expect("just pushed");
            (ready.start, ready.end) = (started, started);
        }
        builder
    }

    pub(super) fn settings(&self) -> Settings {
        self.0.settings
    }

    pub(super) fn at(&self, millis: u64) -> u64 {
        self.0.origin + ms(millis)
    }

    pub(super) fn history(&self) -> History {
        self.0.clone()
    }

    pub(super) fn mark_stuck(&mut self) {
        self.0.stuck = Some("a worker did not end".to_owned());
    }

    pub(super) fn kill(&mut self, process: u16, at: u64) {
        self.0.processes[usize::from(process)].killed = Some(self.at(at));
    }

    pub(super) fn fault(&mut self, kind: FaultKind, target: Target, from: u64, to: u64) {
        let (from, to) = (self.at(from), self.at(to));
        self.0.faults.push(Fault { kind, target, from, to });
    }

    pub(super) fn stall(&mut self, process: u16, from: u64, to: u64) {
        self.push(process, EventKind::Stall, 0, (from, to), (0, 0, 0));
    }

    /// Adds a load with this identifier, which is its version as well.
    pub(super) fn load(&mut self, process: u16, key: u32, load: u64, times: (u64, u64)) {
        let began = self.at(times.0);
        self.push(process, EventKind::Load(LoadEnd::Done), key, times, (load, began, load));
    }

    pub(super) fn failed_load(&mut self, process: u16, key: u32, load: u64, times: (u64, u64)) {
        let began = self.at(times.0);
        self.push(process, EventKind::Load(LoadEnd::Failed), key, times, (0, began, load));
    }

    /// Adds a read that returned the value of a load: `load` is its identifier and the time at which it
    /// began.
    pub(super) fn read(
        &mut self,
        process: u16,
        key: u32,
        answer: Answer,
        times: (u64, u64),
        load: (u64, u64),
    ) {
        let began = self.at(load.1);
        self.push(process, EventKind::Read(answer), key, times, (load.0, began, load.0));
    }

    pub(super) fn final_read(&mut self, process: u16, key: u32, times: (u64, u64), load: (u64, u64)) {
        let began = self.at(load.1);
        self.push(process, EventKind::FinalRead(Answer::L2), key, times, (load.0, began, load.0));
    }

    pub(super) fn refresh(&mut self, process: u16, key: u32, times: (u64, u64), load: u64) {
        let began = self.at(times.0);
        self.push(process, EventKind::Refresh(Answer::Miss), key, times, (load, began, load));
    }

    pub(super) fn invalidate(&mut self, process: u16, form: Form, key: u32, times: (u64, u64), version: u64) {
        self.invalidate_with_ack(process, form, key, times, version, Ack::Done);
    }

    pub(super) fn invalidate_with_ack(
        &mut self,
        process: u16,
        form: Form,
        key: u32,
        times: (u64, u64),
        version: u64,
        ack: Ack,
    ) {
        self.push(process, EventKind::Invalidate(form, Strength::Plain, ack), key, times, (version, 0, 0));
    }

    pub(super) fn confirmed(&mut self, process: u16, key: u32, times: (u64, u64), version: u64) {
        let kind = EventKind::Invalidate(Form::Key, Strength::Confirmed, Ack::Done);
        self.push(process, kind, key, times, (version, 0, 0));
    }

    pub(super) fn set(&mut self, process: u16, key: u32, times: (u64, u64), load: u64) {
        let began = self.at(times.0);
        self.push(process, EventKind::Set(Ack::Done), key, times, (load, began, load));
    }

    pub(super) fn push(
        &mut self,
        process: u16,
        kind: EventKind,
        key: u32,
        times: (u64, u64),
        (version, began, load): (u64, u64, u64),
    ) {
        let (start, end) = (self.at(times.0), self.at(times.1));
        self.0.events.push(Event { process, kind, key, start, end, version, began, load });
    }
}
