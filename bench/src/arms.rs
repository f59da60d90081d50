//! The caches, each used as its documentation shows, and all with the same keys and values.

use std::{
    fmt::Debug,
    hash::Hash,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Waker},
    time::Duration,
};

use cached_aside::Cache;
use equivalent::Equivalent;
use moka::policy::EvictionPolicy;

use crate::harness::{Arm, KEYS, LOADS};

/// Of the peers that are bounded, in entries: nothing is ever evicted.
const CAPACITY: u32 = 10_000;
const TTL: Duration = Duration::from_hours(1);

/// What is cached.
trait Value: Clone + Debug + PartialEq + Send + Sync + 'static {
    fn new(number: u64) -> Self;
}

impl Value for u64 {
    fn new(number: u64) -> Self {
        number
    }
}

impl Value for Arc<String> {
    fn new(number: u64) -> Self {
        Self::new(format!("{number:0200}"))
    }
}

/// The arguments of a call, as the peers that are no macros see them.
trait Key: Sync + 'static {
    type Owned: Hash + Eq + Clone + Send + Sync + 'static;
    type Borrowed<'a>: Hash + Equivalent<Self::Owned>;

    fn borrowed(&self) -> Self::Borrowed<'_>;
    fn owned(&self) -> Self::Owned;
    fn formatted(&self) -> String;
    fn number(&self) -> u64;
}

impl Key for u64 {
    type Owned = Self;
    type Borrowed<'a> = Self;

    fn borrowed(&self) -> Self {
        *self
    }

    fn owned(&self) -> Self {
        *self
    }

    fn formatted(&self) -> String {
        format!("user:{self}")
    }

    fn number(&self) -> u64 {
        *self
    }
}

type Text = (String, u32);

/// Hashes as the tuple does.
#[derive(Hash)]
struct TextRef<'a>(&'a str, u32);

impl Equivalent<Text> for TextRef<'_> {
    fn equivalent(&self, key: &Text) -> bool {
        self.0 == key.0 && self.1 == key.1
    }
}

impl Key for Text {
    type Owned = Self;
    type Borrowed<'a> = TextRef<'a>;

    fn borrowed(&self) -> TextRef<'_> {
        TextRef(&self.0, self.1)
    }

    fn owned(&self) -> Self {
        self.clone()
    }

    fn formatted(&self) -> String {
        format!("user:{}:{}", self.0, self.1)
    }

    fn number(&self) -> u64 {
        self.1.into()
    }
}

/// The function behind every cache.
fn load<V: Value>(number: u64) -> V {
    LOADS.fetch_add(1, Ordering::SeqCst);
    V::new(number)
}

/// A hit never waits, so it needs no runtime.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(out) => out,
        Poll::Pending => panic!("ready at the first poll"),
    }
}

/// The functions under attributes. Their prefixes differ because they share a cache. The arguments come as tokens,
/// because attributes do not look into a `ty`.
macro_rules! functions {
    ($module:ident, $arguments:tt = $number:expr => $value:ty, $ours:tt, $local:tt) => {
        mod $module {
            use super::*;

            #[cached_aside::cached($ours, ttl = "1h")]
            pub async fn ours $arguments -> $value {
                load($number)
            }

            #[cached_aside::cached($local, ttl = "1h", local)]
            pub fn ours_local $arguments -> $value {
                load($number)
            }

            #[cached::macros::concurrent_cached]
            pub fn peer $arguments -> $value {
                load($number)
            }

            #[cached::macros::concurrent_cached(max_size = 10_000, ttl_secs = 3600)]
            pub fn bounded_peer $arguments -> $value {
                load($number)
            }
        }
    };
}

functions!(number_to_u64, (id: u64) = id => u64, "user0", "user1");
functions!(number_to_text, (id: u64) = id => Arc<String>, "user2", "user3");
functions!(text_to_u64, (name: &str, n: u32) = number(name, n) => u64, "user4", "user5");
functions!(text_to_text, (name: &str, n: u32) = number(name, n) => Arc<String>, "user6", "user7");

fn number(name: &str, n: u32) -> u64 {
    debug_assert!(name.contains(&n.to_string()));
    n.into()
}

/// The values that there are functions for.
trait Cacheable: Value {
    fn number_arms(keys: &'static [u64]) -> Vec<Arm>;
    fn text_arms(keys: &'static [Text]) -> Vec<Arm>;
}

macro_rules! cacheable {
    ($value:ty, $number:ident, $text:ident) => {
        impl Cacheable for $value {
            fn number_arms(keys: &'static [u64]) -> Vec<Arm> {
                let functions = vec![
                    arm("ours, async", keys, |&id| now($number::ours(id))),
                    arm("ours, sync local", keys, |&id| $number::ours_local(id)),
                    arm("cached", keys, |&id| $number::peer(id)),
                    arm("cached, bounded, ttl", keys, |&id| $number::bounded_peer(id)),
                ];
                functions.into_iter().chain(peers::<_, $value>(keys)).collect()
            }

            fn text_arms(keys: &'static [Text]) -> Vec<Arm> {
                let functions = vec![
                    arm("ours, async", keys, |(name, n)| now($text::ours(name, *n))),
                    arm("ours, sync local", keys, |(name, n)| $text::ours_local(name, *n)),
                    arm("cached", keys, |(name, n)| $text::peer(name, *n)),
                    arm("cached, bounded, ttl", keys, |(name, n)| $text::bounded_peer(name, *n)),
                ];
                functions.into_iter().chain(peers::<_, $value>(keys)).collect()
            }
        }
    };
}

cacheable!(u64, number_to_u64, text_to_u64);
cacheable!(Arc<String>, number_to_text, text_to_text);

/// The arms for each type of key and value, all of them filled.
pub fn races() -> [(&'static str, Vec<Arm>); 4] {
    // One cache for all functions of ours, as in an application; the environment cannot put Redis behind it.
    Cache::builder().build().and_then(Cache::install).expect("no function was called before");
    let numbers = (0..u64::from(KEYS)).collect::<Vec<_>>().leak();
    let text = |n: u16| (format!("user-{n}@example.org"), n.into());
    let texts = (0..KEYS).map(text).collect::<Vec<Text>>().leak();
    [
        ("`u64` → `u64`", u64::number_arms(numbers)),
        ("`u64` → `Arc<String>`", <Arc<String>>::number_arms(numbers)),
        ("`(&str, u32)` → `u64`", u64::text_arms(texts)),
        ("`(&str, u32)` → `Arc<String>`", <Arc<String>>::text_arms(texts)),
    ]
}

fn arm<K: Key, V: Value>(
    name: &'static str,
    keys: &'static [K],
    hit: impl Fn(&K) -> V + Send + Sync + 'static,
) -> Arm {
    Arm::new(name, keys, |key, value| value == V::new(key.number()), hit)
}

fn peers<K: Key, V: Value>(keys: &'static [K]) -> Vec<Arm> {
    let moka =
        moka::sync::Cache::<K::Owned, V>::builder().max_capacity(CAPACITY.into()).time_to_live(TTL).build();
    let formatted =
        moka::sync::Cache::<String, V>::builder().max_capacity(CAPACITY.into()).time_to_live(TTL).build();
    let engine = moka::sync::Cache::<K::Owned, V>::builder()
        .max_capacity(CAPACITY.into())
        .eviction_policy(EvictionPolicy::lru())
        .build_with_hasher(foldhash::quality::RandomState::default());
    let future =
        moka::future::Cache::<K::Owned, V>::builder().max_capacity(CAPACITY.into()).time_to_live(TTL).build();
    let quick = quick_cache::sync::Cache::<K::Owned, V>::new(CAPACITY as usize);
    vec![
        arm("moka future", keys, move |key: &K| {
            now(async {
                match future.get(&key.borrowed()).await {
                    Some(value) => value,
                    None => fill(key, async |key, value| future.insert(key, value).await).await,
                }
            })
        }),
        arm("moka sync", keys, move |key: &K| {
            moka.get(&key.borrowed()).unwrap_or_else(|| filled(key, |key, value| moka.insert(key, value)))
        }),
        arm("moka sync, format!", keys, move |key: &K| {
            let name = key.formatted();
            let load = || filled(key, |_, value| formatted.insert(name.clone(), value));
            formatted.get(&name).unwrap_or_else(load)
        }),
        arm("moka sync, lru, foldhash", keys, move |key: &K| {
            engine.get(&key.borrowed()).unwrap_or_else(|| filled(key, |key, value| engine.insert(key, value)))
        }),
        arm("quick_cache", keys, move |key: &K| {
            quick.get(&key.borrowed()).unwrap_or_else(|| filled(key, |key, value| quick.insert(key, value)))
        }),
    ]
}

/// A miss.
fn filled<K: Key, V: Value>(key: &K, insert: impl FnOnce(K::Owned, V)) -> V {
    let value: V = load(key.number());
    insert(key.owned(), value.clone());
    value
}

/// As [`filled`].
async fn fill<K: Key, V: Value>(key: &K, insert: impl AsyncFnOnce(K::Owned, V)) -> V {
    let value: V = load(key.number());
    insert(key.owned(), value.clone()).await;
    value
}

/// The sizes of the futures that a caller has to hold.
pub fn futures() -> [(&'static str, usize); 5] {
    let moka = moka::future::Cache::<Text, u64>::new(1);
    [
        ("ours, (u64) → u64", size_of_val(&number_to_u64::ours(1))),
        ("ours, (&str, u32) → u64", size_of_val(&text_to_u64::ours("", 1))),
        ("ours, (&str, u32) → Arc<String>", size_of_val(&text_to_text::ours("", 1))),
        ("the same without the attribute", size_of_val(&plain("", 1))),
        ("moka future, get", size_of_val(&moka.get(&TextRef("", 1)))),
    ]
}

#[allow(clippy::unused_async, reason = "to be compared")]
async fn plain(name: &str, n: u32) -> Arc<String> {
    load(number(name, n))
}
