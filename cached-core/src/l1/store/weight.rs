//! The bytes that an entry counts for.
//!
//! Entries share the epochs of their tags. So the bytes of such an epoch count for its first entries only.

use std::sync::Arc;

use crate::{
    coherence::{epoch::Epoch, validity::Validity},
    key::OwnedKey,
};

/// Bytes that its region, the policy and its value's block add to each entry.
///
/// Measured with entries in Moka (docs/performance.md). An entry in the window takes half of it, and counts for as
/// much: a weight must not change when an entry moves.
const ENTRY_OVERHEAD: usize = 600;

/// Bytes that a name of its own adds to an entry: its epoch, the place of that in the table of epochs, and the proof.
const NAME_OVERHEAD: usize = 300;

/// Bytes that a tag adds to each entry that has it.
pub(super) const TAG_BYTES: usize = 16;

/// Bytes that a tag adds once, to its first entries: its epoch, and the place in the table of epochs.
pub(super) const TAG_EPOCH_BYTES: usize = 180;

/// Greatest number of references to the epoch of a tag that counts as new.
///
/// A load holds several references while its value is stored.
const NEW_TAG_REFERENCES: usize = 4;

/// Returns the bytes of an entry with a value of `value_weight` bytes.
pub(super) fn entry_weight(key: &OwnedKey, validity: &Validity, value_weight: usize) -> u32 {
    let name = &validity.epoch;
    let own_name_bytes = if name.is_of_function() { 0 } else { NAME_OVERHEAD + name.name().len() };
    let name_bytes = own_name_bytes + validity.tags.iter().map(|(tag, _)| tag_weight(tag)).sum::<usize>();
    let bytes = value_weight.saturating_add(key.len() + name_bytes + ENTRY_OVERHEAD);
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn tag_weight(tag: &Arc<Epoch>) -> usize {
    if Arc::strong_count(tag) > NEW_TAG_REFERENCES {
        TAG_BYTES
    } else {
        TAG_BYTES + TAG_EPOCH_BYTES + tag.name().len()
    }
}
