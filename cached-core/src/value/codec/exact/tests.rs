//! Tests: every kind of value round-trips, the bytes do not change, and other bytes are refused.

#![allow(clippy::option_option, clippy::zero_sized_map_values, reason = "such types exist")]

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{END, FALSE, MAP, NONE, SEQUENCE, SOME, TEXT, TRUE, decode, encode};

fn encoded<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    encode(value, &mut out).unwrap();
    out
}

fn round_trip<T: Serialize + DeserializeOwned>(value: &T) -> T {
    decode(&encoded(value)).unwrap()
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Kind {
    Plain,
    Wrapped(Option<Option<u8>>),
    Pair(u8, i64),
    Named { title: String, note: Option<()> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Wide {
    flag: bool,
    letter: char,
    ints: (i8, i16, i32, i64, i128, u8, u16, u32, u64, u128),
    floats: (f32, f64),
    nested: Option<Option<Option<u8>>>,
    unit: Option<()>,
    unit_struct: Option<Unit>,
    octets: Vec<u8>,
    fixed: [u8; 5],
    words: Vec<u16>,
    kinds: Vec<Kind>,
    by_pair: BTreeMap<(i32, Option<bool>), String>,
    by_kind: BTreeMap<Kind, Vec<Option<u8>>>,
    text: String,
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Plain),
        any::<Option<Option<u8>>>().prop_map(Kind::Wrapped),
        any::<(u8, i64)>().prop_map(|(a, b)| Kind::Pair(a, b)),
        any::<(String, bool)>().prop_map(|(title, some)| Kind::Named { title, note: some.then_some(()) }),
    ]
}

fn wide() -> impl Strategy<Value = Wide> {
    let small = any::<(bool, char, (f32, f64), Option<Option<Option<u8>>>, bool, bool, [u8; 5], String)>();
    let ints = any::<(i8, i16, i32, i64, i128, u8, u16, u32, u64, u128)>();
    let list = proptest::collection::vec(kinds(), 0..4);
    let by_pair = proptest::collection::btree_map(any::<(i32, Option<bool>)>(), any::<String>(), 0..4);
    let by_kind = proptest::collection::btree_map(kinds(), any::<Vec<Option<u8>>>(), 0..3);
    (small, ints, any::<Vec<u8>>(), any::<Vec<u16>>(), list, by_pair, by_kind).prop_map(
        |(small, ints, octets, words, kinds, by_pair, by_kind)| {
            let (flag, letter, floats, nested, unit, unit_struct, fixed, text) = small;
            let (unit, unit_struct) = (unit.then_some(()), unit_struct.then_some(Unit));
            Wide {
                flag,
                letter,
                ints,
                floats,
                nested,
                unit,
                unit_struct,
                octets,
                fixed,
                words,
                kinds,
                by_pair,
                by_kind,
                text,
            }
        },
    )
}

proptest! {
    #[test]
    fn every_kind_of_value_round_trips(value in wide()) {
        prop_assert_eq!(round_trip(&value), value);
    }

    #[test]
    fn truncated_bytes_are_refused(value in wide(), cut in any::<prop::sample::Index>()) {
        let bytes = encoded(&value);
        prop_assert!(decode::<Wide>(&bytes[..cut.index(bytes.len())]).is_err());
    }

    #[test]
    fn bytes_after_the_value_are_refused(value in wide(), more in any::<u8>()) {
        let mut bytes = encoded(&value);
        bytes.push(more);
        prop_assert!(decode::<Wide>(&bytes).is_err());
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(prop_oneof![0_u8..18, any::<u8>()], 0..200)) {
        let _ = decode::<serde_json::Value>(&bytes);
        let _ = decode::<Wide>(&bytes);
        let _ = decode::<Loose>(&bytes);
        let _ = decode::<serde::de::IgnoredAny>(&bytes);
    }
}

#[test]
fn floats_keep_every_bit() {
    let odd =
        [f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, f64::from_bits(0x7ff0_dead_beef_0001)];
    for value in odd {
        assert_eq!(round_trip(&value).to_bits(), value.to_bits());
        assert_eq!(round_trip(&Some(value)).unwrap().to_bits(), value.to_bits());
    }
    assert_eq!(round_trip(&f32::NAN).to_bits(), f32::NAN.to_bits());
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Loose {
    Number(u64),
    Octets(Vec<u8>),
    Object { id: u64 },
    Maybe { maybe: Option<Box<Loose>> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    number: u64,
    #[serde(flatten)]
    more: Loose,
    #[serde(flatten)]
    rest: HashMap<String, serde_json::Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Tagged {
    Big { octets: Vec<u8>, maybe: Option<Option<u8>> },
    Small,
}

#[test]
fn values_read_through_a_serde_buffer_round_trip() {
    for value in [
        Loose::Number(7),
        Loose::Number(u64::MAX),
        Loose::Octets(vec![0, 255, 7]),
        Loose::Maybe { maybe: Some(Box::new(Loose::Object { id: 1 })) },
        Loose::Object { id: u64::MAX },
    ] {
        assert_eq!(round_trip(&value), value);
    }
    for value in [Tagged::Big { octets: vec![1, 2, 255], maybe: Some(None) }, Tagged::Small] {
        assert_eq!(round_trip(&value), value);
    }
    let flat = Flat {
        number: 1,
        more: Loose::Object { id: 1 },
        rest: HashMap::from([("x".into(), serde_json::json!([1, null, -2.5, "a", {"b": []}]))]),
    };
    let read = round_trip(&flat);
    assert_eq!((read.number, &read.more, &read.rest["x"]), (1, &flat.more, &flat.rest["x"]));
    let json = Some(serde_json::Value::Null);
    assert_eq!(round_trip(&json), json);
}

#[test]
fn u8_sequences_are_written_as_bytes() {
    let megabyte = vec![200_u8; 1 << 20];
    assert_eq!(encoded(&megabyte).len(), (1 << 20) + 9);
    assert_eq!(round_trip(&megabyte), megabyte);
    let mixed: (u8, u8, u16) = (1, 2, 3);
    assert_eq!(round_trip(&mixed), mixed);
    assert_eq!(round_trip(&vec![Some(1_u8), None]), [Some(1), None]);
    assert_eq!(decode::<String>(&encoded(&Some("text"))).unwrap(), "text", "the type was an `Option` before");
    assert_eq!(
        decode::<Option<String>>(&encoded("text")).unwrap().unwrap(),
        "text",
        "and the other way round"
    );
}

#[test]
fn depth_has_a_limit_in_both_directions() {
    fn nested(depth: usize) -> serde_json::Value {
        (0..depth).fold(serde_json::Value::Null, |inner, _| serde_json::Value::Array(vec![inner]))
    }
    assert_eq!(round_trip(&nested(255)), nested(255));
    assert!(encode(&nested(256), &mut Vec::new()).unwrap_err().is_codec());
    for tag in [2_u8, 15, 16] {
        assert!(decode::<serde_json::Value>(&vec![tag; 1 << 20]).is_err());
    }
}

// These bytes never change: other bytes would be another codec.
#[test]
fn bytes_are_golden() {
    let value =
        (Some(None::<u8>), -3_i64, 300_u16, 'ß', "ab", f32::NAN, [1_u8, 2], Kind::Pair(1, -1), u128::MAX, ());
    let golden = [
        &[15, 2, 1, 6, 2, 5, 0xAC, 2, 11, 0xDF, 1, 12, 2, b'a', b'b', 9, 0, 0, 0xC0, 0x7F][..],
        &[14, 2, 0, 0, 0, 0, 0, 0, 0, 1, 2, 16, 12, 4, b'P', b'a', b'i', b'r', 15, 5, 1, 6, 0, 17, 17],
        &[7],
        &[255; 16],
        &[0, 17],
    ];
    assert_eq!(encoded(&value), golden.concat());
    assert_eq!(encoded(&(false, true)), [15, 3, 4, 17]);
    assert_eq!(encoded(&1.5_f64), [10, 0, 0, 0, 0, 0, 0, 0xF8, 0x3F]);
    assert_eq!(encoded(&BTreeMap::from([(1_u8, Unit)])), [16, 5, 1, 0, 17]);
    assert_eq!(encoded(&i128::MIN)[0], 8);
    assert_eq!(encoded(&Vec::<u8>::new()), [15, 17]);
}

#[test]
fn messages_hold_no_values() {
    let errors = [
        decode::<u64>(&encoded("hunter2")).unwrap_err(),
        decode::<Kind>(&encoded("hunter2")).unwrap_err(),
        decode::<Kind>(&encoded(&BTreeMap::from([("hunter2", 1)]))).unwrap_err(),
    ];
    for error in errors {
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}

/// A type of nothing but levels, so that a level need not consume a byte.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Chain(Option<Box<Chain>>);

#[test]
fn decoding_a_type_of_nested_options_terminates() {
    for byte in [FALSE, TRUE, TEXT, SEQUENCE, MAP, END, 255] {
        assert!(decode::<Chain>(&[byte]).is_err(), "{byte}");
        assert!(decode::<Chain>(&[SOME, byte]).is_err(), "{byte}");
    }
    let chain = Chain(Some(Box::new(Chain(Some(Box::new(Chain(None)))))));
    assert_eq!(decode::<Chain>(&[SOME, SOME, NONE]).unwrap(), chain);
}
