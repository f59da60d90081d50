//! The greatest number of keys and bytes in one round trip to the shared tier.
//!
//! An operation has a budget of time, which a round trip of many large values would exceed.

use std::iter::Peekable;

/// Largest number of keys in one round trip to the shared tier.
const MAX_KEYS_PER_TRIP: usize = 256;

/// Largest number of bytes in one round trip, unless a single value has more.
///
/// Replies are limited as well, as far as the size of values can be predicted.
const MAX_BYTES_PER_TRIP: usize = 32 << 20;

/// Returns the number of keys to read in one round trip.
pub(super) fn keys_per_trip(expected_value_size: usize) -> usize {
    // Fewer keys if values are large, so that a round trip does not take too long.
    (MAX_BYTES_PER_TRIP / expected_value_size.max(1)).clamp(1, MAX_KEYS_PER_TRIP)
}

/// Takes the items of the next round trip, which has at least one while any are left.
pub(super) fn next_part<T>(
    remaining: &mut Peekable<impl Iterator<Item = T>>,
    len: impl Fn(&T) -> usize,
) -> Vec<T> {
    let (mut part, mut bytes) = (Vec::new(), 0);
    while part.len() < MAX_KEYS_PER_TRIP
        && let Some(item) =
            remaining.next_if(|item| part.is_empty() || bytes + len(item) <= MAX_BYTES_PER_TRIP)
    {
        bytes += len(&item);
        part.push(item);
    }
    part
}
