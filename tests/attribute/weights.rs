//! The bytes that values count for in the process, by the type and by `weight`.
#![allow(dead_code, reason = "the compiler reports unused companions of functions in a `macro_rules!`")]

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use cached_aside::Cache;
use serde::Serialize;

use crate::support::{DbError, Runs};

/// Value without a heap, which is `Copy` and nothing else.
#[derive(Clone, Copy)]
struct Point(u64, u64);

#[derive(Clone, Serialize)]
struct Note {
    title: String,
    lines: Vec<u32>,
}

fn note() -> Note {
    Note { title: "four".to_owned(), lines: vec![7; 100] }
}

/// Bytes of the title and the lines of [`note`].
const NOTE: usize = 4 + 400;

/// Value that only its owner can weigh.
#[derive(Clone)]
struct Opaque(Arc<Vec<Point>>);

impl Opaque {
    fn new() -> Self {
        Self(Arc::new(vec![Point(1, 2); 10]))
    }

    fn bytes(&self) -> usize {
        size_of_val(&self.0[..])
    }
}

type Shared = Arc<Note>;

fn cache() -> Cache {
    Cache::builder().build().unwrap()
}

/// Returns the bytes that the value of a function counts for.
fn weigh<T>(function: fn(&Cache) -> T) -> usize {
    let bytes = |cache: &Cache| cache.stats().l1_bytes;
    let (empty, filled) = (cache(), cache());
    drop(function(&filled));
    nothing(&empty);
    usize::try_from(bytes(&filled) - bytes(&empty)).unwrap()
}

/// Defines functions that return the value of an expression, with options.
///
/// The names of the entries are of one length.
macro_rules! functions {
    ($($name:ident($prefix:literal $($options:tt)*): [$($ty:tt)+] = $value:expr;)+) => {$(
        #[cached_aside::cached($prefix, ttl = "1m", local, cache = cache, skip(cache) $($options)*)]
        fn $name(cache: &Cache) -> $($ty)+ {
            $value
        }
    )+};
}

functions! {
    nothing("00"): [()] = ();
    number("01"): [u64] = 7;
    text_of_the_program("02"): [&'static str] = "text";
    optional_time("03"): [Option<Duration>] = Some(Duration::ZERO);
    array("04"): [[Point; 10]] = [Point(0, 0); 10];
    instant("05"): [Result<Instant, DbError>] = Ok(Instant::now());
    text("06"): [String] = { let mut text = String::with_capacity(100); text.push('a'); text };
    points("07"): [Vec<Point>] = { let mut points = Vec::with_capacity(10); points.push(Point(1, 2)); points };
    shared_points("08"): [Arc<[Point]>] = Arc::new([Point(1, 2); 5]);
    shared_point("09"): [Arc<Point>] = Arc::new(Point(1, 2));
    boxed_point("10"): [Result<Option<Box<Point>>, DbError>] = Ok(Some(Box::new(Point(1, 2))));
    shared_text("11"): [Arc<str>] = Arc::from("abc");
    shared_note("12"): [Shared] = Arc::new(note());
    notes("13"): [Vec<Note>] = vec![note(); 3];
    shared_notes("14"): [Option<Arc<[Note]>>] = Some(Arc::new([note(), note()]));
    plain_note("15"): [Note] = note();
    map("16"): [HashMap<u64, String>] = HashMap::from([(1, "abc".to_owned())]);
    closure("17", weight = |opaque| opaque.bytes()): [Opaque] = Opaque::new();
    path("18", weight = Opaque::bytes): [Result<Opaque, DbError>] = Ok(Opaque::new());
    of_serialize("19", weight = |note| note.title.len() * 1000): [Note] = note();
    too_light("20", weight = |_| 0): [[u64; 9]] = [0; 9];
    too_heavy("21", weight = |_| usize::MAX - 1): [u8] = 1;
    bounded("22", max_entries = 5): [Opaque] = Opaque::new();
    bounded_holder("23", max_entries = 5): [Arc<[Opaque]>] = Arc::new([Opaque::new(), Opaque::new()]);
}

#[test]
fn value_counts_with_its_own_bytes_and_those_on_the_heap() {
    let (header, counters, shared) = (size_of::<String>(), 2 * size_of::<usize>(), size_of::<Arc<str>>());
    let weights = [
        (weigh(nothing), 0),
        (weigh(number), 8),
        (weigh(text_of_the_program), size_of::<&str>()),
        (weigh(optional_time), size_of::<Option<Duration>>()),
        (weigh(array), 160),
        (weigh(instant), size_of::<Instant>()),
        (weigh(text), header + 100),
        (weigh(points), header + 160),
        (weigh(shared_points), shared + counters + 80),
        (weigh(shared_point), size_of::<usize>() + counters + 16),
        (weigh(boxed_point), size_of::<usize>() + 16),
        (weigh(shared_text), shared + counters + 3),
        (weigh(shared_note), size_of::<usize>() + counters + size_of::<Note>() + NOTE),
        (weigh(notes), header + 3 * (size_of::<Note>() + NOTE)),
        (weigh(shared_notes), shared + counters + 2 * (size_of::<Note>() + NOTE)),
        (weigh(plain_note), size_of::<Note>() + NOTE),
        (weigh(map), size_of::<HashMap<u64, String>>() + 8 + header + 3),
    ];
    for (index, (weight, expected)) in weights.into_iter().enumerate() {
        assert_eq!(weight, expected, "of function {index}");
    }
}

#[test]
fn weight_replaces_the_estimate_and_is_at_least_the_size_of_the_type() {
    assert_eq!((weigh(closure), weigh(path)), (160, 160));
    assert_eq!((weigh(of_serialize), weigh(too_light)), (4000, 72));
}

#[test]
fn value_heavier_than_the_bound_is_not_kept() {
    let cache = cache();
    assert_eq!((too_heavy(&cache), too_heavy(&cache)), (1, 1));
    assert_eq!(cache.stats().l1_entries, 0);
}

#[test]
fn values_under_max_entries_count_with_the_bytes_that_are_seen() {
    assert_eq!(weigh(bounded), size_of::<Opaque>());
    assert_eq!(weigh(bounded_holder), size_of::<Arc<[Opaque]>>() + 16 + 2 * size_of::<Opaque>());
}

static SHARED: Runs = Runs::new();

#[cached_aside::cached("weights:shared", ttl = "1m", weight = Vec::len, cache = *cache, skip(cache))]
async fn shared(cache: &Cache, n: usize) -> Vec<String> {
    SHARED.add();
    vec![String::new(); n]
}

#[cached_aside::cached("weights:generic", ttl = "1m", local, weight = |v: &Vec<T>| v.len(), cache = *cache, skip(cache))]
fn generic<T: Clone + Default + Send + Sync + 'static>(cache: &Cache, n: usize) -> Vec<T> {
    vec![T::default(); n]
}

#[tokio::test]
async fn weight_of_shared_and_of_generic_values() {
    let cache = cache();
    for _ in 0..2 {
        assert_eq!(shared(&cache, 1 << 20).await.len(), 1 << 20);
    }
    assert_eq!(SHARED.take(), 1);
    let before = cache.stats().l1_bytes;
    assert!(before > 1 << 20 && before < 2 << 20, "{before}");
    assert_eq!(generic::<u8>(&cache, 2 << 20).len(), 2 << 20);
    assert!(cache.stats().l1_bytes - before >= 2 << 20);
}

static PANICKING: Runs = Runs::new();

#[cached_aside::cached("weights:panics", ttl = "1m", weight = |_| panic!("no weight"), cache = *cache, skip(cache))]
async fn panics(cache: &Cache, n: u32) -> Result<u32, DbError> {
    PANICKING.add();
    Ok(n)
}

#[derive(Clone, Debug, PartialEq)]
struct Fragile;

impl Serialize for Fragile {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("no form")
    }
}

#[cached_aside::cached("weights:fragile", ttl = "1m", local, cache = *cache, skip(cache))]
fn fragile(cache: &Cache) -> Fragile {
    PANICKING_LOCAL.add();
    Fragile
}

static PANICKING_LOCAL: Runs = Runs::new();

#[tokio::test]
async fn value_that_cannot_be_weighed_reaches_its_caller_and_is_not_kept() {
    let cache = cache();
    for _ in 0..2 {
        assert_eq!(panics(&cache, 7).await, Ok(7));
        assert_eq!(fragile(&cache), Fragile);
    }
    assert_eq!((PANICKING.take(), PANICKING_LOCAL.take()), (2, 2));
    assert_eq!(cache.stats().l1_entries, 0);
}
