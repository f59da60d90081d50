//! What a failed load left in the shared tier.

use allocation_counter::measure;
use arbitrary::{Result, Unstructured};

use crate::{
    key::entry_key::SharedKey,
    l2::note::{open, seal},
};

/// The levels of an error, of which each has a `String`, and the list that grew for them; a note itself is 4 KiB at most.
const MOST_ALLOCATED: u64 = 256 * 1024;

/// Any bytes are an error or none, and take no more memory than those of a note; what is read is written as what it was.
///
/// # Panics
/// When that does not hold.
pub fn note(data: &[u8]) {
    let _ = check(&mut Unstructured::new(data));
}

fn check(input: &mut Unstructured<'_>) -> Result<()> {
    let name = SharedKey { text: String::new(), check: [7; 16], schema: 9 };
    // More than a note of this crate has, of the same few bytes.
    let times = input.int_in_range(1..=2000)?;
    let is_ours = input.arbitrary::<bool>()?;
    let rest = input.bytes(input.len())?;
    let mut bytes =
        if is_ours { [&[1][..], &name.check, &name.schema.to_le_bytes()].concat() } else { Vec::new() };
    bytes.extend(rest.repeat(times));
    let mut opened = None;
    let allocated = measure(|| opened = open(&bytes, &name)).bytes_max;
    assert!(allocated <= MOST_ALLOCATED, "{allocated} bytes");
    if let Some(error) = opened {
        let again = open(&seal(&error, &name), &name).expect("what was just sealed");
        for (told, said) in again.levels().zip(error.levels()) {
            assert!(told.1 == said.1, "the kind is another one");
            assert!(told.0 == said.0 || told.0.ends_with('…'), "the message is another one");
        }
        assert!(
            open(&bytes, &SharedKey { check: [8; 16], ..name.clone() }).is_none(),
            "a note of another key"
        );
        assert!(open(&bytes, &SharedKey { schema: 8, ..name }).is_none(), "a note of another function");
    }
    Ok(())
}
