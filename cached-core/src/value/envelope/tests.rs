//! Tests: an envelope opens unchanged, damaged bytes are refused, and forged ones exceed no limit.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const EXPECT: Expect =
    Expect { schema: 0x1122_3344_5566_7788, check: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15] };
const LIMITS: Limits = Limits { max_bytes: 1000, compress_above: None };
const COMPRESSING: Limits = Limits { max_bytes: 1000, compress_above: Some(0) };
const JSON: &[u8] = br#"{"id":7,"name":"Ada"}"#;

/// Offset of the stored length in an envelope without optional fields and tags; the other offsets follow.
const STORED_LEN_AT: usize = 44;
const RAW_LEN_AT: usize = 48;
const CHECKSUM_AT: usize = 52;
const PAYLOAD_AT: usize = 56;

fn header() -> Header {
    Header {
        codec: 1,
        is_empty: false,
        is_stub: false,
        schema: EXPECT.schema,
        check: EXPECT.check,
        created_ms: 1_700_000_000_123,
        fresh_ms: 86_400_000,
        stale_ms: 0,
        spare_ms: 0,
        tags: Vec::new(),
    }
}

fn expect_of(header: &Header) -> Expect {
    Expect { schema: header.schema, check: header.check }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn set_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// Recomputes the checksum after a forgery; bytes that are too short for one stay as they are.
fn forge_checksum(bytes: &mut [u8]) {
    let byte = |at: usize| usize::from(bytes.get(at).copied().unwrap_or(0));
    let stale_len = if byte(2) & 4 == 0 { 0 } else { 16 };
    let (more, upper_count) = if byte(2) & 16 == 0 { (0, 0) } else { (1, byte(44 + stale_len)) };
    let at = CHECKSUM_AT + stale_len + more + 16 * (byte(3) + 256 * upper_count);
    if bytes.len() >= at + 4 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&bytes[..at]);
        hasher.update(&bytes[at + 4..]);
        set_u32(bytes, at, hasher.finalize());
    }
}

fn refusal(bytes: &[u8], limits: &Limits) -> Option<Unreadable> {
    open(bytes, &EXPECT, limits).err()
}

/// Checks that sealing gives exactly `golden`, and that `golden` opens.
fn check_golden(golden: &str, header: &Header, payload: &[u8]) {
    let golden = unhex(golden);
    assert!(seal(header, payload, &LIMITS).unwrap() == golden, "version 1 is not written as it was");
    check_opens(&golden, header, payload);
}

fn check_opens(golden: &[u8], header: &Header, payload: &[u8]) {
    let opened = open(golden, &EXPECT, &LIMITS).expect("version 1 must be readable for ever");
    assert_eq!((&opened.header, &*opened.payload), (header, payload));
}

// The golden bytes were put together by another program, from the table of this module. They never change: a
// new layout is a new version, and these stay.

#[test]
fn golden_json() {
    let golden = "010100008877665544332211000102030405060708090a0b0c0d0e0f7b68e5cf8b010000005c260500000000\
                  1500000015000000816fe3e07b226964223a372c226e616d65223a22416461227d";
    check_golden(golden, &header(), JSON);
}

#[test]
fn golden_tags() {
    let golden = "010100028877665544332211000102030405060708090a0b0c0d0e0f7b68e5cf8b010000005c260500000000\
                  a8a7a6a5a4a3a2a101000000000000000200000000000000ffffffffffffffff\
                  1500000015000000767cc9947b226964223a372c226e616d65223a22416461227d";
    let tags = vec![
        TagGeneration { tag: 0xa1a2_a3a4_a5a6_a7a8, generation: 1 },
        TagGeneration { tag: 2, generation: u64::MAX },
    ];
    check_golden(golden, &Header { tags, ..header() }, JSON);
}

#[test]
fn golden_stale() {
    let golden = "010104008877665544332211000102030405060708090a0b0c0d0e0f7b68e5cf8b010000005c260500000000\
                  c0270900000000001027000000000000\
                  150000001500000036ea62277b226964223a372c226e616d65223a22416461227d";
    check_golden(golden, &Header { stale_ms: 600_000, spare_ms: 10_000, ..header() }, JSON);
}

#[test]
fn golden_empty() {
    let golden = "010102008877665544332211000102030405060708090a0b0c0d0e0f7b68e5cf8b010000005c260500000000\
                  00000000000000002b42d2c2";
    check_golden(golden, &Header { is_empty: true, ..header() }, b"");
}

/// 100 times `a`, compressed by hand.
const GOLDEN_COMPRESSED: &str = "010101008877665544332211000102030405060708090a0b0c0d0e0f7b68e5cf8b010000005c260500000000\
     0c00000064000000e7cd45b61f6101004a60616161616161";

#[cfg(feature = "compression")]
#[test]
fn golden_compressed() {
    check_opens(&unhex(GOLDEN_COMPRESSED), &header(), &[b'a'; 100]);
    // If an update of the compressor produces other bytes for the same value, this line may be adapted. The
    // one above may not.
    assert!(seal(&header(), &[b'a'; 100], &COMPRESSING).unwrap() == unhex(GOLDEN_COMPRESSED));
}

#[cfg(not(feature = "compression"))]
#[test]
fn without_the_feature_nothing_is_compressed_and_compressed_values_are_a_miss() {
    assert_eq!(refusal(&unhex(GOLDEN_COMPRESSED), &LIMITS), Some(Unreadable::NotCompressedHere));
    let sealed = seal(&header(), &[b'a'; 100], &COMPRESSING).unwrap();
    assert!(sealed == seal(&header(), &[b'a'; 100], &LIMITS).unwrap());
}

#[test]
fn golden_schema() {
    assert_eq!(schema_fingerprint(&["app::Syllabus"], 1), 0x11a3_2888_89f2_f108);
    assert_ne!(schema_fingerprint(&["app::Syllabus"], 1), schema_fingerprint(&["app::Syllabus"], 2));
    assert_ne!(schema_fingerprint(&["app::Syllabus"], 1), schema_fingerprint(&["app::Answer"], 1));
    assert_ne!(schema_fingerprint(&["app::", "Answer"], 1), schema_fingerprint(&["app::Answer", ""], 1));
    assert_ne!(schema_fingerprint(&["a\u{1}\0\0\0"], 1), schema_fingerprint(&["a"], 1));
}

#[test]
fn created_ms_is_read_without_checking_the_rest() {
    let bytes = seal(&header(), JSON, &LIMITS).unwrap();
    assert_eq!(created_ms(&bytes), Some(header().created_ms));
    assert_eq!(created_ms(b"{\"id\":7, \"name\": \"Ada Lovelace, Countess\"}"), None);
    assert_eq!(created_ms(&bytes[..30]), None);
}

fn headers() -> impl Strategy<Value = Header> {
    let tag = any::<(u64, u64)>().prop_map(|(tag, generation)| TagGeneration { tag, generation });
    let tags = prop_oneof![vec(tag.clone(), 0..4), vec(tag.clone(), 255..258), vec(tag, 511..514)];
    let fixed = any::<(u8, bool, bool, u64, [u8; 16], u64, u64)>();
    (fixed, prop_oneof![Just((0, 0)), any::<(u64, u64)>()], tags).prop_map(
        |(fixed, (stale_ms, spare_ms), tags)| {
            let (codec, is_empty, is_stub, schema, check, created_ms, fresh_ms) = fixed;
            Header { codec, is_empty, is_stub, schema, check, created_ms, fresh_ms, stale_ms, spare_ms, tags }
        },
    )
}

/// Payloads of few different bytes or of many, so that some can be compressed.
fn payloads() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..300), vec(0_u8..2, 0..1000)]
}

fn limits() -> impl Strategy<Value = Limits> {
    proptest::option::of(0_usize..500).prop_map(|above| Limits { max_bytes: 1000, compress_above: above })
}

proptest! {
    #[test]
    fn sealed_envelope_opens_unchanged(header in headers(), payload in payloads(), limits in limits()) {
        let bytes = seal(&header, &payload, &limits).unwrap();
        prop_assert!(bytes.len() <= PAYLOAD_AT + 17 + 16 * header.tags.len() + payload.len());
        let opened = open(&bytes, &expect_of(&header), &limits).unwrap();
        prop_assert_eq!((&opened.header, &*opened.payload), (&header, &payload[..]));
    }

    #[test]
    fn open_reports_truncated_when_bytes_are_cut(
        header in headers(), payload in payloads(), limits in limits(), cut in any::<prop::sample::Index>(),
    ) {
        let bytes = seal(&header, &payload, &limits).unwrap();
        let cut = cut.index(bytes.len());
        prop_assert_eq!(open(&bytes[..cut], &expect_of(&header), &limits).err(), Some(Unreadable::Truncated));
    }

    #[test]
    fn bytes_after_the_payload_are_refused(header in headers(), payload in payloads(), more in vec(any::<u8>(), 1..9)) {
        let mut bytes = seal(&header, &payload, &LIMITS).unwrap();
        bytes.extend(more);
        forge_checksum(&mut bytes);
        prop_assert_eq!(open(&bytes, &expect_of(&header), &LIMITS).err(), Some(Unreadable::Corrupt));
    }

    #[test]
    fn a_flipped_bit_is_refused(
        header in headers(), payload in payloads(), limits in limits(), at in any::<prop::sample::Index>(), bit in 0_u8..8,
    ) {
        let mut bytes = seal(&header, &payload, &limits).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        prop_assert!(open(&bytes, &expect_of(&header), &limits).is_err());
    }

    #[test]
    fn random_bytes_are_refused(mut bytes in vec(any::<u8>(), 0..2000), ours in any::<bool>(), limits in limits()) {
        if let (true, Some(version)) = (ours, bytes.first_mut()) {
            *version = 1;
        }
        prop_assert!(open(&bytes, &EXPECT, &limits).is_err());
    }

    /// Makes forgeries pass the checksum, so that they reach the code behind it.
    #[test]
    fn forged_bytes_never_panic_and_never_exceed_the_limit(
        payload in payloads(), limits in limits(),
        forgeries in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = seal(&header(), &payload, &limits).unwrap();
        for (at, byte) in forgeries {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        forge_checksum(&mut bytes);
        if let Ok(opened) = open(&bytes, &EXPECT, &limits) {
            prop_assert!(opened.payload.len() <= limits.max_bytes);
        }
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let tags = vec![TagGeneration { tag: 1, generation: 2 }];
    let sealed = seal(&Header { tags, ..header() }, JSON, &LIMITS).unwrap();
    for at in 0..sealed.len() * 8 {
        let mut bytes = sealed.clone();
        bytes[at / 8] ^= 1 << (at % 8);
        assert!(refusal(&bytes, &LIMITS).is_some(), "bit {at}");
    }
}

#[test]
fn the_payload_is_borrowed_unless_compressed() {
    let sealed = seal(&header(), JSON, &LIMITS).unwrap();
    let opened = open(&sealed, &EXPECT, &LIMITS).unwrap();
    assert!(matches!(opened.payload, std::borrow::Cow::Borrowed(_)));
    assert!(sealed.ends_with(JSON) && sealed.len() == sealed.capacity());
}

#[test]
fn envelope_of_unknown_version_or_flag_is_foreign() {
    let sealed = seal(&header(), JSON, &LIMITS).unwrap();
    for version in [0, 2, b'L', b'{', 255] {
        let mut bytes = sealed.clone();
        bytes[0] = version;
        forge_checksum(&mut bytes);
        assert_eq!(refusal(&bytes, &LIMITS), Some(Unreadable::Foreign));
    }
    for unknown_flag in 5..8 {
        let mut bytes = sealed.clone();
        bytes[2] |= 1 << unknown_flag;
        assert_eq!(refusal(&bytes, &LIMITS), Some(Unreadable::Corrupt), "the checksum comes first");
        forge_checksum(&mut bytes);
        assert_eq!(refusal(&bytes, &LIMITS), Some(Unreadable::Foreign));
    }
}

#[test]
fn envelope_of_other_schema_or_key_is_refused_as_such() {
    let sealed = seal(&header(), JSON, &LIMITS).unwrap();
    let refusal = |expect: Expect| open(&sealed, &expect, &LIMITS).err();
    assert_eq!(refusal(Expect { schema: 1, ..EXPECT }), Some(Unreadable::OtherSchema));
    assert_eq!(refusal(Expect { check: [0; 16], ..EXPECT }), Some(Unreadable::OtherKey));
    assert_eq!(refusal(EXPECT), None);
}

#[test]
fn payload_limit_is_inclusive() {
    let payload = [b'a'; 100];
    let at = |max_bytes| Limits { max_bytes, compress_above: None };
    let sealed = seal(&header(), &payload, &at(100)).unwrap();
    assert!(seal(&header(), &payload, &at(99)).unwrap_err().is_codec());
    assert_eq!(refusal(&sealed, &at(100)), None);
    assert_eq!(refusal(&sealed, &at(99)), Some(Unreadable::TooLarge));
    // The claimed length decides, before the payload is read.
    assert_eq!(refusal(&sealed[..PAYLOAD_AT], &at(99)), Some(Unreadable::TooLarge));
}

#[cfg(feature = "compression")]
#[test]
fn payload_limit_holds_for_the_decompressed_size() {
    let payload = [b'a'; 100];
    let at = |max_bytes| Limits { max_bytes, compress_above: Some(0) };
    let sealed = seal(&header(), &payload, &at(100)).unwrap();
    assert!(sealed.len() < PAYLOAD_AT + 99);
    assert!(seal(&header(), &payload, &at(99)).unwrap_err().is_codec());
    assert_eq!(refusal(&sealed, &at(100)), None);
    assert_eq!(refusal(&sealed, &at(99)), Some(Unreadable::TooLarge));
}

#[cfg(feature = "compression")]
#[test]
fn payload_is_compressed_from_the_threshold_if_it_becomes_smaller() {
    let compressed = |payload: &[u8], above| {
        let sealed = seal(&header(), payload, &Limits { max_bytes: 1000, compress_above: above }).unwrap();
        sealed[2] == 1
    };
    assert!(compressed(&[b'a'; 100], Some(100)));
    assert!(!compressed(&[b'a'; 100], Some(101)));
    assert!(!compressed(&[b'a'; 100], None));
    assert!(!compressed(JSON, Some(0)) && !compressed(b"", Some(0)));
    // A compressed form that is as long as the payload is no gain.
    let noise: Vec<u8> =
        (1..=600_u32).map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let as_long = (0..40)
        .map(|end| [noise.as_slice(), &vec![0; end]].concat())
        .find(|payload| lz4_flex::block::compress(payload).len() == payload.len())
        .expect("some end is worth as much as it costs");
    assert!(!compressed(&as_long, Some(0)));
}

#[test]
fn more_than_65535_tags_are_an_error() {
    let tags = |count| Header { tags: vec![TagGeneration { tag: 1, generation: 1 }; count], ..header() };
    assert!(seal(&tags(65_535), JSON, &LIMITS).is_ok());
    assert!(seal(&tags(65_536), JSON, &LIMITS).unwrap_err().is_codec());
}

#[test]
fn longest_envelope_matches_its_limit_and_is_allocated_once() {
    let tags = vec![TagGeneration { tag: 1, generation: 1 }; 65_535];
    let longest = Header { tags, stale_ms: 1, ..header() };
    let limits = Limits { max_bytes: JSON.len(), compress_above: None };
    let sealed = seal(&longest, JSON, &limits).unwrap();
    assert_eq!((sealed.len(), sealed.capacity()), (limits.max_envelope_len(), limits.max_envelope_len()));
    for header in [header(), Header { stale_ms: 1, tags: longest.tags[..2].to_vec(), ..header() }] {
        let sealed = seal(&header, JSON, &limits).unwrap();
        assert_eq!(sealed.len(), sealed.capacity());
    }
    let endless = Limits { max_bytes: usize::MAX, compress_above: None };
    assert_eq!(endless.max_envelope_len() - limits.max_envelope_len(), u32::MAX as usize - JSON.len());
}

#[test]
fn forged_lengths_are_refused_before_anything_is_allocated() {
    let huge = Limits { max_bytes: usize::MAX, compress_above: None };
    let sealed = seal(&header(), JSON, &LIMITS).unwrap();
    let forged = |at, len| {
        let mut bytes = sealed.clone();
        set_u32(&mut bytes, at, len);
        forge_checksum(&mut bytes);
        bytes
    };
    for at in [STORED_LEN_AT, RAW_LEN_AT] {
        assert_eq!(refusal(&forged(at, u32::MAX), &LIMITS), Some(Unreadable::TooLarge));
    }
    assert_eq!(refusal(&forged(STORED_LEN_AT, u32::MAX), &huge), Some(Unreadable::Truncated));
    assert_eq!(refusal(&forged(STORED_LEN_AT, 20), &huge), Some(Unreadable::Corrupt));
    assert_eq!(refusal(&forged(RAW_LEN_AT, u32::MAX), &huge), Some(Unreadable::Corrupt));
}

/// The strongest compression that LZ4 reaches must not be taken for a forgery.
#[cfg(feature = "compression")]
#[test]
fn envelope_opens_at_the_highest_compression_ratio() {
    let payload = vec![0; 1_000_000];
    let limits = Limits { max_bytes: payload.len(), compress_above: Some(0) };
    let sealed = seal(&header(), &payload, &limits).unwrap();
    assert!(sealed.len() < payload.len() / 250);
    assert!(open(&sealed, &EXPECT, &limits).is_ok_and(|opened| *opened.payload == payload));
}

#[cfg(feature = "compression")]
#[test]
fn forged_raw_lengths_are_corrupt() {
    let huge = Limits { max_bytes: usize::MAX, compress_above: None };
    for raw_len in [0, 99, 101, 1000, u32::MAX] {
        let mut bytes = unhex(GOLDEN_COMPRESSED);
        set_u32(&mut bytes, RAW_LEN_AT, raw_len);
        forge_checksum(&mut bytes);
        assert_eq!(refusal(&bytes, &huge), Some(Unreadable::Corrupt), "{raw_len}");
    }
}

/// Linux reports the most memory that the process ever requested, touched or not.
#[cfg(all(feature = "compression", target_os = "linux"))]
#[test]
fn a_forged_raw_length_allocates_nothing_of_its_size() {
    let peak_kib = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap()
    };
    let mut bytes = unhex(GOLDEN_COMPRESSED);
    set_u32(&mut bytes, RAW_LEN_AT, u32::MAX);
    forge_checksum(&mut bytes);
    let before = peak_kib();
    let huge = Limits { max_bytes: usize::MAX, compress_above: None };
    assert_eq!(refusal(&bytes, &huge), Some(Unreadable::Corrupt));
    assert!(peak_kib() - before < 2 << 20, "4 GiB were asked for");
}
