//! The times in which each process could not reach Redis, as observed from outside of its cache.
//!
//! A process is in an outage
//! * while a fault hits it: in its own proxy, in the process itself, or in Redis;
//! * while its **witness** gets no timely answer. The witness is a bare connection of the same process
//!   through the same proxy, so it also detects trouble that was not injected, such as a machine that is too
//!   busy;
//! * after its start, until its witness gets an answer;
//! * before it was killed, for the part of its log that may not have been flushed, because a stall in that
//!   part would be missing.
//!
//! Each of these times is extended by the time to notice the end and to connect anew
//! ([`Settings::recovery_ns`]), or by less after a short stall.
//!
//! The cache's own view does not count: a cache that wrongly considers Redis lost would excuse itself.
//!
//! [`Settings::recovery_ns`]: crate::settings::Settings::recovery_ns

use crate::{
    faults::{FaultKind, UNFLUSHED},
    history::{EventKind, FOREIGN, History, Milestone},
};

/// Sorted windows of time that do not overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Windows(Vec<(u64, u64)>);

impl Windows {
    fn merge(mut all: Vec<(u64, u64)>) -> Self {
        all.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(all.len());
        for (from, to) in all {
            match merged.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        Self(merged)
    }

    /// Returns the end of the last window that began at or before `moment`; 0 without one.
    ///
    /// The end may be later than `moment`.
    fn last_end(&self, moment: u64) -> u64 {
        let after = self.0.partition_point(|window| window.0 <= moment);
        after.checked_sub(1).map_or(0, |last| self.0[last].1)
    }

    fn overlaps(&self, from: u64, to: u64) -> bool {
        self.last_end(to) >= from
    }

    fn overlap_length(&self, from: u64, to: u64) -> u64 {
        let parts = self.0.iter().map(|window| window.1.min(to).saturating_sub(window.0.max(from)));
        parts.sum()
    }
}

/// Outages of a run.
#[derive(Clone, Debug)]
pub(crate) struct Outages {
    /// Outages of each process, with the time to recover.
    processes: Vec<Windows>,
    /// Outages of any process.
    anywhere: Windows,
    /// Times in which each process was frozen or starved, without the time to recover.
    starved: Vec<Windows>,
}

impl Outages {
    pub(crate) fn new(history: &History) -> Self {
        let recovery = history.settings.recovery_ns();
        let count = history.processes.len();
        let (mut windows, mut starved) = (vec![Vec::new(); count], vec![Vec::new(); count]);

        let mut ready: Vec<Option<u64>> = vec![None; count];
        for event in history.events.iter().filter(|event| event.process != FOREIGN) {
            let process = usize::from(event.process);
            match event.kind {
                EventKind::Milestone(Milestone::Ready) => ready[process] = Some(event.end),
                EventKind::Stall => {
                    let aftermath = history.settings.aftermath_ns(event.end - event.start);
                    windows[process].push((event.start, event.end + aftermath));
                    starved[process].push((event.start, event.end));
                }
                _ => {}
            }
        }
        for (number, process) in history.processes.iter().enumerate() {
            let until = ready[number].map_or(u64::MAX, |ready| ready + recovery);
            windows[number].push((process.started, until));
            if let Some(killed) = process.killed {
                windows[number].push((killed.saturating_sub(UNFLUSHED), killed + recovery));
            }
            for fault in history.faults.iter().filter(|fault| fault.hits(process.slot)) {
                if fault.kind.is_outage() {
                    windows[number].push((fault.from, fault.to + recovery));
                }
                if fault.kind == FaultKind::WorkerFreeze {
                    starved[number].push((fault.from, fault.to));
                }
            }
        }
        let anywhere = Windows::merge(windows.iter().flatten().copied().collect());
        let merge = |all: Vec<Vec<_>>| all.into_iter().map(Windows::merge).collect();
        Self { processes: merge(windows), anywhere, starved: merge(starved) }
    }

    /// Returns the time since which `process` has been able to reach Redis, as seen at `moment`.
    ///
    /// In an outage, the result is later than `moment`.
    pub(crate) fn calm_since(&self, process: u16, moment: u64) -> u64 {
        self.processes.get(usize::from(process)).map_or(0, |windows| windows.last_end(moment))
    }

    /// Returns whether `process` was in an outage at any time from `from` to `to`.
    pub(crate) fn overlaps(&self, process: u16, from: u64, to: u64) -> bool {
        self.processes.get(usize::from(process)).is_some_and(|windows| windows.overlaps(from, to))
    }

    /// Returns the same as [`calm_since`](Self::calm_since), for all processes together.
    pub(crate) fn calm_everywhere_since(&self, moment: u64) -> u64 {
        self.anywhere.last_end(moment)
    }

    /// Returns how long, between two times, `process` was frozen or starved.
    pub(crate) fn starved_time(&self, process: u16, from: u64, to: u64) -> u64 {
        self.starved.get(usize::from(process)).map_or(0, |windows| windows.overlap_length(from, to))
    }

    /// Returns how long, between two times, any process was in an outage.
    pub(crate) fn outage_time(&self, from: u64, to: u64) -> u64 {
        self.anywhere.overlap_length(from, to)
    }

    /// Returns the share of the time between two times without an outage of any process, in percent.
    pub(crate) fn calm_percent(&self, from: u64, to: u64) -> u64 {
        let all = to.saturating_sub(from).max(1);
        100 - self.outage_time(from, to) * 100 / all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::synthetic::HistoryBuilder,
        clock::ms,
        faults::{FaultKind, Target},
    };

    #[test]
    fn windows_merge_and_answer() {
        let windows = Windows::merge(vec![(50, 60), (10, 20), (15, 30), (30, 31)]);
        assert_eq!(windows.0, [(10, 31), (50, 60)]);
        assert_eq!([9, 10, 40, 55, 99].map(|at| windows.last_end(at)), [0, 31, 31, 60, 60]);
        assert!(windows.overlaps(31, 40) && !windows.overlaps(32, 49) && windows.overlaps(32, 50));
        assert_eq!(windows.overlap_length(20, 55), 16);
    }

    #[test]
    fn a_fault_of_one_worker_is_an_outage_of_its_processes_only() {
        let mut builder = HistoryBuilder::new(2);
        let recovery = builder.settings().recovery_ns();
        builder.fault(FaultKind::Swallow, Target::Slot(1), 5_000, 6_000);
        let outages = Outages::new(&builder.history());
        assert_eq!(outages.calm_since(1, builder.at(5_500)), builder.at(6_000) + recovery);
        assert!(outages.calm_since(0, builder.at(5_500)) < builder.at(5_000));
        assert!(
            outages.overlaps(1, builder.at(5_999), builder.at(6_000))
                && !outages.overlaps(0, builder.at(5_000), builder.at(9_000))
        );
        assert_eq!(outages.calm_everywhere_since(builder.at(5_500)), builder.at(6_000) + recovery);
    }

    #[test]
    fn only_stall_is_outage() {
        let mut builder = HistoryBuilder::new(1);
        builder.fault(FaultKind::Delay(5), Target::Slot(0), 5_000, 6_000);
        builder.fault(FaultKind::Flush, Target::Everyone, 5_000, 5_001);
        assert!(!Outages::new(&builder.history()).overlaps(0, builder.at(5_000), builder.at(9_000)));
        builder.stall(0, 5_000, 5_500);
        let outages = Outages::new(&builder.history());
        assert!(outages.overlaps(0, builder.at(5_400), builder.at(5_450)));
        assert_eq!(outages.starved_time(0, builder.at(5_400), builder.at(9_000)), ms(100));
        assert!(outages.calm_percent(builder.at(5_000), builder.at(9_000)) < 90);
    }
}
