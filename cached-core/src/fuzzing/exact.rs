//! Fuzz function for values in the binary format that every process reads, whichever format it writes.

use std::collections::BTreeMap;

use allocation_counter::measure;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::value::codec::{CodecId, Format};

/// Maximum number of bytes allocated per byte read. A byte stands for at most one element of a list or of a
/// table, and a list grows by doubling.
const MAX_PER_BYTE: u64 = 1024;

/// Checks that any bytes can be decoded safely, for types of many shapes.
///
/// Decoding returns a value or an error. It does not panic or overflow the stack, and it allocates memory in
/// proportion to the bytes. A decoded value can be encoded and decoded again.
///
/// # Panics
/// Panics if one of these properties does not hold.
pub fn exact(data: &[u8]) {
    check_type::<serde_json::Value>(data);
    check_type::<Sample>(data);
    check_type::<Vec<Shape>>(data);
    check_type::<Chain>(data);
    check_type::<BTreeMap<String, Vec<u8>>>(data);
    check_type::<BTreeMap<(i128, char), Option<Option<bool>>>>(data);
    check_type::<(u8, [i16; 3], String)>(data);
    check_type::<Vec<()>>(data);
    let _ = Format::Exact.decode::<serde::de::IgnoredAny>(data);
}

fn check_type<T: Serialize + DeserializeOwned>(data: &[u8]) {
    let mut value = None;
    let allocated = measure(|| value = Format::Exact.decode::<T>(data).ok()).bytes_max;
    let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
    assert!(allocated <= MAX_PER_BYTE * (length + 4), "{allocated} bytes for {length}");
    let Some(value) = value else { return };
    // Compared by its bytes, because a NaN is not equal to itself.
    let Some(bytes) = encoded(&value) else { return };
    let again: T = Format::Exact.decode(&bytes).expect("what was just written");
    assert!(encoded(&again).as_ref() == Some(&bytes), "it came back as another value");
    let written = Format::Json.write(&value, true, &mut Vec::new());
    assert!(written.is_ok_and(|CodecId(id)| [1, 4].contains(&id)), "a value that one format has a form for");
}

fn encoded<T: Serialize>(value: &T) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    Format::Exact.encode(value, &mut bytes).ok().map(|()| bytes)
}

#[derive(Serialize, Deserialize)]
struct Sample {
    id: u64,
    name: Option<String>,
    #[serde(default)]
    next: Option<Box<Sample>>,
    wide: Option<u128>,
    single: f32,
}

#[derive(Serialize, Deserialize)]
enum Shape {
    Nothing,
    One(i8),
    Several(u16, char),
    Named { text: String, inner: Option<Box<Shape>> },
}

/// Type that consists only of nesting levels.
#[derive(Serialize, Deserialize)]
struct Chain(Option<Box<Chain>>);
