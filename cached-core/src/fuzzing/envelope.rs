//! Fuzz function for envelopes, the bytes that the shared tier holds for a value.

use allocation_counter::measure;
use arbitrary::{Result, Unstructured};

use crate::value::envelope::{Expect, Header, Limits, TagGeneration, Unreadable, created_ms, open, seal};

/// Position of the flags, which shift the fields from `LENGTHS_AT` on, as the tag count does.
const FLAGS_AT: usize = 2;
const TAG_COUNT_AT: usize = 3;
const CHECK_AT: usize = 12;
const LENGTHS_AT: usize = 44;

/// Maximum number of bytes that one byte of an LZ4 block stands for.
const MAX_EXPANSION: u64 = 255;

/// Checks that envelopes of any bytes can be opened safely.
///
/// Opening does not panic and stays within the limits. A sealed value opens unchanged. If one of its bytes is
/// changed, that is detected, unless the byte shifts the fields.
///
/// # Panics
/// Panics if one of these properties does not hold.
pub fn envelope(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let _ = if data.len().is_multiple_of(2) { any_bytes(&mut input) } else { sealed(&mut input) };
}

fn any_bytes(input: &mut Unstructured<'_>) -> Result<()> {
    let limits = limits(input)?;
    let (is_expected, has_version, is_forged) = input.arbitrary::<(bool, bool, bool)>()?;
    let mut bytes = input.bytes(input.len())?.to_vec();
    if let (true, Some(version)) = (has_version, bytes.first_mut()) {
        *version = 1;
    }
    if is_forged {
        forge(&mut bytes);
    }
    // The schema and the check in the bytes themselves, so that the bytes are not rejected for these.
    let schema = bytes.get(4..CHECK_AT).and_then(|schema| schema.try_into().ok()).map(u64::from_le_bytes);
    let check = bytes.get(CHECK_AT..28).and_then(|check| check.try_into().ok());
    let own = schema.zip(check).filter(|_| is_expected).map(|(schema, check)| Expect { schema, check });
    let expect = own.unwrap_or(Expect { schema: 7, check: [7; 16] });
    let Some((header, payload)) = open_measured(&bytes, &expect, &limits) else { return Ok(()) };
    assert_eq!((header.schema, header.check), (expect.schema, expect.check));
    assert_eq!(created_ms(&bytes), Some(header.created_ms));
    // A value that was opened can be sealed and opened like any other.
    let again = seal(&header, &payload, &limits).expect("within the limits");
    assert!(open_measured(&again, &expect, &limits).is_some_and(|again| again == (header, payload)));
    Ok(())
}

/// Opens the bytes, and asserts that this allocates no more memory than allowed.
fn open_measured(bytes: &[u8], expect: &Expect, limits: &Limits) -> Option<(Header, Vec<u8>)> {
    let mut opened = Err(Unreadable::Foreign);
    let allocated = measure(|| opened = open(bytes, expect, limits)).bytes_max;
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let limit = u64::try_from(limits.max_bytes).unwrap_or(u64::MAX);
    let raw = limit.min((length + 1) * MAX_EXPANSION);
    // The list of tags grows by doubling, and exists twice while it is moved.
    assert!(allocated <= raw + 4 * length + 1024, "{allocated} bytes for {length} with a limit of {limit}");
    let opened = opened.ok()?;
    assert!(opened.payload.len() <= limits.max_bytes);
    Some((opened.header, opened.payload.into_owned()))
}

fn sealed(input: &mut Unstructured<'_>) -> Result<()> {
    let (header, limits) = (header(input)?, limits(input)?);
    let (at, mask) = (input.arbitrary::<u32>()?, input.arbitrary::<u8>()?);
    // Repeated, so that some payloads can be compressed.
    let times = input.int_in_range(1..=40)?;
    let payload = input.bytes(input.len())?.repeat(times);
    let expect = Expect { schema: header.schema, check: header.check };
    let Ok(mut bytes) = seal(&header, &payload, &limits) else {
        assert!(payload.len() > limits.max_bytes);
        return Ok(());
    };
    let whole = open_measured(&bytes, &expect, &limits).expect("what was just sealed");
    assert!(whole == (header, payload), "it came back as another one");
    let position = usize::try_from(at).unwrap_or(0) % bytes.len();
    bytes[position] ^= mask;
    let flipped = open_measured(&bytes, &expect, &limits);
    // If the changed byte shifts the fields, bytes of a payload that was crafted for this could take the
    // place of the checksum. That is forgery, which a checksum does not detect.
    let is_shifting = [FLAGS_AT, TAG_COUNT_AT].contains(&position) || is_upper_tag_count(&whole.0, position);
    assert!(is_shifting || flipped.is_none_or(|flipped| flipped == whole), "a flipped byte was not found");
    Ok(())
}

fn is_upper_tag_count(header: &Header, position: usize) -> bool {
    let has_stale_fields = header.stale_ms > 0 || header.spare_ms > 0;
    header.tags.len() > 255 && position == LENGTHS_AT + if has_stale_fields { 16 } else { 0 }
}

fn limits(input: &mut Unstructured<'_>) -> Result<Limits> {
    let max_bytes = match input.int_in_range(0..=3)? {
        0 => usize::MAX,
        _ => input.arbitrary::<u16>()?.into(),
    };
    let compress_above = input.arbitrary::<Option<u8>>()?.map(usize::from);
    Ok(Limits { max_bytes, compress_above })
}

fn header(input: &mut Unstructured<'_>) -> Result<Header> {
    let tag_count = match input.int_in_range(0..=9)? {
        0 => input.int_in_range(250..=300)?,
        few => few / 3,
    };
    let tag = |input: &mut Unstructured<'_>| {
        Ok(TagGeneration { tag: input.arbitrary()?, generation: input.arbitrary()? })
    };
    Ok(Header {
        codec: input.arbitrary()?,
        is_empty: input.arbitrary()?,
        is_stub: input.arbitrary()?,
        schema: input.arbitrary()?,
        check: input.arbitrary()?,
        created_ms: input.arbitrary()?,
        fresh_ms: input.arbitrary()?,
        stale_ms: input.arbitrary::<Option<u64>>()?.unwrap_or(0),
        spare_ms: input.arbitrary::<Option<u64>>()?.unwrap_or(0),
        tags: (0..tag_count).map(|_| tag(input)).collect::<Result<_>>()?,
    })
}

/// Corrects the lengths and the checksum, if there is room for them. Otherwise `open` would reject the bytes
/// before it reads any further.
fn forge(bytes: &mut [u8]) {
    let byte = |at: usize| usize::from(bytes.get(at).copied().unwrap_or(0));
    let is_compressed = byte(FLAGS_AT) & 1 != 0;
    let stale_len = if byte(FLAGS_AT) & 4 == 0 { 0 } else { 16 };
    let (extra, upper_count) =
        if byte(FLAGS_AT) & 16 == 0 { (0, 0) } else { (1, byte(LENGTHS_AT + stale_len)) };
    let lengths = LENGTHS_AT + stale_len + extra + 16 * (byte(TAG_COUNT_AT) + 256 * upper_count);
    let checksum = lengths + 8;
    let Some(stored) = bytes.len().checked_sub(checksum + 4) else { return };
    let stored = u32::try_from(stored).unwrap_or(u32::MAX).to_le_bytes();
    bytes[lengths..lengths + 4].copy_from_slice(&stored);
    if !is_compressed {
        bytes[lengths + 4..checksum].copy_from_slice(&stored);
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..checksum]);
    hasher.update(&bytes[checksum + 4..]);
    bytes[checksum..checksum + 4].copy_from_slice(&hasher.finalize().to_le_bytes());
}
