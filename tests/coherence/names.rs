//! Names of tags: a tag has one name, in every place and from every type.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use cached_aside::{Blake3, Cache, CacheControl, KeyHasher, cached, tag};
use serde::{Deserialize, Serialize};

use crate::support::Pair;

/// User-defined type that is a string to serde.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct NoteId(String);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Doc {
    id: NoteId,
    run: usize,
}

#[cached("doc:{n}", ttl = "1h", tags_from = |doc| vec![tag!("doc:{}", doc.id)], cache = cache, skip(cache, runs, id))]
async fn by_value(cache: &Cache, runs: &AtomicUsize, n: usize, id: &NoteId) -> Doc {
    let _ = n;
    Doc { id: id.clone(), run: runs.fetch_add(1, SeqCst) }
}

#[cached("note:{hash(id)}", ttl = "1h", tags = ["note:{id}"], cache = cache, skip(cache, runs))]
async fn by_argument(cache: &Cache, runs: &AtomicUsize, id: &NoteId) -> usize {
    let _ = id;
    runs.fetch_add(1, SeqCst)
}

/// Returns ids that are special for the name of a tag.
///
/// Some are on either side of the length from which a digest replaces a part. Others contain characters that
/// are escaped.
fn ids() -> Vec<String> {
    let lengths = [0, 1, 60, 64, 65, 70, 5000].map(|length| "x".repeat(length));
    let texts = [
        "Ada Lovelace",
        "123",
        "-1.5",
        "true",
        "inf",
        "na\u{ef}ve \u{4e2d}",
        "a:b",
        "100%",
        "%20",
        "*",
        "a*b",
        "{}",
        "?[]\\",
    ];
    lengths.into_iter().chain(texts.map(str::to_owned)).collect()
}

#[tokio::test]
async fn value_tag_has_the_name_of_the_invalidated_tag_for_any_text() {
    for (n, id) in ids().into_iter().enumerate() {
        let (pair, runs) = (Pair::new(), AtomicUsize::new(0));
        let note = NoteId(id.clone());
        for (invalidating, run) in [(&pair.a, 0), (&pair.b, 1)] {
            for cache in [&pair.a, &pair.b] {
                assert_eq!(by_value(cache, &runs, n, &note).await.run, run, "{id:?}");
                pair.flush().await;
            }
            invalidating.invalidate_tag("doc:{}", &[&id]).await.unwrap();
        }
        assert_eq!(by_value(&pair.a, &runs, n, &note).await.run, 2, "{id:?}");
    }
}

#[tokio::test]
async fn argument_tag_has_the_name_of_the_invalidated_tag_for_any_string_type() {
    for id in ids() {
        let (pair, runs) = (Pair::new(), AtomicUsize::new(0));
        let note = NoteId(id.clone());
        assert_eq!(by_argument(&pair.a, &runs, &note).await, 0);
        pair.a.invalidate_tag("note:{}", &[&id.as_str()]).await.unwrap();
        assert_eq!(by_argument(&pair.a, &runs, &note).await, 1, "{id:?}");
        pair.b.invalidate_tag("note:{}", &[&note]).await.unwrap();
        assert_eq!(by_argument(&pair.a, &runs, &note).await, 2, "{id:?}");
    }
}

/// Hasher that counts how often the name of a tag is hashed.
#[derive(Debug)]
struct CountingHasher(Arc<AtomicUsize>);

impl KeyHasher for CountingHasher {
    fn hash(&self, bytes: &[u8]) -> [u8; 32] {
        if bytes.windows(6).any(|part| part == b":%tag:") {
            self.0.fetch_add(1, SeqCst);
        }
        Blake3.hash(bytes)
    }
}

#[cached("many:{n}", ttl = "1h", tags_from = |ids| ids.iter().map(|id| tag!("id:{}", id)).collect(), cache = cache, skip(cache))]
async fn many(cache: &Cache, n: u32) -> Vec<u32> {
    (0..n).collect()
}

#[tokio::test]
async fn a_hit_in_the_shared_tier_hashes_each_tag_once() {
    let hashed = Arc::new(AtomicUsize::new(0));
    let pair = Pair::with(|builder| builder.key_hasher(CountingHasher(hashed.clone())));
    many(&pair.a, 200).await;
    pair.flush().await;
    hashed.store(0, SeqCst);
    let reply = many::with(CacheControl::new(), &pair.b, 200).await;
    assert!(reply.outcome.is_hit());
    assert_eq!(hashed.load(SeqCst), 200);
}
