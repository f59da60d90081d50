//! Source: the run has the properties on which the other checks depend.
//!
//! * A load that began after a version was written sees that version, or a later one. So a value with a load
//!   that began after an invalidation is as new as all writes before it, and "superseded" needs no versions.
//! * A read returns the value that its load found.

use super::{Findings, Prepared, Promise};
use crate::history::{EventKind, LoadEnd};

pub(super) fn check(prepared: &Prepared<'_>, findings: &mut Findings) {
    let events = &prepared.history.events;
    // By key: the time at which each version had been written, with the highest version so far.
    let mut written = vec![Vec::new(); prepared.history.keys as usize];
    for event in events {
        if matches!(event.kind, EventKind::Invalidate(..)) && event.version > 0 {
            written[event.key as usize].push((event.start, event.version));
        }
    }
    for versions in &mut written {
        versions.sort_unstable();
        let mut highest = 0;
        for (_, version) in versions.iter_mut() {
            highest = highest.max(*version);
            *version = highest;
        }
    }
    for (index, event) in events.iter().enumerate() {
        if let EventKind::Load(LoadEnd::Done) = event.kind {
            findings.count(Promise::Source, 1);
            let versions = &written[event.key as usize];
            let before = versions.partition_point(|write| write.0 < event.began);
            if before > 0 && versions[before - 1].1 > event.version {
                findings.report(Promise::Source, &[index], || "the load saw an old version".to_owned());
            }
        }
    }
    for (index, read, _) in prepared.reads() {
        let Some((at, load)) = prepared.load(read.load) else { continue };
        if (load.key, load.version, load.began) != (read.key, read.version, read.began) {
            findings
                .report(Promise::Source, &[index, at], || "the value is not what its load found".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        check::{Findings, Prepared, synthetic::HistoryBuilder},
        history::Answer,
        universe::Form,
    };

    fn broken(builder: &HistoryBuilder) -> u64 {
        let mut findings = Findings::default();
        super::check(&Prepared::new(&builder.history()), &mut findings);
        findings.total()
    }

    #[test]
    fn load_sees_earlier_writes() {
        let mut builder = HistoryBuilder::new(1);
        builder.invalidate(0, Form::Key, 0, (1_000, 1_001), 5);
        builder.load(0, 0, 4, (900, 1_100));
        builder.load(0, 0, 6, (1_100, 1_101));
        assert_eq!(broken(&builder), 0);
        builder.load(0, 0, 3, (1_100, 1_101));
        assert_eq!(broken(&builder), 1);
    }

    #[test]
    fn a_read_returns_what_its_load_found() {
        let mut builder = HistoryBuilder::new(1);
        builder.load(0, 0, 4, (900, 1_100));
        builder.read(0, 0, Answer::L1, (2_000, 2_000), (4, 900));
        assert_eq!(broken(&builder), 0);
        builder.read(0, 0, Answer::L1, (2_000, 2_000), (4, 901));
        assert_eq!(broken(&builder), 1);
    }
}
