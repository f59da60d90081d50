//! Tests: different values have different texts, and no text holds a delimiter or a wildcard.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
    net::Ipv4Addr,
};

use proptest::prelude::*;

use super::{
    super::hasher::{Blake3, KeyHasher},
    *,
};
use crate::error::Error;

fn append_text<T: Serialize + ?Sized>(value: &T, out: &mut String) -> Result<(), Refusal> {
    if let Some(bytes) = write_text(value, out)? {
        digest_text(&Blake3.hash(&bytes), out);
    }
    Ok(())
}

fn text_of<T: Serialize + ?Sized>(value: &T) -> String {
    let mut out = String::new();
    append_text(value, &mut out).expect("a value that has a text");
    out
}

/// Returns `%H`, then the digest of the canonical bytes.
fn digest<T: Serialize + ?Sized>(value: &T) -> String {
    let mut bytes = Vec::new();
    encode(value, &mut bytes).expect("a value that has a key");
    let mut out = String::from("%H");
    digest_text(&Blake3.hash(&bytes), &mut out);
    out
}

fn is_harmless(text: &str) -> bool {
    text.len() <= MAX_TEXT_LEN && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.@%".contains(c))
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Id(String);

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
struct Transparent(String);

#[derive(Clone, Debug, PartialEq, Serialize)]
enum Level {
    Low,
    #[serde(rename = "a:*b")]
    High,
    Exactly(i8),
    Named {
        name: String,
    },
}

/// A type with values of many kinds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum Loose {
    Null(()),
    Flag(bool),
    Whole(i64),
    Float(f64),
    Text(String),
    List(Vec<Loose>),
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a:%NUHS0-9.]{0,3}",
        "[*?\\[\\]\\\\{} \n\0é/@_-]{0,3}",
        "(true|false|inf|-inf|nan|1|1\\.0|-1|%31|1e3|\\+1)",
        "[a\u{4E2D}:]{15,70}",
        any::<String>(),
    ]
}

fn any_float() -> impl Strategy<Value = f64> {
    prop_oneof![
        (-2..3_i32).prop_map(f64::from),
        Just(-0.0),
        any::<f64>().prop_filter("not NaN", |float| !float.is_nan()),
    ]
}

fn any_loose() -> impl Strategy<Value = Loose> {
    let leaf = prop_oneof![
        Just(Loose::Null(())),
        any::<bool>().prop_map(Loose::Flag),
        (-2..3_i64).prop_map(Loose::Whole),
        any_float().prop_map(Loose::Float),
        any_text().prop_map(Loose::Text),
    ];
    leaf.prop_recursive(1, 4, 3, |loose| prop::collection::vec(loose, 0..3).prop_map(Loose::List))
}

fn any_level() -> impl Strategy<Value = Level> {
    prop_oneof![
        Just(Level::Low),
        Just(Level::High),
        (-2..3_i8).prop_map(Level::Exactly),
        any_text().prop_map(|name| Level::Named { name }),
    ]
}

/// Checks pairs of values of one type, equal ones among them.
fn check<T, S>(values: &S)
where
    T: Serialize + PartialEq + Clone + fmt::Debug,
    S: Strategy<Value = T>,
{
    let pair = (values, values, prop::bool::weighted(0.2));
    let mut runner = prop::test_runner::TestRunner::new(ProptestConfig::with_cases(500));
    let checked = runner.run(&pair, |(a, b, equal)| {
        let b = if equal { a.clone() } else { b };
        let (text_a, text_b) = (text_of(&a), text_of(&b));
        prop_assert_eq!(text_a == text_b, a == b, "{} {}", text_a, text_b);
        prop_assert!(is_harmless(&text_a), "{}", text_a);
        Ok(())
    });
    checked.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn equal_texts_are_equal_values() {
    check(&any_text());
    check(&any_text().prop_map(Id));
    check(&any_text().prop_map(Transparent));
    check(&any::<char>());
    check(&any::<i8>());
    check(&any::<u128>());
    check(&any_float());
    check(&any::<f32>().prop_filter("not NaN", |float| !float.is_nan()));
    check(&(-2..3_i8).prop_map(f32::from));
    check(&any_level());
    check(&any_loose());
    check(&prop::option::of(any_loose()));
    check(&prop::option::of(prop::option::of(any_text())));
    check(&prop::option::of(prop::option::of(prop::option::of(any::<bool>()))));
    check(&(any_text(), any_text()));
    check(&prop::collection::vec(any_text(), 0..3));
}

fn all_differ<T: Serialize + fmt::Debug>(values: impl IntoIterator<Item = T>) {
    let mut seen = HashMap::new();
    for value in values {
        if let Some(other) = seen.insert(text_of(&value), format!("{value:?}")) {
            panic!("{value:?} and {other} are both {}", text_of(&value));
        }
    }
}

#[test]
fn different_values_have_different_texts() {
    let mut texts: Vec<String> = vec![String::new()];
    for at in 0..1 + 7 + 49 + 343 {
        texts.extend(["%", "3", "A", ":", "N", "S", "1"].map(|end| format!("{}{end}", texts[at])));
    }
    all_differ(&texts);
    all_differ(texts.iter().map(Some).chain([None]));

    let numbers = -2..3_i32;
    let mut loose: Vec<Loose> = vec![Loose::Null(()), Loose::Flag(true), Loose::Flag(false)];
    loose.extend(numbers.clone().map(|n| Loose::Whole(n.into())));
    loose.extend(numbers.map(|n| Loose::Float(n.into())));
    loose.extend([0.5, 1e21, f64::INFINITY, f64::NEG_INFINITY].map(Loose::Float));
    let scalar_texts: HashSet<String> = loose.iter().map(text_of).collect();
    loose.extend(texts.into_iter().chain(scalar_texts).collect::<HashSet<_>>().into_iter().map(Loose::Text));
    all_differ(loose);
}

#[test]
fn scalars_are_readable() {
    #[derive(Serialize)]
    struct Nothing;

    assert_eq!(text_of(&-5_i64), "-5");
    assert_eq!(text_of(&u128::MAX), "340282366920938463463374607431768211455");
    assert_eq!(text_of(&true), "true");
    assert_eq!(text_of(&'x'), "x");
    assert_eq!(text_of("upsc"), "upsc");
    assert_eq!(text_of(""), "");
    assert_eq!(text_of(&Id("upsc".into())), "upsc");
    assert_eq!(text_of("me@x.org_1-2"), "me@x.org_1-2");
    assert_eq!(text_of("übung中"), "%C3%BCbung%E4%B8%AD");
    assert_eq!(text_of(&Level::Low), "Low");
    assert_eq!(text_of(&Some(7)), "7");
    assert_eq!(text_of(&None::<u8>), "%N");
    assert_eq!((text_of(&()), text_of(&Nothing)), ("%U".into(), "%U".into()));
    assert_eq!(text_of(&Ipv4Addr::new(1, 2, 3, 4)), "1.2.3.4", "human-readable");
    assert_eq!(text_of(&format_args!("{}-{}", 1, 2)), "1-2", "displayed");
}

#[test]
fn floats_are_readable_and_differ_from_integers() {
    assert_eq!(text_of(&0.5_f32), "0.5");
    assert_eq!(text_of(&0.1_f32), "0.1");
    assert_eq!(text_of(&1.0_f64), "1.0");
    assert_eq!(text_of(&-0.0_f64), "0.0");
    assert_eq!(text_of(&-0.0_f32), text_of(&0.0_f32));
    assert_eq!(text_of(&f64::NEG_INFINITY), "-inf");
    assert_eq!(text_of(&f64::MAX), digest(&f64::MAX), "309 digits");
}

#[test]
fn delimiters_and_pattern_characters_are_escaped_in_key_text() {
    assert_eq!(text_of("a:b"), "a%3Ab");
    assert_eq!(text_of("%N"), "%25N");
    assert_eq!(text_of("*?[]{}\\ \n"), "%2A%3F%5B%5D%7B%7D%5C%20%0A");
    assert_eq!(text_of("€"), "%E2%82%AC");
    assert_eq!(text_of(&':'), "%3A");
    assert_eq!(text_of(&Level::High), "a%3A%2Ab");
}

#[test]
fn compound_values_are_digests() {
    assert_eq!(text_of(&(1, 2)), digest(&(1, 2)));
    assert_eq!(text_of(&(1, 2)).len(), 34);
    assert_eq!(text_of(&vec!["a"]), digest(&vec!["a"]));
    assert_eq!(text_of(&BTreeMap::from([(1, 2)])), digest(&HashMap::from([(1, 2)])));
    assert_eq!(text_of(&Level::Exactly(1)), digest(&Level::Exactly(1)));
    assert_eq!(text_of(&Some(None::<u8>)), digest(&Some(None::<u8>)));
    assert_eq!(text_of(&Some(Some((1, 2)))), digest(&(1, 2)), "as its content");
    assert_ne!(text_of(&Some(Some(None::<u8>))), text_of(&Some(None::<Option<u8>>)));
    let set = || (0..100_u8).collect::<HashSet<_>>();
    assert_eq!(text_of(&set()), text_of(&set()));
}

#[test]
fn text_beyond_the_limit_is_a_digest() {
    let long = "x".repeat(65);
    assert_eq!(text_of(&long[1..]), long[1..]);
    assert_eq!(text_of(&long), digest(&long));
    assert_eq!(text_of(&":".repeat(21)).len(), 63);
    assert_eq!(text_of(&":".repeat(22)), digest(&":".repeat(22)));
}

/// A string type of another crate, with a name that does not reveal this.
struct Foreign(&'static str);

impl Serialize for Foreign {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

#[test]
fn one_text_in_different_types_has_one_name() {
    const LONG: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    for text in
        ["", "x", "42", "-1.50", "true", "inf", "NaN", "1e5", "007", "a:b", "Ada Lovelace", "%S1", "7", LONG]
    {
        let name = text_of(text);
        assert_eq!(text_of(&text.to_owned()), name);
        assert_eq!(text_of(&Id(text.to_owned())), name);
        assert_eq!(text_of(&Transparent(text.to_owned())), name);
        assert_eq!(text_of(&Foreign(text)), name);
        assert_eq!(text_of(&Some(Foreign(text))), name);
        assert_eq!(text_of(&Cow::Borrowed(text)), name);
        assert_eq!(text_of(&Box::<str>::from(text)), name);
        assert_eq!(text_of(&Loose::Text(text.to_owned())), name);
        assert_eq!(text_of(&serde_json::json!(text)), name);
        assert_eq!(text_of(&format_args!("{text}")), name);
        if let (Some(c), 1) = (text.chars().next(), text.len()) {
            assert_eq!(text_of(&c), name);
        }
    }
}

#[test]
fn only_texts_that_read_as_a_number_or_bool_are_marked() {
    for text in
        ["0", "-0", "42", "007", "1.0", "-1.25", "18446744073709551616", "true", "false", "inf", "-inf"]
    {
        assert_eq!(text_of(text), format!("%S{text}"));
    }
    for text in
        ["", "-", ".", "1.", ".5", "--1", "1.2.3", "1e5", "NaN", "nan", "infinity", "True", "0x1", "1_000"]
    {
        assert_eq!(text_of(text), text);
    }
}

#[test]
fn a_string_that_could_be_a_number_is_marked() {
    use serde_json::{Value, json};
    assert_eq!(text_of(&json!(1)), "1");
    assert_eq!(text_of(&json!("1")), "%S1");
    assert_eq!(text_of(&json!("true")), "%Strue");
    assert_eq!(text_of(&json!("x")), "x");
    assert_eq!(text_of(&json!("%S1")), "%25S1");
    assert_eq!(text_of(&Value::Null), "%U");
    assert_ne!(text_of(&json!(1.0)), text_of(&json!(1)));
}

#[test]
fn refused_value_leaves_the_output_unchanged() {
    let mut out = String::from("prefix:");
    for error in [
        append_text(&f64::NAN, &mut out),
        append_text(&Some(f32::NAN), &mut out),
        append_text(&("a", f64::NAN), &mut out),
    ] {
        assert!(error.is_err_and(|refusal| Error::from(refusal).is_key()));
        assert_eq!(out, "prefix:");
    }
    append_text(&1, &mut out).expect("a number");
    append_text("1", &mut out).expect("a string");
    assert_eq!(out, "prefix:1%S1", "each text is appended");
}

/// A change here gives every key that is in use another name.
#[test]
fn texts_are_golden() {
    assert_eq!(text_of(&("upsc", 7_u32)), "%Hd4022724021c88c4fca54f090d7c05c5");
    let mut out = String::new();
    digest_text(&[7, 0xAB].repeat(16).try_into().expect("32 bytes"), &mut out);
    assert_eq!(out, "07ab".repeat(8));
}
