//! Every form of function can be warmed, with arguments of every form.

use std::{pin::Pin, sync::Arc, time::Duration};

use cached_aside::{Cache, Warmed, cached, testing::ManualClock, warm};

use crate::support::Runs;

static RUNS: Runs = Runs::new();

#[cached("forms-warm:text", ttl = "1m")]
async fn text(name: &str) -> String {
    RUNS.add();
    name.to_owned()
}

#[cached("forms-warm:sync", ttl = "1m", local)]
fn square(n: u64) -> Result<u64, String> {
    RUNS.add();
    if n > 2 { Err("too large".to_owned()) } else { Ok(n * n) }
}

#[cached("forms-warm:boxed", ttl = "1m")]
fn boxed(n: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    RUNS.add();
    Box::pin(async move { n })
}

#[cached("forms-warm:generic", ttl = "1m")]
async fn generic<T: serde::Serialize + ToString>(value: T) -> String {
    RUNS.add();
    value.to_string()
}

/// Argument that is neither `Clone` nor part of the key.
struct Llm;

#[cached("forms-warm:{user}:{note}:{hash(question)}", ttl = "1m", skip(llm))]
async fn answer(llm: &Llm, user: u64, note: Option<&str>, question: &str) -> Result<String, String> {
    let _ = llm;
    RUNS.add();
    Ok(format!("{user} {note:?} {question}"))
}

struct Shop(u8);

impl Shop {
    #[cached("forms-warm-method:{self.0}:{item}", ttl = "1m", handle = price_entry)]
    async fn price(&self, item: &str) -> usize {
        RUNS.add();
        item.len()
    }
}

#[tokio::test]
async fn every_form_of_function_can_be_warmed() {
    let names = vec!["ada".to_owned(), "bob".to_owned(), "ada".to_owned()];
    let report = warm(&names, |name| text::warm(name)).concurrency(1).await;
    assert_eq!((report.loaded, report.present, RUNS.take()), (2, 1, 2));
    let report = warm(names, |name: String| async move { text::warm(&name).await }).await;
    assert_eq!((report.present, RUNS.take()), (3, 0));

    let report = warm(0..4, |n| async move { square::warm(n) }).await;
    assert_eq!((report.loaded, report.failed, RUNS.take()), (3, 1, 4));
    assert_eq!(square::warm(2), Warmed::Present);

    let report = warm([1, 2], boxed::warm).await;
    assert_eq!((report.loaded, RUNS.take()), (2, 2));

    let report = warm(["one", "two"], generic::warm).await;
    assert_eq!((report.loaded, RUNS.take()), (2, 2));

    let llm = Llm;
    let questions = [(1, None, "why?"), (1, Some("n"), "why?"), (2, None, "why?")];
    let report = warm(questions, |(user, note, question)| answer::warm(&llm, user, note, question)).await;
    assert_eq!((report.loaded, RUNS.take()), (3, 3));
    assert!(answer::peek(&llm, 2, None, "why?").await.is_some());

    let shop = Shop(7);
    let report = warm(["tea", "coffee"], |item| shop.price_entry(item).warm()).await;
    assert_eq!((report.loaded, RUNS.take()), (2, 2));
    assert_eq!((shop.price("tea").await, RUNS.take()), (3, 0));
}

static KEPT: Runs = Runs::new();

/// Client with a name, which stands for the backend that answers.
#[derive(Clone)]
struct Client(String);

/// Function that warms its own key. That call runs the body for itself only, and the body panics.
#[cached("forms-warm-inside:{n}", ttl = "1m", local, detach = false, skip(is_inside))]
async fn inside(n: u32, is_inside: bool) -> Option<Warmed> {
    assert!(!is_inside, "as planned");
    let warmed: Pin<Box<dyn Future<Output = Warmed>>> = Box::pin(inside::warm(n, true));
    Some(warmed.await)
}

#[cached("forms-warm-inside-sync:{n}", ttl = "1m", local, skip(is_inside))]
fn inside_sync(n: u32, is_inside: bool) -> Option<Warmed> {
    assert!(!is_inside, "as planned");
    Some(inside_sync::warm(n, true))
}

#[tokio::test]
async fn panic_of_a_load_for_its_caller_only_ends_a_warm_up_alike_in_every_form() {
    assert_eq!(inside_sync(1, false), Some(Warmed::Panicked));
    assert_eq!(inside(1, false).await, Some(Warmed::Panicked));
}

#[cached("forms-kept", ttl = "100s", keep_warm = 10, cache = cache, skip(cache, client, shared))]
#[allow(clippy::too_many_arguments)]
async fn kept(
    cache: Cache,
    client: &Client,
    shared: Arc<Vec<u8>>,
    owner: String,
    text: &str,
    (number, _): (u64, u64),
    word: &'static str,
    path: &std::path::Path,
    option: Option<&str>,
    borrowed: &[u32],
) -> Result<String, String> {
    KEPT.add();
    let _ = cache;
    Ok(format!("{} {shared:?} {owner} {text} {number} {word} {path:?} {option:?} {borrowed:?}", client.0))
}

/// Function that calls itself, so that its future contains its own future.
#[cached("forms-kept-recursive:{n}", ttl = "100s", keep_warm = 10, cache = cache, skip(cache))]
async fn sum(cache: &Cache, n: u64) -> u64 {
    KEPT.add();
    if n == 0 { 0 } else { n + sum(cache, n - 1).await }
}

#[tokio::test]
async fn keys_with_arguments_of_every_form_are_kept_warm() {
    let clock = ManualClock::new();
    let cache = Cache::builder().clock(clock.clock()).build().unwrap();
    let (client, shared) = (Client("llm".to_owned()), Arc::new(vec![1, 2]));
    let call = || {
        let (cache, shared, owner) = (cache.clone(), shared.clone(), "ada".to_owned());
        let path = std::path::Path::new("/a");
        kept(cache, &client, shared, owner, "why?", (7, 8), "w", path, Some("o"), &[1, 2])
    };
    let first = call().await;
    for runs in 1..4 {
        assert_eq!((call().await, KEPT.take()), (first.clone(), usize::from(runs == 1)));
        clock.advance(Duration::from_secs(90));
        while cache.stats().fills < 1 + runs {
            tokio::task::yield_now().await;
        }
        assert_eq!(KEPT.take(), 1);
    }
    assert_eq!(Arc::strong_count(&shared), 2, "one copy is kept");

    for _ in 0..2 {
        assert_eq!(sum(&cache, 3).await, 6);
    }
    assert_eq!(KEPT.take(), 4);
    let fills = cache.stats().fills;
    clock.advance(Duration::from_secs(90));
    while cache.stats().fills == fills {
        tokio::task::yield_now().await;
    }
}
