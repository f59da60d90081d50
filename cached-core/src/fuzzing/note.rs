//! Fuzz function for notes, which failed loads leave in the shared tier.

use allocation_counter::measure;
use arbitrary::{Result, Unstructured};

use crate::{
    key::entry_key::SharedKey,
    l2::note::{open, seal},
};

/// Maximum number of bytes allocated: for the levels of an error, each with a `String`, and for the list that
/// grew to hold them. A note itself has at most 4 KiB.
const MAX_ALLOCATED: u64 = 256 * 1024;

/// Checks that notes of any bytes can be opened safely.
///
/// Opening returns an error or nothing, and allocates no more memory than a valid note needs. An opened error
/// is equal after it is sealed and opened again.
///
/// # Panics
/// Panics if one of these properties does not hold.
pub fn note(data: &[u8]) {
    let _ = check(&mut Unstructured::new(data));
}

fn check(input: &mut Unstructured<'_>) -> Result<()> {
    let shared_key = SharedKey { text: String::new(), check: [7; 16], schema: 9 };
    // Repeated, so that some inputs are longer than any note of this crate.
    let times = input.int_in_range(1..=2000)?;
    let has_header = input.arbitrary::<bool>()?;
    let rest = input.bytes(input.len())?;
    let mut bytes = if has_header {
        [&[1][..], &shared_key.check, &shared_key.schema.to_le_bytes()].concat()
    } else {
        Vec::new()
    };
    bytes.extend(rest.repeat(times));
    let mut opened = None;
    let allocated = measure(|| opened = open(&bytes, &shared_key)).bytes_max;
    assert!(allocated <= MAX_ALLOCATED, "{allocated} bytes");
    if let Some(error) = opened {
        let again = open(&seal(&error, &shared_key), &shared_key).expect("what was just sealed");
        for (actual, expected) in again.levels().zip(error.levels()) {
            assert!(actual.1 == expected.1, "the kind is another one");
            assert!(actual.0 == expected.0 || actual.0.ends_with('…'), "the message is another one");
        }
        assert!(
            open(&bytes, &SharedKey { check: [8; 16], ..shared_key.clone() }).is_none(),
            "a note of another key"
        );
        assert!(open(&bytes, &SharedKey { schema: 8, ..shared_key }).is_none(), "a note of another function");
    }
    Ok(())
}
