//! Fuzz function for the names of keys, tags and patterns.

use std::collections::BTreeMap;

use arbitrary::{Result, Unstructured};
use serde::{Serialize, Serializer};

use crate::{
    base::glob,
    key::{Blake3, Draft, KeyPart, KeyRef, NameWriter, Parts, Refusal, Writer, flaw, name},
    spec::FunctionSpec,
};

/// Maximum number of bytes in the text of a part.
const MAX_PART_LEN: usize = 64;

/// Maximum depth of nested lists and maps.
const MAX_DEPTH: u8 = 3;

const SPECS: [FunctionSpec; 5] = [
    FunctionSpec::templated("{}"),
    FunctionSpec::templated("f:{}"),
    FunctionSpec::templated("f:{}:{}"),
    FunctionSpec::templated("f:{}:{}:{}"),
    FunctionSpec::templated("f:{}:{}:{}:{}"),
];

/// Checks that names identify their parts, and mean nothing else to a tier.
///
/// Two lists of parts have the same name exactly if they are equal: as a key, as a tag and in any valid
/// template. No byte of a name has a meaning for the tier, and no part exceeds its maximum length. The
/// pattern of a prefix matches exactly the keys that begin with those parts.
///
/// # Panics
/// Panics if one of these properties does not hold.
pub fn key_text(data: &[u8]) {
    let _ = check(&mut Unstructured::new(data));
}

fn check(input: &mut Unstructured<'_>) -> Result<()> {
    let count = input.int_in_range(1..=4)?;
    let pairs = (0..count).map(|_| pair(input)).collect::<Result<Vec<_>>>()?;
    let (ones, others): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let (Some(_), Some(_)) = (texts(&ones), texts(&others)) else { return Ok(()) };
    keys(&ones, &others);
    tags("t:{}/{}:{}:{}", &ones, &others);
    let template = text(input)?;
    tags(&template, &ones, &others);
    Ok(())
}

/// Returns the text of each part; `None` if a part is rejected. The name of all parts must then be rejected,
/// too.
fn texts(parts: &[AnyPart]) -> Option<Vec<String>> {
    let texts: Option<Vec<_>> = parts.iter().map(|part| filled_in("{}", &[part]).ok()).collect();
    for text in texts.iter().flatten() {
        assert!(text.len() <= MAX_PART_LEN, "{} bytes", text.len());
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.@%".contains(&byte)));
    }
    let all = "{}:".repeat(parts.len());
    let whole = filled_in(&all, &parts.iter().collect::<Vec<_>>());
    assert_eq!(
        texts.is_some(),
        whole.is_ok(),
        "a part is refused, and the list is not, or the other way round"
    );
    assert_eq!(texts.is_some(), !parts.iter().any(AnyPart::is_refused));
    texts
}

/// Checks the parts as keys, and the patterns of their prefixes.
fn keys(ones: &[AnyPart], others: &[AnyPart]) {
    let spec = &SPECS[ones.len()];
    let ([one, one_name], [other, other_name]) = (key(spec, ones), key(spec, others));
    let is_same = ones == others;
    assert_eq!(one == other, is_same, "the identity");
    assert_eq!(one_name == other_name, is_same, "the name");
    for (name, parts) in [(&one_name, ones), (&other_name, others)] {
        assert!(name.len() <= "ns:f".len() + (MAX_PART_LEN + 1) * parts.len());
        assert_harmless(name);
    }
    for count in 0..ones.len() {
        let template = format!("ns:f{}:*", ":{}".repeat(count));
        let prefix: Vec<_> = ones[..count].iter().collect();
        let pattern = filled_in(&template, &prefix).expect("parts that were written before");
        assert!(pattern.matches('*').count() == 1, "a part brought a star");
        assert!(glob::matches(&pattern, &one_name));
        let has_prefix = ones[..count] == others[..count];
        assert_eq!(glob::matches(&pattern, &other_name), has_prefix, "another's keys");
    }
}

/// Returns the digest of a key, and its name.
fn key(spec: &FunctionSpec, parts: &[AnyPart]) -> [String; 2] {
    let list = List(parts);
    let mut buffer = Vec::new();
    let key = KeyRef::encode(&mut buffer, spec, &list).expect("parts that have a text").owned();
    let mut other_buffer = Vec::new();
    let hash = crate::key::hash(&mut other_buffer, spec, &list).expect("as before");
    assert!(
        key.as_ref().is_key_of(hash, &mut other_buffer, spec, &list),
        "a key is not found by its own parts"
    );
    let digest = key.digest(&Blake3);
    let name = name(spec, "ns", &digest, &Blake3, &list).expect("parts that have a text");
    [format!("{digest:?}"), name]
}

/// Checks the parts as a tag, if `template` is valid for some number of them.
fn tags(template: &str, ones: &[AnyPart], others: &[AnyPart]) {
    let placeholders = (1..=ones.len()).find(|count| flaw(template, *count, false).is_none());
    let Some(placeholders) = placeholders else { return };
    let (ones, others) = (&ones[..placeholders], &others[..placeholders]);
    let write =
        |parts: &[AnyPart]| filled_in(template, &parts.iter().collect::<Vec<_>>()).expect("as before");
    let (one, other) = (write(ones), write(others));
    assert_eq!(one == other, ones == others, "the tag");
    assert!(one.len() <= template.len() + MAX_PART_LEN * placeholders);
    assert_harmless(&one);
    assert!(!one.contains('*'));
    let parts = ones.iter().map(|part| part as &dyn KeyPart);
    let draft = Draft::new(|writer| writer.write_template(template, parts)).expect("as before");
    assert_eq!(draft.name(&Blake3), one, "a tag of a value is not the tag of a call");
}

fn filled_in(template: &str, parts: &[&AnyPart]) -> std::result::Result<String, Refusal> {
    let parts = parts.iter().map(|part| *part as &dyn KeyPart);
    NameWriter::text(&Blake3, |writer| writer.write_template(template, parts))
}

/// Asserts that no byte of a name has a special meaning for a tier, or ends a text or a line.
fn assert_harmless(name: &str) {
    let is_harmful =
        |byte: u8| byte.is_ascii_control() || byte.is_ascii_whitespace() || b"*?[]\\".contains(&byte);
    assert!(!name.bytes().any(is_harmful), "a byte that has a meaning");
}

/// The parts of a key, with a `:` before each.
struct List<'a>(&'a [AnyPart]);

impl Parts for List<'_> {
    fn write<W: Writer>(&self, writer: &mut W) -> std::result::Result<(), Refusal> {
        writer.literal("f");
        for part in self.0 {
            writer.literal(":");
            writer.part(part)?;
        }
        Ok(())
    }
}

/// Part of a key. Two parts at the same place are of the same kind, as the arguments of a function are.
#[derive(Clone, PartialEq, Serialize)]
#[serde(untagged)]
#[allow(clippy::option_option, reason = "it is what users have")]
enum AnyPart {
    Bool(bool),
    Small(i8),
    Signed(i64),
    Unsigned(u64),
    Wide(u128),
    WideSigned(i128),
    Double(f64),
    Single(f32),
    Char(char),
    Text(String),
    Maybe(Option<String>),
    Nested(Option<Option<String>>),
    Deep(Option<Option<Option<bool>>>),
    Number(Option<f64>),
    Pair((String, String)),
    Raw(Raw),
    Level(Level),
    Loose(Loose),
    MaybeLoose(Option<Loose>),
}

impl AnyPart {
    fn is_refused(&self) -> bool {
        match self {
            Self::Double(number) | Self::Number(Some(number)) => number.is_nan(),
            Self::Single(number) => number.is_nan(),
            Self::Loose(loose) | Self::MaybeLoose(Some(loose)) => loose.is_refused(),
            _ => false,
        }
    }
}

/// Bytes that serialize as bytes; a `Vec<u8>` serializes as a list of numbers.
#[derive(Clone, PartialEq)]
struct Raw(Vec<u8>);

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

#[derive(Clone, PartialEq, Serialize)]
enum Level {
    Low,
    #[serde(rename = "a:*b")]
    High,
    #[serde(rename = "1")]
    One,
    Exactly(i8),
    Between(i8, i8),
    Named {
        name: String,
    },
}

/// JSON value, or a float that JSON cannot represent.
#[derive(Clone, PartialEq, Serialize)]
#[serde(untagged)]
enum Loose {
    Null(()),
    Flag(bool),
    Whole(i64),
    Float(f64),
    Text(String),
    List(Vec<Loose>),
    Map(BTreeMap<String, Loose>),
}

impl Loose {
    fn is_refused(&self) -> bool {
        match self {
            Self::Float(number) => number.is_nan(),
            Self::List(list) => list.iter().any(Self::is_refused),
            Self::Map(map) => map.values().any(Self::is_refused),
            _ => false,
        }
    }
}

/// Returns two parts of the same kind, which usually differ.
fn pair(input: &mut Unstructured<'_>) -> Result<(AnyPart, AnyPart)> {
    let kind = input.int_in_range(0..=18)?;
    let one = part(input, kind)?;
    let other = if input.ratio(1, 4)? { one.clone() } else { part(input, kind)? };
    Ok((one, other))
}

fn part(input: &mut Unstructured<'_>, kind: u8) -> Result<AnyPart> {
    let maybe_text = |input: &mut Unstructured<'_>| {
        let is_some = input.arbitrary::<bool>()?;
        is_some.then(|| text(input)).transpose()
    };
    Ok(match kind {
        0 => AnyPart::Bool(input.arbitrary()?),
        1 => AnyPart::Small(input.arbitrary()?),
        2 => AnyPart::Signed(input.arbitrary()?),
        3 => AnyPart::Unsigned(input.arbitrary()?),
        4 => AnyPart::Wide(input.arbitrary()?),
        5 => AnyPart::WideSigned(input.arbitrary()?),
        6 => AnyPart::Double(float(input)?),
        7 => AnyPart::Single(input.arbitrary()?),
        8 => AnyPart::Char(input.arbitrary()?),
        9 => AnyPart::Maybe(maybe_text(input)?),
        10 => {
            let is_some = input.arbitrary::<bool>()?;
            AnyPart::Nested(is_some.then(|| maybe_text(input)).transpose()?)
        }
        11 => AnyPart::Deep(input.arbitrary()?),
        12 => {
            let is_some = input.arbitrary::<bool>()?;
            AnyPart::Number(is_some.then(|| float(input)).transpose()?)
        }
        13 => AnyPart::Pair((text(input)?, text(input)?)),
        14 => AnyPart::Raw(Raw(input.arbitrary()?)),
        15 => AnyPart::Level(match input.int_in_range(0..=5)? {
            0 => Level::Low,
            1 => Level::High,
            2 => Level::One,
            3 => Level::Exactly(input.arbitrary()?),
            4 => Level::Between(input.arbitrary()?, input.arbitrary()?),
            _ => Level::Named { name: text(input)? },
        }),
        16 => AnyPart::Loose(loose(input, 0)?),
        17 => {
            let is_some = input.arbitrary::<bool>()?;
            AnyPart::MaybeLoose(is_some.then(|| loose(input, 0)).transpose()?)
        }
        _ => AnyPart::Text(text(input)?),
    })
}

/// Returns a float, in half of the cases a small one that could be confused with an integer.
fn float(input: &mut Unstructured<'_>) -> Result<f64> {
    Ok(if input.arbitrary()? { f64::from(input.arbitrary::<i8>()?) } else { input.arbitrary()? })
}

fn loose(input: &mut Unstructured<'_>, depth: u8) -> Result<Loose> {
    let max_kind = if depth < MAX_DEPTH { 6 } else { 4 };
    Ok(match input.int_in_range(0..=max_kind)? {
        0 => Loose::Null(()),
        1 => Loose::Flag(input.arbitrary()?),
        2 => Loose::Whole(if input.arbitrary()? {
            input.arbitrary::<i8>()?.into()
        } else {
            input.arbitrary()?
        }),
        3 => Loose::Float(float(input)?),
        4 => Loose::Text(text(input)?),
        5 => {
            let count = input.int_in_range(0..=3)?;
            Loose::List((0..count).map(|_| loose(input, depth + 1)).collect::<Result<_>>()?)
        }
        _ => {
            let count = input.int_in_range(0..=3)?;
            let entry = |_| Ok((text(input)?, loose(input, depth + 1)?));
            Loose::Map((0..count).map(entry).collect::<Result<_>>()?)
        }
    })
}

/// Returns any text, a text of pieces that have a meaning in names, or one about as long as the longest that
/// is not replaced by a digest.
fn text(input: &mut Unstructured<'_>) -> Result<String> {
    const PIECES: [&str; 24] = [
        "", "%", "S", "N", "U", "H", "G", ":", "*", "{}", "{{", "}}", "/", "1", "0", "-", ".", "true", "inf",
        "a", "\0", "é", "%S1", "f",
    ];
    Ok(match input.int_in_range(0..=3)? {
        0 => input.arbitrary::<String>()?,
        1 => {
            let length = input.int_in_range(60..=68)?;
            let mut long = (*input.choose(&["x", "1", "a:", "é"])?).repeat(length);
            long.push_str(input.choose(&PIECES)?);
            long
        }
        _ => {
            let count = input.int_in_range(0..=9)?;
            (0..count).map(|_| input.choose(&PIECES).copied()).collect::<Result<String>>()?
        }
    })
}
