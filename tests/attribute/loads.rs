//! Tasks in which bodies run: one of their own if nothing is borrowed, otherwise that of the caller.

use std::{
    cell::RefCell,
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use cached_aside::cached;
use tokio::sync::Semaphore;

use crate::support::{Runs, is_send};

/// Polls a call once, so that its load begins, and drops it.
async fn give_up<F: Future>(call: F) {
    let mut call = pin!(call);
    let polled = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
    assert!(polled.is_pending());
}

/// Waits until the load of a dropped call is done.
async fn wait_until<F: Future<Output = bool>>(mut is_done: impl FnMut() -> F) {
    let wait = async {
        while !is_done().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("the load goes on without its caller");
}

static GATE: Semaphore = Semaphore::const_new(0);
static RUNS: Runs = Runs::new();

async fn slow<T>(value: T) -> T {
    RUNS.add();
    let _permit = GATE.acquire().await.unwrap();
    value
}

#[derive(Clone, serde::Serialize)]
struct Question {
    text: String,
}

#[cached("loads:owned", ttl = "1m")]
async fn owned(x: String, y: Option<u32>) -> String {
    slow(format!("{x} {y:?}")).await
}

#[cached("loads:borrowed", ttl = "1m")]
async fn borrowed(x: &str, y: Option<&str>, z: &Question, bytes: &[u8]) -> String {
    slow(format!("{x} {y:?} {} {bytes:?}", z.text)).await
}

#[cached("loads:named", ttl = "1m")]
async fn named<'a>(x: &'a str, y: &'a str, fixed: &'static str) -> String {
    slow(format!("{x} {y} {fixed}")).await
}

#[cached("loads:boxed", ttl = "1m")]
fn boxed(x: &str) -> Pin<Box<dyn Future<Output = String> + Send + '_>> {
    Box::pin(slow(x.to_owned()))
}

#[cached("loads:insist", ttl = "1m", detach = true)]
async fn insist(x: &str, y: Option<&u64>) -> String {
    slow(format!("{x} {y:?}")).await
}

#[cached("loads:generic", ttl = "1m", detach = true)]
async fn generic<T: serde::Serialize + ToString + Send + Sync + 'static>(x: T) -> String {
    slow(x.to_string()).await
}

struct Repo;

impl Repo {
    #[cached("loads:method", ttl = "1m", skip(self), detach = true, handle = entry)]
    async fn method(self: Arc<Self>, x: u32) -> u32 {
        slow(x).await
    }
}

// There is one test for all functions, because they share the gate.
#[tokio::test]
async fn a_load_outlives_its_caller() {
    {
        // These arguments do not live as long as the load.
        let (x, y) = (String::from("x"), String::from("y"));
        let question = Question { text: "?".to_owned() };
        give_up(owned(x.clone(), Some(1))).await;
        give_up(borrowed(&x, Some(&y), &question, &[1])).await;
        give_up(named(&x, &y, "z")).await;
        give_up(boxed(&x)).await;
        give_up(insist(&x, Some(&3))).await;
        give_up(generic(4)).await;
        give_up(Arc::new(Repo).method(5)).await;
    }
    GATE.add_permits(100);
    let question = Question { text: "?".to_owned() };
    wait_until(async || owned::peek("x".to_owned(), Some(1)).await.is_some()).await;
    wait_until(async || borrowed::peek("x", Some("y"), &question, &[1]).await.is_some()).await;
    wait_until(async || named::peek("x", "y", "z").await.is_some()).await;
    wait_until(async || boxed::peek("x").await.is_some()).await;
    wait_until(async || insist::peek("x", Some(&3)).await.is_some()).await;
    wait_until(async || generic::peek(4).await.is_some()).await;
    wait_until(async || Arc::new(Repo).entry(5).peek().await.is_some()).await;
    assert_eq!(RUNS.take(), 7);

    assert_eq!(owned("x".to_owned(), Some(1)).await, "x Some(1)");
    assert_eq!(borrowed("x", Some("y"), &question, &[1]).await, "x Some(\"y\") ? [1]");
    assert_eq!(named("x", "y", "z").await, "x y z");
    assert_eq!(insist("x", Some(&3)).await, "x Some(3)");
    assert_eq!(RUNS.take(), 0);
}

/// Argument that cannot be copied.
#[derive(serde::Serialize)]
struct Unique(u32);

static INLINE: Runs = Runs::new();

#[cached("loads:unique", ttl = "1m")]
async fn unique(x: &Unique) -> u32 {
    INLINE.add();
    std::future::pending::<()>().await;
    x.0
}

#[cached("loads:refused", ttl = "1m", detach = false)]
async fn refused(x: u32) -> u32 {
    INLINE.add();
    std::future::pending::<()>().await;
    x
}

#[tokio::test]
async fn a_load_that_borrows_ends_with_its_caller() {
    for _ in 0..2 {
        give_up(unique(&Unique(1))).await;
        give_up(refused(1)).await;
    }
    assert_eq!(INLINE.take(), 4, "nobody is left behind to wait for");
}

static COPIES: Runs = Runs::new();

#[derive(serde::Serialize)]
struct Counted(u32);

impl Clone for Counted {
    fn clone(&self) -> Self {
        COPIES.add();
        Self(self.0)
    }
}

#[cached("loads:copies", ttl = "1m")]
async fn copied(x: &Counted, y: Option<&Counted>) -> u32 {
    x.0 + y.map_or(0, |y| y.0)
}

#[tokio::test]
async fn a_hit_copies_no_argument() {
    let (x, y) = (Counted(1), Counted(2));
    assert_eq!(copied(&x, Some(&y)).await, 3);
    assert_eq!(COPIES.take(), 2, "the load has copies of its own");
    assert_eq!(copied(&x, Some(&y)).await, 3);
    assert_eq!(COPIES.take(), 0);
}

static LOCAL: Runs = Runs::new();

#[cached("loads:rc", ttl = "1m")]
async fn with_rc(x: u32) -> u32 {
    LOCAL.add();
    let shared = Rc::new(RefCell::new(x));
    tokio::task::yield_now().await;
    *shared.borrow_mut() += 1;
    shared.take()
}

#[cached("loads:rc_argument", ttl = "1m", skip(seen))]
async fn with_rc_argument(seen: Rc<RefCell<Vec<u32>>>, x: u32) -> u32 {
    LOCAL.add();
    tokio::task::yield_now().await;
    seen.borrow_mut().push(x);
    x
}

struct LocalRepo {
    seen: Rc<RefCell<Vec<u32>>>,
}

impl LocalRepo {
    #[cached("loads:rc_method", ttl = "1m", skip(self), handle = entry)]
    async fn method(&self, x: u32) -> u32 {
        LOCAL.add();
        let seen = self.seen.clone();
        tokio::task::yield_now().await;
        seen.borrow_mut().push(x);
        x
    }
}

async fn non_send_bodies() {
    let seen = Rc::default();
    let repo = LocalRepo { seen: Rc::clone(&seen) };
    for _ in 0..2 {
        assert_eq!(with_rc(1).await, 2);
        assert_eq!(with_rc_argument(seen.clone(), 1).await, 1);
        assert_eq!(repo.method(2).await, 2);
    }
    with_rc::invalidate(1).await.unwrap();
    with_rc_argument::invalidate(seen.clone(), 1).await.unwrap();
    repo.entry(2).invalidate().await.unwrap();
    assert_eq!(LOCAL.take(), 3);
    assert_eq!(*seen.borrow(), [1, 2]);
}

#[test]
fn bodies_that_stay_on_their_thread() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, non_send_bodies());
    runtime.block_on(non_send_bodies());
}

#[test]
fn no_runtime_is_needed() {
    static RUNS: Runs = Runs::new();

    #[cached("loads:no_runtime", ttl = "1m")]
    async fn anywhere(x: &str) -> String {
        RUNS.add();
        x.to_owned()
    }

    pollster::block_on(async {
        assert_eq!(anywhere("x").await, "x");
        assert_eq!(anywhere("x").await, "x");
        anywhere::invalidate("x").await.unwrap();
        assert_eq!(anywhere("x").await, "x");
    });
    assert_eq!(RUNS.take(), 2);
}

#[cached("loads:plain", ttl = "1m")]
async fn plain(x: &str) -> String {
    x.to_owned()
}

#[tokio::test]
async fn futures_are_send_where_bodies_are() {
    use cached_aside::CacheControl;

    is_send(plain("send")).await;
    is_send(plain::with(CacheControl::new(), "send")).await;
    is_send(plain::refresh("send")).await;
    is_send(plain::peek("send")).await;
    is_send(plain::invalidate("send")).await.unwrap();
    let send = is_send(async { unique::peek(&Unique(9)).await });
    assert_eq!(send.await, None);
    let repo = Arc::new(Repo);
    is_send(repo.clone().entry(9).peek()).await;
    is_send(repo.entry(9).invalidate()).await.unwrap();
    // The task owns the future, and the arguments borrow from the task itself.
    let task = tokio::spawn(async {
        let text = String::from("task");
        plain(&text).await
    });
    assert_eq!(task.await.unwrap(), "task");
}

#[derive(serde::Serialize)]
struct Query<'a>(&'a str);

static QUERIES: Runs = Runs::new();

#[cached("loads:query", ttl = "1m")]
fn query(x: Query<'_>) -> impl Future<Output = usize> {
    QUERIES.add();
    async move { x.0.len() }
}

#[cached("loads:query_boxed", ttl = "1m")]
fn query_boxed<'a>(x: &'a Query<'a>) -> Pin<Box<dyn Future<Output = usize> + Send + 'a>> {
    QUERIES.add();
    Box::pin(async move { x.0.len() })
}

#[cached("loads:query_async", ttl = "1m")]
async fn query_async(x: Query<'_>, y: &Query<'_>) -> usize {
    QUERIES.add();
    x.0.len() + y.0.len()
}

#[tokio::test]
async fn types_with_lifetimes() {
    let text = String::from("text");
    for _ in 0..2 {
        assert_eq!(query(Query(&text)).await, 4);
        assert_eq!(query_boxed(&Query(&text)).await, 4);
        assert_eq!(query_async(Query(&text), &Query(&text)).await, 8);
    }
    assert_eq!(QUERIES.take(), 3);
}
