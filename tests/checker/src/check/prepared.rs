//! A history with the indexes that the checks use.

use std::collections::HashMap;

use super::Outages;
use crate::{
    history::{Ack, Answer, Event, EventKind, FOREIGN, History, LoadEnd, Strength},
    universe::{Flavor, flavor, reaches},
};

/// Invalidation of some key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InvalidationSpan {
    pub(super) start: u64,
    pub(super) end: u64,
    /// Index of the event in the history.
    pub(super) event: usize,
}

/// Invalidations of one key.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeline {
    /// Invalidations by their start.
    invalidations: Vec<InvalidationSpan>,
    /// Invalidation that ended first, in each suffix of `invalidations`.
    first_ended: Vec<InvalidationSpan>,
}

impl Timeline {
    fn new(mut invalidations: Vec<InvalidationSpan>) -> Self {
        invalidations.sort_unstable_by_key(|invalidation| invalidation.start);
        let mut first_ended = invalidations.clone();
        for index in (1..first_ended.len()).rev() {
            if first_ended[index].end < first_ended[index - 1].end {
                first_ended[index - 1] = first_ended[index];
            }
        }
        Self { invalidations, first_ended }
    }

    /// Returns the first acknowledged invalidation among those that supersede a value.
    ///
    /// The load of the value began at `began`. The result forbids all reads that a later invalidation
    /// forbids.
    pub(super) fn superseding(&self, began: u64) -> Option<InvalidationSpan> {
        let after = self.invalidations.partition_point(|invalidation| invalidation.start <= began);
        self.first_ended.get(after).copied()
    }
}

/// Timelines by key.
pub(super) type Timelines = Vec<Timeline>;

/// History with its outages and loads.
#[derive(Debug)]
pub(crate) struct Prepared<'a> {
    pub(crate) history: &'a History,
    pub(crate) outages: Outages,
    /// Event of each load, by the identifier of the load.
    loads: HashMap<u64, usize>,
    /// Event of each `set`, by the identifier of the `set`.
    sets: HashMap<u64, usize>,
    /// Start of the call that loaded, by the identifier of the load.
    calls: HashMap<u64, u64>,
}

impl<'a> Prepared<'a> {
    pub(crate) fn new(history: &'a History) -> Self {
        let (mut loads, mut sets, mut calls) = (HashMap::new(), HashMap::new(), HashMap::new());
        for (index, event) in history.events.iter().enumerate() {
            match event.kind {
                EventKind::Load(LoadEnd::Done) => drop(loads.insert(event.load, index)),
                EventKind::Set(_) => drop(sets.insert(event.load, index)),
                _ if event.answer() == Some(Answer::Miss) => {
                    let start = calls.entry(event.load).or_insert(event.start);
                    *start = event.start.min(*start);
                }
                _ => {}
            }
        }
        Self { history, outages: Outages::new(history), loads, sets, calls }
    }

    /// Returns all events with a value, each with its index and the time to compare with invalidations.
    ///
    /// That is the time at which the load of the value began. A value that was set is superseded only by
    /// invalidations after the end of the `set`, since an overlapping invalidation does not fence a `set`. If
    /// that end is unknown, the reads of the value are left out.
    pub(super) fn reads(&self) -> impl Iterator<Item = (usize, &'a Event, u64)> {
        self.history.events.iter().enumerate().filter_map(|(index, event)| {
            event.answer().filter(|answer| answer.has_value())?;
            let began = match flavor(event.key) {
                Flavor::Stored => self.set(event.load)?.1.end,
                _ => event.began,
            };
            Some((index, event, began))
        })
    }

    /// Returns the load that found a value, if it was logged.
    pub(super) fn load(&self, load_id: u64) -> Option<(usize, &'a Event)> {
        let index = *self.loads.get(&load_id)?;
        Some((index, &self.history.events[index]))
    }

    /// Returns the `set` that stored a value, if it was logged.
    pub(super) fn set(&self, load_id: u64) -> Option<(usize, &'a Event)> {
        let index = *self.sets.get(&load_id)?;
        Some((index, &self.history.events[index]))
    }

    /// Returns the start of the call that made a load, if known.
    pub(super) fn call_start(&self, load_id: u64) -> Option<u64> {
        self.calls.get(&load_id).copied()
    }

    /// Returns the timeline of each key: the invalidations that reach it and that `choose` selects.
    pub(super) fn timelines(&self, choose: impl Fn(&Event, Strength, Ack) -> bool) -> Timelines {
        let mut invalidations = vec![Vec::new(); self.history.keys as usize];
        for (event, invalidation) in self.selected(choose) {
            self.for_each_reached_key(event, |key| invalidations[key as usize].push(invalidation));
        }
        invalidations.into_iter().map(Timeline::new).collect()
    }

    /// Returns [`timelines`](Self::timelines) by process and key, without those of other programs.
    pub(super) fn timelines_by_process(
        &self,
        choose: impl Fn(&Event, Strength, Ack) -> bool,
    ) -> HashMap<(u16, u32), Timeline> {
        let mut invalidations: HashMap<_, Vec<_>> = HashMap::new();
        for (event, invalidation) in self.selected(choose).filter(|(event, _)| event.process != FOREIGN) {
            self.for_each_reached_key(event, |key| {
                invalidations.entry((event.process, key)).or_default().push(invalidation);
            });
        }
        invalidations.into_iter().map(|(of, invalidations)| (of, Timeline::new(invalidations))).collect()
    }

    fn selected(
        &self,
        choose: impl Fn(&Event, Strength, Ack) -> bool,
    ) -> impl Iterator<Item = (&'a Event, InvalidationSpan)> {
        self.history.events.iter().enumerate().filter_map(move |(index, event)| match event.kind {
            EventKind::Invalidate(_, strength, ack) if choose(event, strength, ack) => {
                Some((event, InvalidationSpan { start: event.start, end: event.end, event: index }))
            }
            _ => None,
        })
    }

    /// Calls `each` with every key that an invalidation reaches.
    fn for_each_reached_key(&self, event: &Event, mut each: impl FnMut(u32)) {
        if let EventKind::Invalidate(form, ..) = event.kind {
            (0..self.history.keys).filter(|&key| reaches(form, event.key, key)).for_each(&mut each);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn superseding_returns_first_acknowledged() {
        let invalidation = |start, end| InvalidationSpan { start, end, event: 0 };
        let timeline = Timeline::new(vec![invalidation(30, 35), invalidation(10, 90), invalidation(20, 25)]);
        let ends =
            [5, 10, 20, 29, 30].map(|began| timeline.superseding(began).map(|invalidation| invalidation.end));
        assert_eq!(ends, [Some(25), Some(25), Some(35), Some(35), None]);
        assert_eq!(Timeline::default().superseding(0), None);
    }
}
