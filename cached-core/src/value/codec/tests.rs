//! Tests: every format reads the value that was written, or refuses the bytes or the value.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Codec, Format, Target};
use crate::error::Error;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Kind {
    Plain,
    Named { title: String },
    Pair(u8, i64),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sample {
    id: u64,
    text: String,
    maybe: Option<i32>,
    list: Vec<Kind>,
    map: BTreeMap<String, bool>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Old {
    a: u8,
    b: u8,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Moved {
    b: u8,
    a: u8,
}

#[derive(Debug, Deserialize)]
struct Renamed {
    #[expect(dead_code, reason = "it is never read successfully")]
    a: u8,
    #[expect(dead_code, reason = "it is never read successfully")]
    c: u8,
}

/// JSON under a custom id, with the option not to fill the target.
#[derive(Debug)]
struct Custom {
    id: u8,
    fills_target: bool,
}

impl Codec for Custom {
    fn id(&self) -> u8 {
        self.id
    }

    fn encode(&self, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<(), Error> {
        serde_json::to_writer(out, value).map_err(|_| Error::codec("not a JSON value"))
    }

    fn decode(&self, bytes: &[u8], target: &mut Target<'_>) -> Result<(), Error> {
        if !self.fills_target {
            return Ok(());
        }
        let mut json = serde_json::Deserializer::from_slice(bytes);
        target.fill(&mut json)?;
        json.end().map_err(|_| Error::codec("bytes after the value"))
    }
}

fn custom(id: u8) -> Format {
    Format::Custom(Arc::new(Custom { id, fills_target: true }))
}

fn formats() -> Vec<Format> {
    vec![
        Format::Json,
        #[cfg(feature = "msgpack")]
        Format::MessagePack,
        #[cfg(feature = "postcard")]
        Format::Postcard,
        Format::Exact,
        custom(200),
    ]
}

/// Formats that write the names of fields.
fn named_formats() -> Vec<Format> {
    formats().into_iter().filter(|format| format.id() != 3).collect()
}

fn encoded<T: Serialize>(format: &Format, value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    format.encode(value, &mut out).unwrap();
    out
}

fn samples() -> impl Strategy<Value = Sample> {
    let kind = prop_oneof![
        Just(Kind::Plain),
        any::<String>().prop_map(|title| Kind::Named { title }),
        any::<(u8, i64)>().prop_map(|(a, b)| Kind::Pair(a, b)),
    ];
    let list = proptest::collection::vec(kind, 0..4);
    let map = proptest::collection::btree_map(any::<String>(), any::<bool>(), 0..4);
    (any::<u64>(), any::<String>(), any::<Option<i32>>(), list, map)
        .prop_map(|(id, text, maybe, list, map)| Sample { id, text, maybe, list, map })
}

proptest! {
    #[test]
    fn every_format_round_trips_values(sample in samples()) {
        for format in formats() {
            prop_assert_eq!(&format.decode::<Sample>(&encoded(&format, &sample)).unwrap(), &sample);
        }
    }

    #[test]
    fn bytes_after_the_value_are_refused(sample in samples(), more in 0_u8..) {
        for format in formats() {
            let mut bytes = encoded(&format, &sample);
            bytes.push(more);
            let is_json_white_space = matches!(format.id(), 1 | 200) && b" \t\r\n".contains(&more);
            prop_assert_eq!(format.decode::<Sample>(&bytes).is_ok(), is_json_white_space, "{:?}", format);
        }
    }

    #[test]
    fn truncated_bytes_are_refused(sample in samples(), cut in any::<prop::sample::Index>()) {
        for format in formats() {
            let bytes = encoded(&format, &sample);
            prop_assert!(format.decode::<Sample>(&bytes[..cut.index(bytes.len())]).is_err(), "{:?}", format);
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for format in formats() {
            let _ = format.decode::<Sample>(&bytes);
        }
    }
}

#[test]
fn ids_are_fixed() {
    assert_eq!(Format::default().id(), 1);
    assert_eq!(Format::Json.id(), 1);
    #[cfg(feature = "msgpack")]
    assert_eq!(Format::MessagePack.id(), 2);
    #[cfg(feature = "postcard")]
    assert_eq!(Format::Postcard.id(), 3);
    assert_eq!(Format::Exact.id(), 4);
    assert_eq!(custom(255).id(), 255);
}

#[test]
fn custom_ids_stay_out_of_the_built_in_range() {
    assert!(custom(127).validate().is_err_and(|error| error.is_config()));
    assert!(custom(128).validate().is_ok());
    assert!(Format::Json.validate().is_ok());
}

#[test]
fn encode_appends_to_the_buffer() {
    for format in formats() {
        let mut out = b"before".to_vec();
        format.encode("text", &mut out).unwrap();
        assert_eq!(format.decode::<String>(out.strip_prefix(b"before").unwrap()).unwrap(), "text");
    }
}

#[test]
fn json_is_readable() {
    assert_eq!(encoded(&Format::Json, &Old { a: 1, b: 2 }), br#"{"a":1,"b":2}"#);
}

#[test]
fn moved_fields_keep_their_values() {
    for format in named_formats() {
        let bytes = encoded(&format, &Old { a: 1, b: 2 });
        assert_eq!(format.decode::<Moved>(&bytes).unwrap(), Moved { a: 1, b: 2 }, "{format:?}");
    }
}

#[test]
fn renamed_fields_are_an_error() {
    for format in named_formats() {
        let bytes = encoded(&format, &Old { a: 1, b: 2 });
        assert!(format.decode::<Renamed>(&bytes).unwrap_err().is_codec(), "{format:?}");
    }
}

#[cfg(feature = "postcard")]
#[test]
fn postcard_swaps_moved_fields_as_documented() {
    let bytes = encoded(&Format::Postcard, &Old { a: 1, b: 2 });
    assert_eq!(Format::Postcard.decode::<Moved>(&bytes).unwrap(), Moved { a: 2, b: 1 });
}

#[test]
fn messages_hold_no_values() {
    #[derive(Debug, Serialize)]
    #[serde(rename_all = "lowercase")]
    enum Written {
        Hunter2,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase", deny_unknown_fields)]
    enum Read {
        Other,
    }

    for format in formats() {
        let variant = encoded(&format, &Some(Written::Hunter2));
        let text = encoded(&format, &"hunter2");
        let map = encoded(&format, &BTreeMap::from([("hunter2", 42_u8)]));
        let number = encoded(&format, &42_u8);
        let errors = [
            format.decode::<Option<u64>>(&variant).err(),
            format.decode::<Vec<Read>>(&text).err(),
            format.decode::<Read>(&text).err(),
            format.decode::<Old>(&map).err(),
            format.decode::<Vec<Read>>(&number).err(),
            format.decode::<bool>(&number).err(),
        ];
        for error in errors.into_iter().flatten() {
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("hunter2") && !shown.contains("42"), "{format:?}: {shown}");
        }
        assert!(format.decode::<Read>(&text).is_err() && format.decode::<bool>(&number).is_err());
    }
    let _ = Read::Other;
}

/// Returns whether the codec refuses to write a value, instead of writing one that is read as another.
fn is_refused(format: &Format, value: &(impl Serialize + ?Sized)) -> bool {
    format.encode(value, &mut Vec::new()).is_err_and(|error| error.is_codec())
}

#[test]
fn json_rejects_values_it_cannot_represent() {
    let json = &Format::Json;
    for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert!(is_refused(json, &odd) && is_refused(json, &Some(odd)) && is_refused(json, &[Some(odd)]));
    }
    assert!(is_refused(json, &f32::NAN));
    #[derive(Serialize)]
    struct Unit;
    #[derive(Serialize)]
    struct Newtype<T>(T);
    assert!(is_refused(json, &Some(None::<u8>)) && is_refused(json, &[Some(Some(None::<u8>))]));
    assert!(
        is_refused(json, &Some(())) && is_refused(json, &Some(Unit)) && is_refused(json, &Some(Newtype(())))
    );
    assert!(is_refused(json, &Some(serde_json::Value::Null)));
    assert!(is_refused(json, &BTreeMap::from([((1, 2), 3)])) && is_refused(json, &BTreeMap::from([(1, 2)])));
    assert!(is_refused(json, &(u128::from(u64::MAX) + 1)) && is_refused(json, &i128::MIN));
    assert!(is_refused(json, &vec![1_u8; 64]) && is_refused(json, &[vec![1_u8; 64]]));

    // Values that look similar, and are read as they were.
    assert!(
        !is_refused(json, &None::<Option<u8>>) && !is_refused(json, &()) && !is_refused(json, &[None::<u8>])
    );
    assert!(!is_refused(json, &Some(Some(Some(1)))) && !is_refused(json, &Some(vec![None::<u8>])));
    assert!(!is_refused(json, &Some(Newtype([None::<u8>]))));
    assert!(!is_refused(json, &BTreeMap::from([(Kind::Plain, 'x'), (Kind::Plain, 'y')])));
    assert!(!is_refused(json, &u128::from(u64::MAX)) && !is_refused(json, &i128::from(i64::MIN)));
    assert!(!is_refused(json, &vec![1_u8; 63]) && !is_refused(json, &vec![1_u16; 1000]));
    let mut mixed: Vec<serde_json::Value> = vec![1.into(); 100];
    mixed.push("x".into());
    assert!(!is_refused(json, &mixed));

    let nested = |depth: usize| {
        (0..depth).fold(serde_json::Value::Null, |inner, _| serde_json::Value::Array(vec![inner]))
    };
    assert!(!is_refused(json, &nested(127)) && is_refused(json, &nested(128)));
    assert!(json.decode::<serde_json::Value>(&encoded(json, &nested(127))).is_ok());
}

#[cfg(feature = "msgpack")]
#[test]
fn message_pack_rejects_values_it_cannot_represent() {
    let format = &Format::MessagePack;
    assert!(is_refused(format, &Some(None::<u8>)) && is_refused(format, &Some(())));
    assert!(is_refused(format, &u128::MAX) && is_refused(format, &vec![1_u8; 64]));
    assert!(!is_refused(format, &Some(f64::NAN)) && !is_refused(format, &BTreeMap::from([((1, 2), 3)])));
}

#[test]
fn value_without_a_form_in_a_format_is_written_in_exact() {
    type Odd = (Option<Option<u8>>, Vec<u8>, BTreeMap<(u8, u8), f64>);
    let odd: Odd = (Some(None), vec![7; 1000], BTreeMap::from([((1, 2), f64::INFINITY)]));
    for format in formats() {
        let mut out = b"before".to_vec();
        let written = format.write(&odd, true, &mut out).unwrap();
        let is_own = matches!(format.id(), 3 | 4);
        assert_eq!(written.0, if is_own { format.id() } else { 4 }, "{format:?}");
        let bytes = out.strip_prefix(b"before").unwrap();
        for reader in formats() {
            assert_eq!(
                reader.with_id(written).unwrap().decode::<Odd>(bytes).unwrap(),
                odd,
                "{format:?} {reader:?}"
            );
        }
        let plain = vec![Some("text".to_owned()), None];
        assert_eq!(format.write(&plain, true, &mut Vec::new()).unwrap().0, format.id());
    }
    assert!(
        Format::Json.with_id(super::CodecId(200)).is_none()
            && custom(201).with_id(super::CodecId(200)).is_none()
    );
}

#[test]
fn checked_write_falls_back_to_exact_when_the_form_cannot_be_read() {
    /// A `u8` when it is read, but text when it is written in a human-readable format.
    #[derive(Debug, PartialEq)]
    struct Moody;

    impl Serialize for Moody {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            if serializer.is_human_readable() {
                serializer.serialize_str("moody")
            } else {
                serializer.serialize_u8(1)
            }
        }
    }

    impl<'de> Deserialize<'de> for Moody {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            u8::deserialize(deserializer).map(|_| Self)
        }
    }

    assert_eq!(Format::Json.write(&Moody, false, &mut Vec::new()).unwrap().0, 1);
    let mut out = Vec::new();
    assert_eq!(Format::Json.write(&Moody, true, &mut out).unwrap().0, 4);
    assert_eq!(Format::Exact.decode::<Moody>(&out).unwrap(), Moody);

    /// A type that can be written and never read.
    #[derive(Debug, Serialize)]
    struct Lost;

    impl<'de> Deserialize<'de> for Lost {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Err(serde::de::Error::custom("lost"))
        }
    }

    assert!(Format::Json.write(&Lost, true, &mut Vec::new()).unwrap_err().is_codec());
    assert!(Format::Json.write(&Lost, false, &mut Vec::new()).is_ok());
}

#[test]
fn decode_fails_when_the_codec_leaves_its_target_empty() {
    let format = Format::Custom(Arc::new(Custom { id: 128, fills_target: false }));
    assert!(format.decode::<u8>(b"1").unwrap_err().is_codec());
}
