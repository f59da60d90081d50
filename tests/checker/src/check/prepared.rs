//! A history with the indexes that the checks use.

use std::collections::HashMap;

use super::Outages;
use crate::{
    history::{Ack, Answer, Event, FOREIGN, History, LoadEnd, Strength, What},
    universe::{Flavor, flavor, reaches},
};

/// Invalidation of some key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) start: u64,
    pub(super) end: u64,
    /// Index of the event in the history.
    pub(super) event: usize,
}

/// Invalidations of one key.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeline {
    /// Invalidations by their start.
    cuts: Vec<Cut>,
    /// Invalidation that ended first, in each suffix of `cuts`.
    first_ended: Vec<Cut>,
}

impl Timeline {
    fn new(mut cuts: Vec<Cut>) -> Self {
        cuts.sort_unstable_by_key(|cut| cut.start);
        let mut first_ended = cuts.clone();
        for index in (1..first_ended.len()).rev() {
            if first_ended[index].end < first_ended[index - 1].end {
                first_ended[index - 1] = first_ended[index];
            }
        }
        Self { cuts, first_ended }
    }

    /// Returns the first acknowledged invalidation among those that supersede a value.
    ///
    /// The load of the value began at `began`. The result forbids all reads that a later invalidation
    /// forbids.
    pub(super) fn superseding(&self, began: u64) -> Option<Cut> {
        let after = self.cuts.partition_point(|cut| cut.start <= began);
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
            match event.what {
                What::Load(LoadEnd::Done) => drop(loads.insert(event.load, index)),
                What::Set(_) => drop(sets.insert(event.load, index)),
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
    pub(super) fn load(&self, name: u64) -> Option<(usize, &'a Event)> {
        let index = *self.loads.get(&name)?;
        Some((index, &self.history.events[index]))
    }

    /// Returns the `set` that stored a value, if it was logged.
    pub(super) fn set(&self, name: u64) -> Option<(usize, &'a Event)> {
        let index = *self.sets.get(&name)?;
        Some((index, &self.history.events[index]))
    }

    /// Returns the start of the call that made a load, if known.
    pub(super) fn call_of(&self, name: u64) -> Option<u64> {
        self.calls.get(&name).copied()
    }

    /// Returns the timeline of each key: the invalidations that reach it and that `choose` selects.
    pub(super) fn timelines(&self, choose: impl Fn(&Event, Strength, Ack) -> bool) -> Timelines {
        let mut cuts = vec![Vec::new(); self.history.keys as usize];
        for (event, cut) in self.chosen(choose) {
            self.spread(event, |key| cuts[key as usize].push(cut));
        }
        cuts.into_iter().map(Timeline::new).collect()
    }

    /// Returns [`timelines`](Self::timelines) by process and key, without those of other programs.
    pub(super) fn timelines_by_process(
        &self,
        choose: impl Fn(&Event, Strength, Ack) -> bool,
    ) -> HashMap<(u16, u32), Timeline> {
        let mut cuts: HashMap<_, Vec<_>> = HashMap::new();
        for (event, cut) in self.chosen(choose).filter(|(event, _)| event.process != FOREIGN) {
            self.spread(event, |key| cuts.entry((event.process, key)).or_default().push(cut));
        }
        cuts.into_iter().map(|(of, cuts)| (of, Timeline::new(cuts))).collect()
    }

    fn chosen(
        &self,
        choose: impl Fn(&Event, Strength, Ack) -> bool,
    ) -> impl Iterator<Item = (&'a Event, Cut)> {
        self.history.events.iter().enumerate().filter_map(move |(index, event)| match event.what {
            What::Invalidate(_, strength, ack) if choose(event, strength, ack) => {
                Some((event, Cut { start: event.start, end: event.end, event: index }))
            }
            _ => None,
        })
    }

    /// Calls `each` with every key that an invalidation reaches.
    fn spread(&self, event: &Event, mut each: impl FnMut(u32)) {
        if let What::Invalidate(form, ..) = event.what {
            (0..self.history.keys).filter(|&key| reaches(form, event.key, key)).for_each(&mut each);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn superseding_returns_first_acknowledged() {
        let cut = |start, end| Cut { start, end, event: 0 };
        let timeline = Timeline::new(vec![cut(30, 35), cut(10, 90), cut(20, 25)]);
        let ends = [5, 10, 20, 29, 30].map(|began| timeline.superseding(began).map(|cut| cut.end));
        assert_eq!(ends, [Some(25), Some(25), Some(35), Some(35), None]);
        assert_eq!(Timeline::default().superseding(0), None);
    }
}
