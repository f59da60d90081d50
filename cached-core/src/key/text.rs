//! The text of a placeholder `{arg}` in a key of L2.
//!
//! A scalar is readable; everything else is a digest. Different values of one type have different texts, with
//! the one exception below.
//!
//! | value | text |
//! |---|---|
//! | integer, `bool` | `-5`, `true` |
//! | float | `0.5`, `1.0`; `-0.0` is `0.0`; NaN is refused |
//! | string, `char`, unit variant | escaped; `%S` and the text if that reads as one of the above |
//! | `None`, `()` | `%N`, `%U` |
//! | `Some(x)`, newtype struct | the text of the content |
//! | sequence, map, struct, bytes, variant with content, `Some(None)` | `%H` and a digest |
//! | any value with a text longer than 64 bytes | `%H` and a digest, so that keys stay short |
//!
//! ASCII letters and digits, `-`, `_`, `.` and `@` stay as they are; every other byte is `%` and two
//! upper-case hex digits. (The set of letters beyond ASCII changes with the version of Unicode, and keys
//! would change with it.) So no argument can bring a `:`, a glob character or a brace into the key, nor any
//! of the marks above: `N`, `U`, `H` and `S` are not hex digits.
//!
//! A type that is sometimes a number and sometimes a string, such as a JSON value, must keep `1` and `"1"`
//! apart. A string that reads as a number or a `bool` therefore begins with `%S`. This holds for strings of
//! every type, because a value does not reveal whether its type could also be a number. A `&str`, a newtype
//! of a `String` and a string type of another crate have one text, so each of them can invalidate an
//! entry that another one has named.
//!
//! The exception: values that a human-readable format such as JSON writes alike have the same text. An
//! example is a unit variant and a string of the same letters in one untagged enum.
//!
//! The digest is the first half of the hash of the [canonical bytes](super::encode).

use std::{
    any,
    fmt::{self, Write},
};

use serde::{
    Serialize, Serializer,
    ser::{self, Impossible},
};

use super::encode::{Refusal, encode};
use crate::base::planted::planted;

#[cfg(test)]
mod tests;

/// Largest length of a text in bytes; a digest replaces a longer one.
const MAX_TEXT_LEN: usize = 64;

/// Appends the text of `value`, except for the digest in which it may end.
///
/// In that case the function returns the bytes to hash, and the caller appends their digest.
///
/// # Errors
///
/// Returns the errors of [`encode`]. `out` is then as it was.
pub(crate) fn write_text<T: Serialize + ?Sized>(
    value: &T,
    out: &mut String,
) -> Result<Option<Vec<u8>>, Refusal> {
    let start = out.len();
    let mut content = Content::Unknown;
    if value.serialize(Scalar { start, inside_some: false, content: &mut content, out }).is_ok() {
        let is_text =
            || any::type_name::<T>().ends_with("str") || any::type_name::<T>().ends_with("::String");
        if planted!("mark-by-type") && out[start..].starts_with("%S") && is_text() {
            out.replace_range(start..start + 2, "");
        }
        return Ok(None);
    }
    // Either a digest is due, or the value is refused: then `encode` returns the reason.
    out.truncate(start);
    let bytes = match content {
        Content::OfSome(bytes) => bytes?,
        Content::Unknown | Content::Whole => encoded(value)?,
    };
    out.push_str("%H");
    Ok(Some(bytes))
}

fn encoded<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    encode(value, &mut bytes)?;
    Ok(bytes)
}

/// Content of the digest of a value that has no readable text.
enum Content {
    Unknown,
    /// The bytes of the value in a `Some`, because the text of a `Some` is that of its content.
    OfSome(Result<Vec<u8>, Refusal>),
    /// The whole value: it is a `None` in a `Some`, which must differ from a `None`.
    Whole,
}

/// Appends the first half of a digest, as 32 lower-case hex digits.
pub(crate) fn digest_text(digest: &[u8; 32], out: &mut String) {
    push_hex(&digest[..16], b"0123456789abcdef", out);
}

fn push_hex(bytes: &[u8], digits: &[u8; 16], out: &mut String) {
    for byte in bytes {
        out.push(char::from(digits[usize::from(byte >> 4)]));
        out.push(char::from(digits[usize::from(byte & 15)]));
    }
}

/// Returns whether a number or a `bool` could have this text.
///
/// The text of a number is digits, perhaps after a `-`, and perhaps with a point between them; or it is `inf`
/// or `-inf`. This rule decides and not a parser of numbers, because another answer would be another name.
fn reads_as_scalar(text: &str) -> bool {
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    matches!(text, "true" | "false" | "inf" | "-inf") || (is_digits(whole) && is_digits(fraction))
}

/// Writer that escapes its input, and returns an error once a digest will replace the text anyway.
struct Escape<'a> {
    out: &'a mut String,
    start: usize,
}

impl Write for Escape<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| self.write_char(c))
    }

    fn write_char(&mut self, c: char) -> fmt::Result {
        if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@') {
            self.out.push(c);
        } else {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                self.out.push('%');
                push_hex(&[byte], b"0123456789ABCDEF", self.out);
            }
        }
        if self.out.len() - self.start > MAX_TEXT_LEN { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Error of a value that has no readable text.
#[derive(Debug)]
struct NoText;

impl fmt::Display for NoText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a scalar")
    }
}

impl std::error::Error for NoText {}

impl ser::Error for NoText {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

impl From<fmt::Error> for NoText {
    fn from(_: fmt::Error) -> Self {
        Self
    }
}

/// Writes scalars and stops at anything else.
struct Scalar<'a> {
    out: &'a mut String,
    start: usize,
    content: &'a mut Content,
    /// Set inside of a `Some`: `Some(x)` is written as `x`, so `None` is `%N` only outside of it.
    inside_some: bool,
}

impl Scalar<'_> {
    fn number(self, v: impl fmt::Display) -> Result<(), NoText> {
        Ok(write!(self.out, "{v}")?)
    }

    fn float(self, v: impl fmt::Display + Into<f64> + Copy) -> Result<(), NoText> {
        let float = v.into();
        if float.is_nan() {
            return Err(NoText);
        }
        let v = if float == 0.0 { &0.0 as &dyn fmt::Display } else { &v };
        write!(self.out, "{v}")?;
        // The text must not be confused with that of an integer.
        if float.is_finite() && !self.out[self.start..].contains('.') {
            self.out.push_str(".0");
        }
        check_len(self.out, self.start)
    }

    fn string(self, v: impl fmt::Display) -> Result<(), NoText> {
        let Self { out, start, .. } = self;
        write!(Escape { out, start }, "{v}")?;
        if reads_as_scalar(&out[start..]) {
            out.insert_str(start, "%S");
        }
        check_len(out, start)
    }
}

fn check_len(out: &str, start: usize) -> Result<(), NoText> {
    if out.len() - start <= MAX_TEXT_LEN { Ok(()) } else { Err(NoText) }
}

macro_rules! scalars {
    ($($method:ident($ty:ty) = $as:ident;)*) => {$(
        fn $method(self, v: $ty) -> Result<(), NoText> {
            self.$as(v)
        }
    )*};
}

impl Serializer for Scalar<'_> {
    type Ok = ();
    type Error = NoText;
    type SerializeSeq = Impossible<(), NoText>;
    type SerializeTuple = Impossible<(), NoText>;
    type SerializeTupleStruct = Impossible<(), NoText>;
    type SerializeTupleVariant = Impossible<(), NoText>;
    type SerializeMap = Impossible<(), NoText>;
    type SerializeStruct = Impossible<(), NoText>;
    type SerializeStructVariant = Impossible<(), NoText>;

    scalars! {
        serialize_bool(bool) = number;
        serialize_i8(i8) = number;
        serialize_i16(i16) = number;
        serialize_i32(i32) = number;
        serialize_i64(i64) = number;
        serialize_i128(i128) = number;
        serialize_u8(u8) = number;
        serialize_u16(u16) = number;
        serialize_u32(u32) = number;
        serialize_u64(u64) = number;
        serialize_u128(u128) = number;
        serialize_f32(f32) = float;
        serialize_f64(f64) = float;
        serialize_char(char) = string;
        serialize_str(&str) = string;
    }

    fn is_human_readable(&self) -> bool {
        true
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, v: &T) -> Result<(), NoText> {
        self.string(v)
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<(), NoText> {
        Err(NoText)
    }

    fn serialize_none(self) -> Result<(), NoText> {
        if self.inside_some {
            *self.content = Content::Whole;
            return Err(NoText);
        }
        self.out.push_str("%N");
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, v: &T) -> Result<(), NoText> {
        let Self { out, start, content, .. } = self;
        let result = v.serialize(Scalar { out, start, content: &mut *content, inside_some: true });
        if result.is_err() && matches!(content, Content::Unknown) {
            *content = Content::OfSome(encoded(v));
        }
        result
    }

    fn serialize_unit(self) -> Result<(), NoText> {
        self.out.push_str("%U");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), NoText> {
        self.out.push_str("%U");
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, name: &'static str) -> Result<(), NoText> {
        self.string(name)
    }

    fn serialize_newtype_struct<T>(self, _: &'static str, v: &T) -> Result<(), NoText>
    where
        T: Serialize + ?Sized,
    {
        v.serialize(self)
    }

    fn serialize_newtype_variant<T>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), NoText>
    where
        T: Serialize + ?Sized,
    {
        Err(NoText)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, NoText> {
        Err(NoText)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, NoText> {
        Err(NoText)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, NoText> {
        Err(NoText)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, NoText> {
        Err(NoText)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, NoText> {
        Err(NoText)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, NoText> {
        Err(NoText)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, NoText> {
        Err(NoText)
    }
}
