//! A binary form of Serde's data model that preserves every value.
//!
//! Most formats have no form for something that Serde can express, and write something else instead. JSON and
//! `MessagePack` write `Some(None)` as `None`; JSON writes a NaN as `null` and bytes as a list of numbers.
//! Here every kind of value has a form of its own. Names of fields and variants are written, so a struct is
//! still read correctly after its fields have moved.
//!
//! A value is a tag and its content. Lengths are LEB128; other numbers of several bytes are little endian.
//!
//! | tag | kind | content |
//! |---|---|---|
//! | 0 | unit, unit struct | |
//! | 1 | `None` | |
//! | 2 | `Some` | the value inside |
//! | 3, 4 | `false`, `true` | |
//! | 5 | an integer from 0 to 2^64 - 1 | LEB128 |
//! | 6 | an integer from -2^63 to -1 | LEB128 of its complement |
//! | 7, 8 | a larger `u128`, another `i128` | 16 bytes |
//! | 9, 10 | `f32`, `f64` | its 4 or 8 bytes, so that a NaN keeps its payload |
//! | 11 | `char` | LEB128 of its number |
//! | 12 | string, unit variant | length, UTF-8 |
//! | 13 | bytes | length, bytes |
//! | 14 | sequence or tuple of `u8` only, not empty | 8 bytes length, bytes |
//! | 15 | any other sequence or tuple | the elements, then tag 17 |
//! | 16 | map, struct, variant with content (one entry) | keys and values in turn, then tag 17 |
//!
//! Values may be nested up to [`DEPTH`] levels; deeper ones are rejected when they are written.

mod read;
#[cfg(test)]
mod tests;
mod write;

pub(super) use read::decode;
pub(super) use write::encode;

/// Greatest nesting depth, where each `Some` is a level. Reading recurses, so there has to be a limit.
const DEPTH: u8 = 255;

const UNIT: u8 = 0;
const NONE: u8 = 1;
const SOME: u8 = 2;
const FALSE: u8 = 3;
const TRUE: u8 = 4;
const POSITIVE: u8 = 5;
const NEGATIVE: u8 = 6;
const U128: u8 = 7;
const I128: u8 = 8;
const F32: u8 = 9;
const F64: u8 = 10;
const CHAR: u8 = 11;
const TEXT: u8 = 12;
const BYTES: u8 = 13;
const PACKED: u8 = 14;
const SEQUENCE: u8 = 15;
const MAP: u8 = 16;
const END: u8 = 17;

/// Number of bytes of the length after [`PACKED`].
///
/// The number is fixed, because the length is known only when the sequence has ended.
const PACKED_LEN: usize = 8;
