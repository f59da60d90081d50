use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Codec, Format, Target};
use crate::Error;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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

/// JSON under an id of its own, which may forget to fill the target.
#[derive(Debug)]
struct Custom {
    id: u8,
    fills: bool,
}

impl Codec for Custom {
    fn id(&self) -> u8 {
        self.id
    }

    fn encode(&self, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<(), Error> {
        serde_json::to_writer(out, value).map_err(|_| Error::codec("not a JSON value"))
    }

    fn decode(&self, bytes: &[u8], target: &mut Target<'_>) -> Result<(), Error> {
        if !self.fills {
            return Ok(());
        }
        let mut json = serde_json::Deserializer::from_slice(bytes);
        target.fill(&mut json)?;
        json.end().map_err(|_| Error::codec("bytes after the value"))
    }
}

fn custom(id: u8) -> Format {
    Format::Custom(Arc::new(Custom { id, fills: true }))
}

fn formats() -> Vec<Format> {
    vec![
        Format::Json,
        #[cfg(feature = "msgpack")]
        Format::MessagePack,
        #[cfg(feature = "postcard")]
        Format::Postcard,
        custom(200),
    ]
}

/// Those that write the names of fields.
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
    fn what_was_encoded_is_decoded(sample in samples()) {
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
    fn cut_bytes_are_refused(sample in samples(), cut in any::<prop::sample::Index>()) {
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
    assert_eq!(custom(255).id(), 255);
}

#[test]
fn custom_ids_stay_out_of_the_built_in_range() {
    assert!(custom(127).validate().is_err_and(|error| error.is_config()));
    assert!(custom(128).validate().is_ok());
    assert!(Format::Json.validate().is_ok());
}

#[test]
fn encoding_appends() {
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

#[test]
fn what_json_cannot_hold_is_an_error() {
    let by_pair = BTreeMap::from([((1, 2), 3)]);
    for format in [Format::Json, custom(200)] {
        assert!(format.encode(&by_pair, &mut Vec::new()).unwrap_err().is_codec());
    }
    let nan = encoded(&Format::Json, &f64::NAN);
    assert!(Format::Json.decode::<f64>(&nan).unwrap_err().is_codec());
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let read = |json: &str| Format::Json.decode::<serde_json::Value>(json.as_bytes());
    assert!(read(&nested(127)).is_ok() && read(&nested(128)).unwrap_err().is_codec());
}

#[test]
fn a_codec_that_fills_nothing_is_an_error() {
    let format = Format::Custom(Arc::new(Custom { id: 128, fills: false }));
    assert!(format.decode::<u8>(b"1").unwrap_err().is_codec());
}
