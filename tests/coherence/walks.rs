//! How often the `Serialize` implementation of a value runs: to encode the value, and to weigh it.
#![allow(dead_code, reason = "the compiler reports unused companions of functions in a `macro_rules!`")]

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use cached_aside::{Cache, Keyspace, cached};
use serde::{Deserialize, Serialize, Serializer};

use super::support::{Pair, SECOND};

/// Defines a type whose `Serialize` implementation counts its runs, and a function that returns values of it.
macro_rules! walked {
    ($ty:ident($inner:ty) $($derive:ident)*, $runs:ident, $function:ident($($option:tt)*) -> {$($output:tt)+} = $value:expr;) => {
        #[derive(Clone, Debug, Deserialize, PartialEq $(, $derive)*)]
        struct $ty($inner);

        static $runs: AtomicUsize = AtomicUsize::new(0);

        impl Serialize for $ty {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $runs.fetch_add(1, SeqCst);
                self.0.serialize(serializer)
            }
        }

        #[cached(ttl = "1m", cache = *cache, skip(cache) $($option)*)]
        async fn $function(cache: &Cache, n: u32) -> $($output)+ {
            let _ = n;
            $value
        }
    };
}

walked! { Page(String), PAGE, page() -> {Option<Page>} = Some(Page("text".to_owned())); }
walked! { Row(String), ROW, row(, weight = |row| row.0.len()) -> {Row} = Row("text".to_owned()); }
walked! { Point(u64) Copy, POINT, point() -> {Point} = Point(7); }
walked! { Pixel(u8) Copy, PIXEL, pixels() -> {Vec<Pixel>} = vec![Pixel(7); 10]; }

walked! { RowOfAKeyspace(String), ROW_OF_A_KEYSPACE, unused() -> {RowOfAKeyspace} = RowOfAKeyspace(String::new()); }
walked! { Refused(String), REFUSED, refused(, cache_if = |_| false) -> {Refused} = Refused("text".to_owned()); }

#[tokio::test]
async fn value_is_walked_at_most_once_for_a_hit_in_the_shared_tier() {
    let pair = Pair::new();
    // Each is loaded by one process, read from the tier by another one, and then served by that from memory.
    macro_rules! walks {
        ($function:ident, $runs:ident) => {{
            let loaded = $function(&pair.a, 1).await;
            pair.flush().await;
            let walks_of_load = $runs.swap(0, SeqCst);
            assert_eq!($function(&pair.b, 1).await, loaded);
            pair.flush().await;
            let walks_of_hit = $runs.swap(0, SeqCst);
            assert_eq!($function(&pair.b, 1).await, loaded);
            assert_eq!($runs.swap(0, SeqCst), 0, "a hit in the process");
            (walks_of_load, walks_of_hit)
        }};
    }
    assert_eq!(walks!(page, PAGE), (2, 1), "to weigh it and to encode it; to weigh it");
    assert_eq!(walks!(row, ROW), (1, 0), "`weight` is given");
    assert_eq!(walks!(point, POINT), (1, 0), "without a heap");
    assert_eq!(walks!(pixels, PIXEL), (10, 0), "in one allocation");
    let stats = pair.b.stats();
    assert_eq!((stats.hits_l2, stats.loads), (4, 0), "{stats:?}");
}

#[tokio::test]
async fn weight_of_a_keyspace_replaces_the_walk() {
    let pair = Pair::new();
    let rows = |cache: &Cache| cache.keyspace::<u32, RowOfAKeyspace>("rows", SECOND).unwrap();
    let weighed = |cache: &Cache| rows(cache).weight(|row| 1000 * row.0.len());
    let walks_of_get = async |keyspace: &Keyspace<u32, RowOfAKeyspace>, key: u32| {
        pair.flush().await;
        ROW_OF_A_KEYSPACE.store(0, SeqCst);
        // It fills the process, which `get` alone does not.
        assert!(keyspace.get_or_load(&key, || async { Err(()) }).await.is_ok());
        ROW_OF_A_KEYSPACE.load(SeqCst)
    };
    rows(&pair.a).set(&1, RowOfAKeyspace("text".to_owned())).await.unwrap();
    rows(&pair.a).set(&2, RowOfAKeyspace("text".to_owned())).await.unwrap();
    assert_eq!(walks_of_get(&rows(&pair.b), 1).await, 1);
    let before = pair.b.stats().l1_bytes;
    assert_eq!(walks_of_get(&weighed(&pair.b), 2).await, 0);
    assert!(pair.b.stats().l1_bytes - before > 4000);
}

#[tokio::test]
async fn value_that_is_not_kept_is_not_walked() {
    let pair = Pair::new();
    refused(&pair.a, 1).await;
    pair.flush().await;
    assert_eq!(REFUSED.load(SeqCst), 0);
}
