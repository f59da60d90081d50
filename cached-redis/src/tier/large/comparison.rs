//! The comparison of the two connections: heads from the main one, and bytes from the other.
//!
//! A difference has one of two causes. Either the value has changed between the two reads, and another
//! attempt succeeds. Or the connections lead to different servers, and another attempt finds the same.
//!
//! Invariant: where the connections differ, no bytes are returned. `head` compares one value, and `lookup`
//! acts on the differences.

use std::mem;

use cached_core::tier::{Record, Revision};

use crate::{protocol::record::Trailer, tier::large::head::Head};

/// Revisions that the two connections had under a key, where they differ.
#[derive(PartialEq, Eq)]
pub(super) struct Different {
    pub(super) position: usize,
    main: Option<Revision>,
    large: Option<Revision>,
}

impl Different {
    pub(super) fn new(position: usize, head: &Head, body: &[u8]) -> Self {
        let revision = |bytes: &[u8]| Trailer::of(bytes).map(|trailer| trailer.revision);
        Self { position, main: revision(&head.tail), large: revision(body) }
    }
}

/// Sets the record of each large value, and returns the values where the connections differ.
///
/// A value whose bytes have not arrived counts as one that this process cannot read.
pub(super) fn compare(
    heads: Vec<(usize, Head)>,
    mut bodies: Vec<(usize, Vec<u8>)>,
    records: &mut [Record],
) -> Vec<Different> {
    let mut differing = Vec::new();
    for (position, head) in heads {
        let body = bodies.iter_mut().find(|(other, _)| *other == position).map(|(_, body)| mem::take(body));
        let different = body.as_ref().map(|body| Different::new(position, &head, body));
        let record = body.and_then(|body| head.record_with(body));
        if record.is_none() {
            differing.extend(different);
        }
        records[position] = record.unwrap_or_else(|| head.unreadable_record());
    }
    differing
}
