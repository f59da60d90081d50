//! Functions that have the same template.

use cached_aside::{Cache, cached};
use tokio::spawn;

use crate::support::{Pair, Source, wait_until};

#[cached("user:{id}", ttl = "1h", cache = cache, skip(cache, source))]
async fn name(cache: &Cache, source: &Source, id: u64) -> String {
    format!("name {id} {}", source.load().await)
}

/// Copy of `name` with an unchanged template, by mistake.
#[cached("user:{id}", ttl = "1h", cache = cache, skip(cache, source))]
async fn email(cache: &Cache, source: &Source, id: u64) -> String {
    format!("email {id} {}", source.load().await)
}

#[tokio::test]
async fn clashing_functions_do_not_share_values() {
    let (pair, source) = (Pair::new(), Source::open());
    for cache in [&pair.a, &pair.b, &pair.a, &pair.b] {
        assert_eq!(name(cache, &source, 1).await, "name 1 1");
        pair.flush().await;
        assert_eq!(email(cache, &source, 1).await, "email 1 1");
        pair.flush().await;
    }
    // Each function has an entry of its own in L1.
    let before = source.runs();
    name(&pair.a, &source, 1).await;
    email(&pair.a, &source, 1).await;
    assert_eq!(source.runs(), before);
    assert_eq!(pair.a.health().clashes, ["user:{}"]);
    assert!(!pair.a.health().is_healthy());
}

#[tokio::test]
async fn clashing_function_does_not_join_the_load() {
    let (pair, held, open) = (Pair::new(), Source::gated(), Source::open());
    let loading = spawn({
        let (cache, held) = (pair.a.clone(), held.clone());
        async move { name(&cache, &held, 1).await }
    });
    wait_until(|| held.runs() == 1).await;
    let asked = spawn({
        let cache = pair.a.clone();
        async move { email(&cache, &open, 1).await }
    });
    // The first call holds the lease of their common name. The second waits for that lease, and for nothing
    // else.
    held.release(1);
    assert_eq!(loading.await.unwrap(), "name 1 1");
    assert_eq!(asked.await.unwrap(), "email 1 1");
}

#[cached("rate:{id}", ttl = "1h", cache = cache, skip(cache, held))]
async fn rate(cache: &Cache, held: &Source, id: u64) -> std::io::Result<u64> {
    held.load().await;
    Err(std::io::Error::other(format!("no rate {id}")))
}

#[cached("rate:{id}", ttl = "1h", cache = cache, skip(cache))]
async fn rate_of_a_copy(cache: &Cache, id: u64) -> std::io::Result<u64> {
    Ok(id)
}

#[tokio::test]
async fn clashing_function_does_not_receive_the_error() {
    let (pair, held) = (Pair::new(), Source::gated());
    let loading = spawn({
        let (cache, held) = (pair.a.clone(), held.clone());
        async move { rate(&cache, &held, 1).await }
    });
    wait_until(|| held.runs() == 1).await;
    let trips = pair.tier_b.round_trips();
    let asked = spawn({
        let cache = pair.b.clone();
        async move { rate_of_a_copy(&cache, 1).await }
    });
    // The second call has found the lease of the first, and waits for it.
    wait_until(|| pair.tier_b.round_trips() > trips).await;
    held.release(1);
    assert_eq!(loading.await.unwrap().unwrap_err().to_string(), "no rate 1");
    assert_eq!(asked.await.unwrap().unwrap(), 1);
}

#[tokio::test]
async fn invalidation_applies_to_all_functions_with_the_name() {
    let (pair, source) = (Pair::new(), Source::open());
    name(&pair.a, &source, 1).await;
    pair.flush().await;
    email(&pair.a, &source, 1).await;
    pair.flush().await;
    // A load of the other function that has begun is not stored either.
    let held = Source::gated();
    let loading = spawn({
        let (cache, held) = (pair.a.clone(), held.clone());
        async move { email::refresh(&cache, &held, 1).await }
    });
    wait_until(|| held.runs() == 1).await;
    source.write();
    held.write();
    name::invalidate(&pair.a, &source, 1).await.unwrap();
    held.release(9);
    assert_eq!(loading.await.unwrap(), "email 1 1");
    pair.flush().await;
    assert_eq!(name(&pair.a, &source, 1).await, "name 1 2");
    assert_eq!(email(&pair.a, &source, 1).await, "email 1 2");
}

mod app {
    use super::{Cache, Source, cached};

    #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    pub(super) struct User {
        pub(super) name: String,
    }

    #[cached("account:{id}", ttl = "1h", schema = "user.v1", cache = cache, skip(cache, source))]
    pub(super) async fn account(cache: &Cache, source: &Source, id: u64) -> User {
        User { name: format!("{id} {}", source.load().await) }
    }

    #[cached("moved:{id}", ttl = "1h", cache = cache, skip(cache, source))]
    pub(super) async fn moved(cache: &Cache, source: &Source, id: u64) -> User {
        User { name: format!("{id} {}", source.load().await) }
    }
}

/// Another service, with a type of its own for the same data.
mod service {
    use super::{Cache, Source, cached};

    #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    pub(super) struct Person {
        pub(super) name: String,
    }

    #[cached("account:{number}", ttl = "1h", schema = "user.v1", cache = cache, skip(cache, source))]
    pub(super) async fn person(cache: &Cache, source: &Source, number: u64) -> Person {
        Person { name: format!("{number} {}", source.load().await) }
    }

    #[cached("moved:{id}", ttl = "1h", cache = cache, skip(cache, source))]
    pub(super) async fn moved(cache: &Cache, source: &Source, id: u64) -> super::app::User {
        super::app::User { name: format!("{id} {}", source.load().await) }
    }
}

#[tokio::test]
async fn one_schema_name_is_shared_whatever_the_types_and_functions_are_called() {
    let (pair, source) = (Pair::new(), Source::open());
    assert_eq!(app::account(&pair.a, &source, 7).await.name, "7 1");
    pair.flush().await;
    assert_eq!(service::person(&pair.b, &source, 7).await.name, "7 1");
    assert_eq!(source.runs(), 1);
    assert!(pair.a.health().clashes.is_empty());
    let accounts = pair.b.keyspace::<u64, service::Person>("x", std::time::Duration::from_secs(1)).unwrap();
    assert_eq!(accounts.schema("user.v1").get(&7).await, None, "another prefix is another key");

    // Without a schema name, a function that has moved finds nothing.
    app::moved(&pair.a, &source, 7).await;
    pair.flush().await;
    service::moved(&pair.b, &source, 7).await;
    assert_eq!(source.runs(), 3);
}

#[cached("both:{id}", ttl = "1h", schema = "both", cache = cache, skip(cache, source))]
async fn one_of_both(cache: &Cache, source: &Source, id: u64) -> usize {
    source.load().await + usize::try_from(id).unwrap()
}

#[cached("both:{id}", ttl = "1h", schema = "both", cache = cache, skip(cache, source))]
async fn other_of_both(cache: &Cache, source: &Source, id: u64) -> usize {
    source.load().await + usize::try_from(id).unwrap()
}

#[tokio::test]
async fn functions_with_one_schema_share_entries_and_loads() {
    let (pair, source) = (Pair::new(), Source::gated());
    let calls = [
        spawn({
            let (cache, source) = (pair.a.clone(), source.clone());
            async move { one_of_both(&cache, &source, 1).await }
        }),
        spawn({
            let (cache, source) = (pair.a.clone(), source.clone());
            async move { other_of_both(&cache, &source, 1).await }
        }),
    ];
    wait_until(|| source.runs() == 1 && pair.a.stats().waiting == 1).await;
    source.release(9);
    for call in calls {
        assert_eq!(call.await.unwrap(), 2);
    }
    assert_eq!((source.runs(), pair.a.health().clashes.len()), (1, 0));
}

#[cached("mix:{id}", ttl = "1h", local, cache = cache, skip(cache, source))]
async fn here(cache: &Cache, source: &Source, id: u64) -> usize {
    let _ = id;
    source.load().await
}

#[cached("mix:{id}", ttl = "1h", cache = cache, skip(cache, source))]
async fn everywhere(cache: &Cache, source: &Source, id: u64) -> usize {
    let _ = id;
    source.load().await
}

#[tokio::test]
async fn local_and_shared_functions_with_one_template_stay_separate() {
    let (pair, source) = (Pair::new(), Source::open());
    assert_eq!(here(&pair.a, &source, 1).await, 1);
    source.write();
    everywhere::invalidate(&pair.b, &source, 1).confirmed().await.unwrap();
    assert_eq!(everywhere(&pair.a, &source, 1).await, 2);
    assert!(pair.a.health().clashes.is_empty());
}

mod old {
    use super::{Cache, Source, cached};

    #[cached("versioned:{id}", ttl = "1h", cache = cache, skip(cache, source))]
    pub(super) async fn versioned(cache: &Cache, source: &Source, id: u64) -> String {
        format!("one {id} {}", source.load().await)
    }
}

#[cached("versioned:{id}", ttl = "1h", version = 2, cache = cache, skip(cache, source))]
async fn versioned(cache: &Cache, source: &Source, id: u64) -> String {
    format!("two {id} {}", source.load().await)
}

#[tokio::test]
async fn a_load_of_another_version_is_not_joined() {
    let cache = Cache::builder().build().unwrap();
    let (held, open) = (Source::gated(), Source::open());
    let loading = spawn({
        let (cache, held) = (cache.clone(), held.clone());
        async move { old::versioned(&cache, &held, 1).await }
    });
    wait_until(|| held.runs() == 1).await;
    assert_eq!(versioned(&cache, &open, 1).await, "two 1 1");
    held.release(1);
    assert_eq!(loading.await.unwrap(), "one 1 1");
}
