//! The content of a key, and the decisions about it: the reply to a lookup, and whether a lease is granted.

use std::{collections::HashMap, time::Duration};

use crate::{
    base::clock::{Nanos, nanos},
    tier::{LeaseMode, LeaseReply, LeaseRequest, LeaseToken, Note, Record, Revision, Stored},
};

/// Contents of a key.
#[derive(Clone, Debug, Default)]
pub(super) struct FakeRecord {
    pub(super) value: Option<(Vec<u8>, Revision)>,
    pub(super) deadline: Option<Nanos>,
    pub(super) lease: Option<(LeaseToken, Nanos)>,
    pub(super) has_failed: bool,
    pub(super) error: Option<Note>,
}

impl FakeRecord {
    /// Returns the reply to a lookup of a client that knows the value of `known_revision`.
    pub(super) fn reply(&self, known_revision: Option<Revision>, now: Nanos) -> Record {
        let left = |deadline: Nanos| Duration::from_nanos(deadline.saturating_sub(now));
        let remaining = self.deadline.map(left);
        match (&self.value, self.lease) {
            (Some((_, revision)), _) if known_revision == Some(*revision) => Record::Unchanged,
            _ if known_revision.is_some() => Record::Changed,
            (Some((bytes, revision)), _) => {
                Record::Value(Stored { bytes: bytes.clone(), remaining, revision: *revision })
            }
            (None, None) if self.has_failed => Record::Failed,
            (None, None) if self.error.is_some() => Record::Error(self.error.clone().unwrap_or_default()),
            (None, Some((_, deadline))) => Record::Leased { left: left(deadline), is_retry: self.has_failed },
            (None, None) => Record::Absent,
        }
    }
}

/// Grants the lease of a key if the request may have it now, and returns the reply.
pub(super) fn grant(
    entries: &mut HashMap<String, FakeRecord>,
    request: &LeaseRequest<'_>,
    now: Nanos,
) -> LeaseReply {
    let deadline = now.saturating_add(nanos(request.lease));
    let entry = entries.entry(request.key.to_owned()).or_default();
    let other = entry.lease.filter(|(token, until)| *token != request.token && now < *until);
    if let (Some((_, until)), false) = (other, request.mode == LeaseMode::Always) {
        return LeaseReply::HeldElsewhere(Duration::from_nanos(until - now));
    }
    match (&entry.value, request.mode) {
        (Some(_), LeaseMode::IfAbsent) => return LeaseReply::ValueChanged,
        (Some((_, revision)), LeaseMode::IfRevision(seen)) if *revision != seen => {
            return LeaseReply::ValueChanged;
        }
        (Some(_), _) => entry.lease = Some((request.token, deadline)),
        (None, _) => {
            let has_failed = entry.has_failed;
            let lease = Some((request.token, deadline));
            *entry = FakeRecord { lease, deadline: Some(deadline), has_failed, ..FakeRecord::default() };
        }
    }
    LeaseReply::Granted
}
