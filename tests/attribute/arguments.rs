//! Forms of arguments.

use std::{borrow::Cow, collections::BTreeMap, path::Path};

use cached_aside::cached;
use serde::Serialize;

use crate::support::Runs;

static RUNS: Runs = Runs::new();

#[cached(ttl = "1m")]
async fn patterns((a, b): (u32, u32), mut c: u32, _: &str, r#type: &[u8], many: Option<&str>) -> u32 {
    RUNS.add();
    c += a + b + u32::try_from(r#type.len() + many.map_or(0, str::len)).unwrap();
    c
}

#[tokio::test]
async fn patterns_are_part_of_the_key() {
    assert_eq!(patterns((1, 2), 3, "", &[1], Some("ab")).await, 9);
    assert_eq!(patterns((1, 2), 3, "", &[1], Some("ab")).await, 9);
    assert_eq!(RUNS.take(), 1);
    assert_eq!(patterns((1, 3), 3, "", &[1], Some("ab")).await, 10);
    assert_eq!(patterns((1, 2), 3, "x", &[1], Some("ab")).await, 9, "an argument without a name counts");
    assert_eq!(patterns((1, 2), 3, "", &[], Some("ab")).await, 8);
    assert_eq!(patterns((1, 2), 3, "", &[1], None).await, 7);
    assert_eq!(RUNS.take(), 4);
}

mod borrowed {
    use super::*;

    static RUNS: Runs = Runs::new();

    #[cached("arguments:named", ttl = "1m")]
    async fn named<'a, 'b: 'a>(x: &'a str, y: &'b str, all: &'a [&'b str]) -> usize {
        RUNS.add();
        x.len() + y.len() + all.iter().map(|text| text.len()).sum::<usize>()
    }

    #[cached("arguments:slices", ttl = "1m")]
    async fn slices(bytes: &[u8], texts: &[&str], owned: &[String], pair: &(u32, &str)) -> usize {
        RUNS.add();
        bytes.len() + texts.len() + owned.len() + pair.1.len()
    }

    #[cached("arguments:options", ttl = "1m")]
    async fn options(a: Option<&str>, b: Option<&u64>, c: Option<Option<&str>>, d: &Option<String>) -> usize {
        RUNS.add();
        let _ = b;
        a.map_or(0, str::len) + c.flatten().map_or(0, str::len) + d.as_ref().map_or(0, String::len)
    }

    #[cached("arguments:cow", ttl = "1m")]
    async fn cow(x: Cow<'_, str>, y: &Cow<'static, str>) -> usize {
        RUNS.add();
        x.len() + y.len()
    }

    #[cached("arguments:fixed", ttl = "1m")]
    async fn fixed(x: &'static str, y: Option<&'static str>, z: &'static [u8]) -> usize {
        RUNS.add();
        let text: &'static str = y.unwrap_or(x);
        text.len() + z.len()
    }

    #[cached("arguments:paths", ttl = "1m")]
    async fn paths(path: &Path, map: &BTreeMap<String, Vec<u8>>) -> usize {
        RUNS.add();
        path.as_os_str().len() + map.len()
    }

    #[cached("arguments:sync", ttl = "1m", local)]
    fn sync<'a>(x: &'a str, y: Option<&'a [u8]>) -> usize {
        RUNS.add();
        x.len() + y.map_or(0, <[u8]>::len)
    }

    #[tokio::test]
    async fn borrowed_arguments() {
        let (x, y) = (String::from("x"), String::from("yy"));
        macro_rules! once {
            ($call:expr => $value:expr) => {
                assert_eq!($call.await, $value);
                assert_eq!($call.await, $value);
                assert_eq!(RUNS.take(), 1, stringify!($call));
            };
        }
        once!(named(&x, &y, &[&x, &y]) => 6);
        once!(named(&y, &x, &[&x, &y]) => 6);
        once!(slices(&[1], &[&x, &y], std::slice::from_ref(&x), &(1, &y)) => 6);
        once!(slices(&[1], &[&y, &x], std::slice::from_ref(&x), &(1, &y)) => 6);
        once!(options(Some(&x), Some(&3), Some(Some(&y)), &Some(x.clone())) => 4);
        once!(options(Some(&x), Some(&3), None, &Some(x.clone())) => 2);
        once!(options(Some(&x), Some(&3), Some(None), &Some(x.clone())) => 2);
        once!(cow(Cow::Borrowed(&x), &Cow::Borrowed("z")) => 2);
        once!(fixed("a", None, &[1]) => 2);
        once!(fixed("a", Some("bb"), &[1]) => 3);
        once!(paths(Path::new("a"), &BTreeMap::new()) => 1);
        assert_eq!((sync(&x, Some(&[1])), sync(&x, Some(&[1])), sync(&x, None)), (2, 2, 1));
        assert_eq!(RUNS.take(), 2);
        named::invalidate(&x, &y, &[&x, &y]).await.unwrap();
        once!(named(&x, &y, &[&x, &y]) => 6);
        // An owned value makes the same key as a borrowed one.
        assert_eq!(cow(Cow::Owned(x.clone()), &Cow::Owned("z".to_owned())).await, 2);
        assert_eq!(RUNS.take(), 0);
    }
}

static SKIPPED: Runs = Runs::new();

/// Argument that is neither `Clone` nor `Serialize`.
struct Db {
    name: String,
}

#[cached("arguments:skip", ttl = "1m", skip(db, seen, make))]
async fn skip(db: &Db, seen: &mut Vec<u32>, x: u32, make: impl Fn(u32) -> u32) -> String {
    SKIPPED.add();
    seen.push(x);
    format!("{} {}", db.name, make(x))
}

#[cached("arguments:{db.name}:{x}", ttl = "1m", skip(seen))]
async fn skip_in_template(db: &Db, seen: &mut Vec<u32>, x: u32) -> u32 {
    SKIPPED.add();
    seen.push(x);
    x
}

#[tokio::test]
async fn skipped_arguments_are_not_part_of_the_key() {
    let (a, b) = (Db { name: "a".to_owned() }, Db { name: "b".to_owned() });
    let mut seen = Vec::new();
    let double = |x| x * 2;
    assert_eq!(skip(&a, &mut seen, 1, double).await, "a 2");
    assert_eq!(skip(&b, &mut seen, 1, double).await, "a 2");
    assert_eq!(SKIPPED.take(), 1);
    skip_in_template(&a, &mut seen, 1).await;
    skip_in_template(&a, &mut seen, 1).await;
    skip_in_template(&b, &mut seen, 1).await;
    assert_eq!(SKIPPED.take(), 2);
    assert_eq!(seen, [1, 1, 1]);
    skip_in_template::invalidate(&a, &mut seen, 1).await.unwrap();
    assert_eq!(skip_in_template::key(&a, &mut seen, 1).unwrap(), "cached-aside:arguments:a:1");
}

static OPAQUE: Runs = Runs::new();

#[cached("arguments:opaque", ttl = "1m")]
async fn opaque(x: impl ToString + Serialize + Send, also: &(impl Serialize + ?Sized)) -> String {
    OPAQUE.add();
    let _ = also;
    x.to_string()
}

#[tokio::test]
async fn opaque_arguments() {
    assert_eq!((opaque(3, "x").await, opaque(3, "x").await), ("3".to_owned(), "3".to_owned()));
    assert_eq!(OPAQUE.take(), 1);
    opaque("3", "x").await;
    opaque(3, &[1]).await;
    assert_eq!(OPAQUE.take(), 2);
    opaque::invalidate(3, "x").await.unwrap();
    opaque(3, "x").await;
    assert_eq!(OPAQUE.take(), 1);
}

static NAMES: Runs = Runs::new();

// The generated code might have chosen these names.
#[allow(clippy::too_many_arguments)]
#[cached("arguments:names", ttl = "1m", cache_if = |value| *value > 0, jitter = 0.1)]
async fn names(
    key: &str,
    cache: u32,
    value: u32,
    ttl: Option<&str>,
    result: u32,
    control: u32,
    writer: u32,
    spec: u32,
    slot: u32,
    policy: u32,
    call_spec: u32,
    call: u32,
    load: u32,
    intent: u32,
    started: u32,
    out: u32,
) -> u32 {
    NAMES.add();
    let _ = (key, ttl);
    cache
        + value
        + result
        + control
        + writer
        + spec
        + slot
        + policy
        + call_spec
        + call
        + load
        + intent
        + started
        + out
}

#[tokio::test]
async fn arguments_may_have_the_names_of_generated_variables() {
    for _ in 0..2 {
        assert_eq!(names("k", 1, 1, Some("t"), 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1).await, 14);
    }
    assert_eq!(NAMES.take(), 1);
    names::invalidate("k", 1, 1, Some("t"), 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1).await.unwrap();
    assert_eq!(names::peek("k", 1, 1, Some("t"), 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1).await, None);
}

static UNUSED: Runs = Runs::new();

#[cached("arguments:{a}:{b}", ttl = "1m", skip(_c))]
async fn only_in_the_key(a: u32, b: &str, _c: u32) -> u32 {
    UNUSED.add();
    a
}

#[tokio::test]
async fn an_argument_may_be_used_in_the_template_alone() {
    only_in_the_key(1, "x", 1).await;
    only_in_the_key(1, "x", 2).await;
    only_in_the_key(1, "y", 2).await;
    assert_eq!(UNUSED.take(), 2);
}

static POINTERS: Runs = Runs::new();

#[cached("arguments:pointers", ttl = "1m", skip(llm))]
async fn pointers(llm: &(dyn Fn(u32) -> u32 + Sync), text: Box<str>, boxed: Box<u32>) -> u32 {
    POINTERS.add();
    llm(*boxed) + u32::try_from(text.len()).unwrap()
}

#[tokio::test]
async fn trait_objects_and_pointers() {
    // The trait object borrows a local value, so it does not live as long as the program.
    let base = String::from("abc");
    let llm = |x| x + u32::try_from(base.len()).unwrap();
    for _ in 0..2 {
        assert_eq!(pointers(&llm, "x".into(), Box::new(1)).await, 5);
    }
    assert_eq!(POINTERS.take(), 1);
}
