//! Tests: equal bytes are equal values, the bytes do not change, and a value without a form is refused.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    hash::BuildHasher,
    panic,
};

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde::ser::{SerializeMap, SerializeTuple};

use super::*;

fn bytes<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    encode(value, &mut out).expect("a value that has a key");
    assert!(is_same(&out, value) && !is_same(&[&*out, &[0]].concat(), value));
    for cut in [0, out.len() / 2, out.len() - 1] {
        assert!(!is_same(&out[..cut], value), "the first {cut} of {}", out.len());
        let other = [&out[..cut], &[!out[cut]], &out[cut + 1..]].concat();
        assert!(!is_same(&other, value), "the byte at {cut} of {}", out.len());
    }
    out
}

/// Returns whether these are the bytes of `value`, without putting the latter into memory.
fn is_same<T: Serialize + ?Sized>(bytes: &[u8], value: &T) -> bool {
    let (mut buffer, mut before) = (Vec::new(), b"before".to_vec());
    let mut sink = Compare::new(bytes, &mut buffer);
    encode_into(value, &mut sink).expect("a value that has a key");
    let is_same = sink.is_same();
    // Bytes that are left in the buffer do not matter.
    let mut sink = Compare::new(bytes, &mut before);
    encode_into(value, &mut sink).expect("a value that has a key");
    assert_eq!(is_same, sink.is_same());
    is_same
}

fn hash<T: Serialize + ?Sized>(value: &T) -> u64 {
    let mut buffer = Vec::new();
    let hasher = foldhash::quality::FixedState::with_seed(7).build_hasher();
    let mut sink = Hash::new(hasher, &mut buffer);
    encode_into(value, &mut sink).expect("a value that has a key");
    sink.finish()
}

fn refused<T: Serialize + ?Sized>(value: &T) -> bool {
    let mut out = b"before".to_vec();
    let refused = encode(value, &mut out).is_err_and(|refusal| Error::from(refusal).is_key());
    assert!(!refused || out == b"before", "a refused value leaves the buffer as it was");
    let hasher = foldhash::quality::FixedState::with_seed(7).build_hasher();
    assert_eq!(encode_into(value, &mut Hash::new(hasher, &mut Vec::new())).is_err(), refused);
    assert_eq!(encode_into(value, &mut Compare::new(&[], &mut Vec::new())).is_err(), refused);
    refused
}

/// A value that uses `serialize_bytes`, as no type of `std` does.
#[derive(Clone, Debug, PartialEq)]
struct Blob(Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

/// A map with several values under one key, in an order that matters.
#[derive(Clone, Debug, PartialEq)]
struct Multimap(Vec<(u8, Node)>);

impl Serialize for Multimap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.0.iter().try_for_each(|(key, value)| map.serialize_entry(key, value))?;
        map.end()
    }
}

struct Shown<T>(T);

impl<T: fmt::Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Nothing;

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Wrapped(HashSet<i8>);

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Pair(Box<Node>, Box<Node>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
enum Color {
    Red,
    Blue,
    Mixed(Vec<String>),
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(clippy::option_option, clippy::box_collection, reason = "odd types are what this is about")]
enum Node {
    Left,
    Right,
    Unit(()),
    Nothing(Nothing),
    Bool(bool),
    Narrow(i8, u8),
    Wide(i128, u128),
    Whole(i64),
    Single(f32),
    Double(f64),
    Letter(char),
    Text(String),
    Blob(Blob),
    Maybe(Option<Option<String>>),
    Child(Option<Box<Node>>),
    List(Vec<Node>),
    Array([Option<bool>; 2]),
    Tuple((String, String)),
    Pair(Pair),
    Record {
        #[serde(skip_serializing_if = "Option::is_none")]
        a: Option<Box<Node>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        b: Option<Box<Node>>,
        c: String,
    },
    Map(HashMap<String, Node>),
    Sorted(BTreeMap<Option<i8>, Node>),
    Multi(Multimap),
    Set(HashSet<Color>),
    SetOfSets(HashSet<BTreeSet<u8>>),
    Held(Box<HashSet<String>>),
    Wrapped(Wrapped),
}

impl Node {
    /// Returns the same value, with maps and sets made in another order under another hash seed.
    fn rebuilt(&self) -> Self {
        fn set<T: Clone + Eq + std::hash::Hash>(set: &HashSet<T>) -> HashSet<T> {
            let mut elements: Vec<T> = set.iter().cloned().collect();
            elements.reverse();
            elements.into_iter().collect()
        }
        let boxed = |node: &Self| Box::new(node.rebuilt());
        match self {
            Self::Child(child) => Self::Child(child.as_deref().map(boxed)),
            Self::List(list) => Self::List(list.iter().map(Self::rebuilt).collect()),
            Self::Pair(Pair(a, b)) => Self::Pair(Pair(boxed(a), boxed(b))),
            Self::Record { a, b, c } => {
                let part = |part: &Option<Box<Self>>| part.as_deref().map(boxed);
                Self::Record { a: part(a), b: part(b), c: c.clone() }
            }
            Self::Map(map) => {
                let mut entries: Vec<_> = map.iter().map(|(k, v)| (k.clone(), v.rebuilt())).collect();
                entries.reverse();
                Self::Map(entries.into_iter().collect())
            }
            Self::Sorted(map) => Self::Sorted(map.iter().map(|(k, v)| (*k, v.rebuilt())).collect()),
            Self::Multi(Multimap(entries)) => {
                Self::Multi(Multimap(entries.iter().map(|(k, v)| (*k, v.rebuilt())).collect()))
            }
            Self::Set(it) => Self::Set(set(it)),
            Self::SetOfSets(it) => Self::SetOfSets(set(it)),
            Self::Held(it) => Self::Held(Box::new(set(it))),
            Self::Wrapped(Wrapped(it)) => Self::Wrapped(Wrapped(set(it))),
            other => other.clone(),
        }
    }

    /// Puts `graft` in the place of the descendant number `at`, if there are so many.
    fn graft(&mut self, at: &mut usize, graft: &Self) {
        if *at == 0 {
            *self = graft.clone();
        }
        *at = at.wrapping_sub(1);
        let mut into = |node: &mut Self| node.graft(at, graft);
        match self {
            Self::Child(Some(child)) => into(child),
            Self::List(list) => list.iter_mut().for_each(into),
            Self::Pair(Pair(a, b)) => [a, b].into_iter().for_each(|node| into(node)),
            Self::Record { a, b, .. } => [a, b].into_iter().flatten().for_each(|node| into(node)),
            Self::Sorted(map) => map.values_mut().for_each(into),
            Self::Multi(Multimap(entries)) => entries.iter_mut().for_each(|(_, node)| into(node)),
            _ => {}
        }
    }
}

/// Few different strings, so that equal ones and almost equal ones are frequent.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => select(&["", "a", "b", "ab", ":", "a:b", "\0", "\0\0", "0", "a0a", "@", "é", "\u{10FFFF}", "c"][..])
            .prop_map(String::from),
        1 => any::<String>(),
    ]
}

fn any_float() -> impl Strategy<Value = f64> {
    prop_oneof![
        select(&[0.0, -0.0, 1.0, -1.0, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, 5e-324][..]),
        any::<f64>().prop_filter("not NaN", |float| !float.is_nan()),
    ]
}

#[allow(clippy::cast_possible_truncation, reason = "any f32 will do")]
fn single(float: f64) -> f32 {
    float as f32
}

fn any_color() -> impl Strategy<Value = Color> {
    prop_oneof![Just(Color::Red), Just(Color::Blue), vec(any_text(), 0..3).prop_map(Color::Mixed)]
}

fn any_leaf() -> impl Strategy<Value = Node> {
    let small = -2..2_i8;
    prop_oneof![
        Just(Node::Left),
        Just(Node::Right),
        Just(Node::Unit(())),
        Just(Node::Nothing(Nothing)),
        any::<bool>().prop_map(Node::Bool),
        (small.clone(), 0..3_u8).prop_map(|(a, b)| Node::Narrow(a, b)),
        (small.clone(), any::<u128>()).prop_map(|(a, b)| Node::Wide(a.into(), b & 1 << 100)),
        prop_oneof![small.clone().prop_map(i64::from), any::<i64>()].prop_map(Node::Whole),
        any_float().prop_map(|float| Node::Single(single(float))),
        any_float().prop_map(Node::Double),
        any::<char>().prop_map(Node::Letter),
        any_text().prop_map(Node::Text),
        vec(0..2_u8, 0..4).prop_map(|bytes| Node::Blob(Blob(bytes))),
        option::of(option::of(any_text())).prop_map(Node::Maybe),
        [option::of(any::<bool>()), option::of(any::<bool>())].prop_map(Node::Array),
        (any_text(), any_text()).prop_map(Node::Tuple),
        vec(any_color(), 0..5).prop_map(|set| Node::Set(set.into_iter().collect())),
        vec(vec(0..3_u8, 0..3), 0..4).prop_map(|sets| Node::SetOfSets(
            sets.into_iter().map(|set| set.into_iter().collect()).collect()
        )),
        vec(any_text(), 0..5).prop_map(|set| Node::Held(Box::new(set.into_iter().collect()))),
        vec(small, 0..5).prop_map(|set| Node::Wrapped(Wrapped(set.into_iter().collect()))),
    ]
}

fn any_node() -> impl Strategy<Value = Node> {
    any_leaf().prop_recursive(3, 24, 4, |node| {
        let child = node.clone().prop_map(Box::new);
        prop_oneof![
            option::of(child.clone()).prop_map(Node::Child),
            vec(node.clone(), 0..4).prop_map(Node::List),
            (child.clone(), child.clone()).prop_map(|(a, b)| Node::Pair(Pair(a, b))),
            (option::of(child.clone()), option::of(child), any_text()).prop_map(|(a, b, c)| Node::Record {
                a,
                b,
                c
            }),
            vec((any_text(), node.clone()), 0..4).prop_map(|map| Node::Map(map.into_iter().collect())),
            vec((option::of(0..3_i8), node.clone()), 0..4)
                .prop_map(|map| Node::Sorted(map.into_iter().collect())),
            // Sorted, because the order of entries of a map does not matter, except under one key.
            vec((0..2_u8, node), 0..4).prop_map(|mut entries| {
                entries.sort_by_key(|entry| entry.0);
                Node::Multi(Multimap(entries))
            }),
        ]
    })
}

/// Pairs of nodes that are equal, almost equal, or unrelated.
fn any_pair() -> impl Strategy<Value = (Node, Node)> {
    (any_node(), any_node(), 0..6_usize, any::<bool>()).prop_map(|(a, other, at, equal)| {
        let mut b = a.rebuilt();
        if !equal {
            b.graft(&mut { at }, &other);
        }
        (a, b)
    })
}

/// Under any seed, consecutive numbers and texts that differ in a digit spread evenly over the sets.
#[test]
fn similar_keys_are_spread_over_the_sets() {
    const KEYS: usize = 100;
    const SETS: usize = 32;
    const WAYS: usize = 7;
    let overflow = |seed: u64, put: &dyn Fn(usize, &mut Hash<'_>)| {
        let shared = foldhash::SharedSeed::from_u64(seed);
        let mut sets = [0; SETS];
        for key in 0..KEYS {
            let mut buffer = Vec::new();
            let hasher = foldhash::quality::FoldHasher::with_seed(seed, &shared);
            let mut sink = Hash::new(hasher, &mut buffer);
            put(key, &mut sink);
            sets[(sink.finish() >> 20) as usize % SETS] += 1;
        }
        sets.iter().map(|&keys: &usize| keys.saturating_sub(WAYS)).sum::<usize>()
    };
    let mut worst = [0; 2];
    for seed in 1..1_000 {
        let numbers = overflow(seed, &|key, sink| encode_into(&key, sink).unwrap());
        let texts =
            overflow(seed, &|key, sink| encode_into(&format!("user-{key}@example.org"), sink).unwrap());
        worst = [worst[0].max(numbers), worst[1].max(texts)];
    }
    assert!(worst.iter().all(|&keys| keys <= KEYS / 8), "{worst:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn equal_bytes_are_equal_values((a, b) in any_pair()) {
        let (bytes_a, bytes_b) = (bytes(&a), bytes(&b));
        prop_assert_eq!(bytes_a == bytes_b, a == b);
        prop_assert_eq!(is_same(&bytes_a, &b), a == b);
        prop_assert_eq!(hash(&a) == hash(&b), a == b);
        // Otherwise, values written one after the other could be confused.
        prop_assert!(a == b || !(bytes_a.starts_with(&bytes_b) || bytes_b.starts_with(&bytes_a)));
    }

    #[test]
    fn equal_bytes_are_equal_values_of_independent_origin(a in any_leaf(), b in any_leaf()) {
        prop_assert_eq!(bytes(&a) == bytes(&b), a == b);
        prop_assert_eq!(hash(&a) == hash(&b), a == b);
    }

    #[test]
    fn string_boundaries_are_part_of_the_bytes(
        text in "[:a0\0é]{0,6}",
        cuts in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
    ) {
        let bounds: Vec<usize> = (0..=text.len()).filter(|&at| text.is_char_boundary(at)).collect();
        let (a, b) = (text.split_at(*cuts.0.get(&bounds)), text.split_at(*cuts.1.get(&bounds)));
        prop_assert_eq!(bytes(&a) == bytes(&b), a == b);
        prop_assert_eq!(hash(&a) == hash(&b), a == b);
    }

    #[test]
    fn nan_is_refused_at_every_depth(node in any_node(), other in any_node(), at in 0..6_usize) {
        let mut holder = Node::Pair(Pair(Box::new(other), Box::new(node)));
        holder.graft(&mut { at }, &Node::Double(f64::NAN));
        prop_assert_eq!(refused(&holder), format!("{holder:?}").contains("Double(NaN)"));
        prop_assert!(refused(&(holder, f32::NAN)));
    }

    #[test]
    fn displayed_text_is_a_string(text in any_text()) {
        prop_assert_eq!(bytes(&Shown(&text)), bytes(&text));
        prop_assert_eq!(hash(&Shown(&text)), hash(&text));
    }
}

/// Returns all lists of up to `max_len` of these parts.
fn lists<T: Clone>(parts: &[T], max_len: usize) -> Vec<Vec<T>> {
    let mut all = vec![Vec::new()];
    let mut longest = all.clone();
    for _ in 0..max_len {
        let longer = |list: &Vec<T>| {
            let list = list.clone();
            parts.iter().map(move |part| [list.as_slice(), std::slice::from_ref(part)].concat())
        };
        longest = longest.iter().flat_map(longer).collect();
        all.extend_from_slice(&longest);
    }
    all
}

/// Checks that no two of these different values have the same bytes, and that none begins with another.
fn all_differ<T: Serialize + fmt::Debug>(values: &[T]) {
    let mut all: Vec<_> = values.iter().map(|value| (bytes(value), value)).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    for pair in all.windows(2) {
        assert!(!pair[1].0.starts_with(&pair[0].0), "{:?} and {:?}", pair[0].1, pair[1].1);
    }
}

#[test]
fn part_boundaries_are_part_of_the_bytes() {
    all_differ(&lists(&lists(&[false, true], 2), 3));
    all_differ(&lists(&lists(&[None, Some(())], 2), 3));
    // The byte of the digit `0` is the tag of a string, and NUL is `END`.
    let texts: Vec<String> = lists(&['a', '0', '\0'], 3).into_iter().map(String::from_iter).collect();
    all_differ(&lists(&texts, 2));
    let maps = [BTreeMap::new(), BTreeMap::from([(0_u8, 0_u8)]), BTreeMap::from([(0, 1)])];
    all_differ(&lists(&maps, 3));
}

#[test]
fn bytes_distinguish_which_field_was_skipped() {
    let part = || [None, Some(Node::Left), Some(Node::Right)].map(|part| part.map(Box::new));
    let record = |a, b| Node::Record { a, b, c: String::new() };
    let records = part().map(|a| part().map(|b| record(a.clone(), b)));
    all_differ(records.as_flattened());
}

#[test]
fn colons_do_not_blur_argument_boundaries() {
    assert_ne!(bytes(&("a:b", "c")), bytes(&("a", "b:c")));
}

#[test]
fn values_of_different_kinds_have_different_bytes() {
    assert_ne!(bytes(&1_u32), bytes(&1_u64));
    assert_ne!(bytes(&1_u32), bytes(&1_i32));
    assert!(hash(&1_u32) != hash(&1_u64) && hash(&1_u32) != hash(&1_i32) && hash(&1_u128) != hash(&1_i128));
    assert_ne!(bytes(&0.0_f32), bytes(&0.0_f64));
    assert_ne!(bytes("a"), bytes(&'a'));
    assert_ne!(bytes("a"), bytes(&Blob(b"a".to_vec())));
    assert_ne!(bytes(&None::<()>), bytes(&()));
    assert_ne!(bytes(&Some(None::<u8>)), bytes(&None::<Option<u8>>));
    assert_ne!(bytes(&[1_u8]), bytes(&vec![1_u8]));
}

#[test]
fn negative_zero_has_the_bytes_of_zero() {
    assert_eq!(bytes(&-0.0_f64), bytes(&0.0_f64));
    assert_eq!(bytes(&-0.0_f32), bytes(&0.0_f32));
    assert_ne!(bytes(&-1.0_f64), bytes(&1.0_f64));
    assert_ne!(bytes(&f64::MIN_POSITIVE), bytes(&0.0_f64));
}

#[test]
fn a_nan_is_named_in_the_error() {
    assert!(refused(&f64::NAN) && refused(&-f32::NAN));
    assert!(refused(&("a", vec![Some(f32::NAN)])));
    assert!(refused(&HashMap::from([("k", f64::NAN)])));
    let error = encode(&f64::NAN, &mut Vec::new()).expect_err("NaN equals nothing");
    assert!(error.to_string().contains("NaN"));
}

#[test]
fn an_error_does_not_quote_the_value() {
    struct Broken;
    impl Serialize for Broken {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(ser::Error::custom("the password is swordfish"))
        }
    }
    struct Mute;
    impl fmt::Display for Mute {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("half").and(Err(fmt::Error))
        }
    }
    assert!(refused(&(1, Broken)));
    let error = encode(&Broken, &mut Vec::new()).expect_err("it always fails");
    assert!(!format!("{error} {error:?}").contains("swordfish"));
    assert!(refused(&Shown(Mute)));
}

/// A tuple that goes on when a part of it is refused, or panics.
struct Careless<P>(Vec<P>);

impl<P: Serialize> Careless<P> {
    fn each(&self, mut put: impl FnMut(&P)) {
        for part in &self.0 {
            let _ = panic::catch_unwind(panic::AssertUnwindSafe(|| put(part)));
        }
    }
}

impl<P: Serialize> Serialize for Careless<P> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut parts = serializer.serialize_tuple(self.0.len())?;
        self.each(|part| _ = parts.serialize_element(part));
        parts.end()
    }
}

/// A map that goes on when a part of it is refused, or panics.
struct CarelessMap<P>(Careless<P>);

impl<P: Serialize> Serialize for CarelessMap<P> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.0.each(|part| _ = map.serialize_entry(&1, part));
        map.end()
    }
}

/// Displays a part of its text, then calls the function, which may fail or panic.
struct Half(fn() -> fmt::Result);

impl fmt::Display for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("half").and((self.0)())
    }
}

/// Otherwise the value would be mistaken for one that never had the part.
#[test]
fn value_is_refused_when_it_ignores_a_refused_part() {
    for end in [|| Err(fmt::Error), || panic!("as planned")] {
        let parts = || vec![Shown(Half(|| Ok(()))), Shown(Half(end))];
        assert!(refused(&Careless(parts())));
        assert!(refused(&CarelessMap(Careless(parts()))));
        assert!(refused(&Careless(vec![Careless(parts())])));
        assert!(refused(&CarelessMap(Careless(vec![Careless(parts())]))));
        assert!(refused(&CarelessMap(Careless(vec![CarelessMap(Careless(parts()))]))));
    }
    assert!(refused(&Careless(vec![1.0, f64::NAN, 2.0])));
    assert_eq!(bytes(&Careless(vec![1_u8, 2])), bytes(&(1_u8, 2_u8)));
    assert_eq!(bytes(&CarelessMap(Careless(vec![2_u8]))), bytes(&BTreeMap::from([(1, 2_u8)])));
}

#[test]
fn sets_have_no_order_at_any_depth() {
    // Two sets of 100 elements hardly ever have the same order by accident.
    let set = || (0..100_u8).collect::<HashSet<_>>();
    let (a, b) = (set(), set());
    assert!(!a.iter().eq(&b), "the two sets differ in order");
    assert_eq!(bytes(&a), bytes(&b));
    assert_eq!(bytes(&&&a), bytes(&&b));
    assert_eq!(bytes(&(1, &a)), bytes(&(1, &b)));
    assert_eq!(bytes(&Box::new(a.clone())), bytes(&b));
    assert_eq!(bytes(&Cow::Borrowed(&a)), bytes(&b));
    assert_eq!(bytes(&Some(vec![&a])), bytes(&Some(vec![&b])));
    assert_eq!(bytes(&BTreeMap::from([("k", &a)])), bytes(&BTreeMap::from([("k", &b)])));
    assert_eq!(bytes(&Ok::<_, ()>(&a)), bytes(&Ok::<_, ()>(&b)));
    assert_ne!(bytes(&a), bytes(&(0..99_u8).collect::<HashSet<_>>()));
}

#[test]
fn maps_have_no_order_and_lists_do() {
    let map = || (0..100_u8).map(|n| (n, [n])).collect::<HashMap<_, _>>();
    let (a, b) = (map(), map());
    assert!(!a.iter().eq(&b), "the two maps differ in order");
    assert_eq!(bytes(&a), bytes(&b));
    let sorted: BTreeMap<_, _> = a.clone().into_iter().collect();
    assert_eq!(bytes(&a), bytes(&sorted));
    assert!(hash(&a) == hash(&b) && hash(&a) == hash(&sorted));
    assert_ne!(bytes(&vec![1, 2]), bytes(&vec![2, 1]));
}

#[test]
fn values_under_one_key_keep_their_order() {
    let multi = |entries: &[(u8, bool)]| {
        Multimap(entries.iter().map(|&(key, value)| (key, Node::Bool(value))).collect())
    };
    let a = multi(&[(2, true), (1, true), (1, false)]);
    assert_eq!(bytes(&a), bytes(&multi(&[(1, true), (2, true), (1, false)])));
    assert_ne!(bytes(&a), bytes(&multi(&[(2, true), (1, false), (1, true)])));
}

#[test]
fn a_skipped_field_is_not_part_of_the_key() {
    #[derive(Serialize)]
    struct Query {
        text: &'static str,
        #[serde(skip)]
        trace: u32,
    }
    let (a, b) = (Query { text: "q", trace: 1 }, Query { text: "q", trace: 2 });
    assert_ne!(a.trace, b.trace);
    assert_eq!(bytes(&a), bytes(&b));
}

#[test]
fn variants_are_identified_by_name() {
    #[derive(Serialize)]
    enum Reordered {
        Blue,
        Red,
    }
    assert_eq!(bytes(&Color::Red), bytes(&Reordered::Red));
    assert_eq!(bytes(&Color::Blue), bytes(&Reordered::Blue));
}

#[test]
fn encode_appends_to_the_buffer() {
    let mut out = bytes(&1_u8);
    encode(&'x', &mut out).expect("a char");
    assert_eq!(out, [bytes(&1_u8), bytes(&'x')].concat());
}

/// A change here gives every key that is in use another name.
#[test]
fn bytes_are_golden() {
    #[derive(Serialize)]
    struct Point {
        x: i16,
        y: Option<Nothing>,
    }
    #[derive(Serialize)]
    enum Shape {
        New(u8),
        Tup(u8, char),
        Rec { a: i128 },
    }
    let golden: [(Vec<u8>, &[u8]); 17] = [
        (bytes(&("upsc", 7_u32)), b"\x42\x30\x04\0\0\0upsc\x1A\x07\0\0\0\0"),
        (bytes(&()), b"\x01"),
        (bytes(&[false, true]), b"\x42\x02\x03\0"),
        (bytes(&(-1_i8, -2_i32, 3_i64)), b"\x42\x10\xFF\x12\xFE\xFF\xFF\xFF\x13\x03\0\0\0\0\0\0\0\0"),
        (bytes(&(1_u16, 2_u64)), b"\x42\x19\x01\0\x1B\x02\0\0\0\0\0\0\0\0"),
        (bytes(&1_u128), b"\x1C\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        (bytes(&1.5_f32), b"\x20\0\0\xC0\x3F"),
        (bytes(&-0.0_f64), b"\x21\0\0\0\0\0\0\0\0"),
        (bytes(&'é'), b"\x22\xE9\0\0\0"),
        (bytes(&Blob(vec![0, 9])), b"\x31\x02\0\0\0\0\x09"),
        (bytes(&vec![1_u8, 0]), b"\x40\x18\x01\x18\0\0"),
        (bytes(&HashSet::from([2_u8, 1, 3])), b"\x41\x18\x01\x18\x02\x18\x03\0"),
        (bytes(&HashMap::from([('b', 1_u8), ('a', 2)])), b"\x43\x22a\0\0\0\x18\x02\x22b\0\0\0\x18\x01\0"),
        (bytes(&Point { x: 1, y: Some(Nothing) }), b"\x44\x30\x01\0\0\0x\x11\x01\0\x30\x01\0\0\0y\x05\x01\0"),
        (bytes(&(Color::Red, None::<u8>)), b"\x42\x50\x30\x03\0\0\0Red\x04\0"),
        (bytes(&Shape::New(5)), b"\x51\x30\x03\0\0\0New\x18\x05"),
        (bytes(&Shape::Tup(5, 'x')), b"\x52\x30\x03\0\0\0Tup\x18\x05\x22x\0\0\0\0"),
    ];
    for (actual, expected) in golden {
        assert_eq!(actual, expected);
    }
    let record = [b"\x53\x30\x03\0\0\0Rec\x30\x01\0\0\0a\x14".as_slice(), &[0xFF; 16], b"\0"].concat();
    assert_eq!(bytes(&Shape::Rec { a: -1 }), record);
}

#[test]
fn the_format_is_not_human_readable() {
    use std::net::Ipv4Addr;
    assert_eq!(bytes(&Ipv4Addr::new(1, 2, 3, 4)), bytes(&[1_u8, 2, 3, 4]));
}
