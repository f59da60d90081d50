//! Every form of function that the attribute takes.
#![deny(warnings)]
#![allow(clippy::unused_async, clippy::manual_async_fn, reason = "the forms matter, not the bodies")]

use std::{
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
};

use cached_aside::{Cache, CacheControl, CacheOutcome, Layer, cached};
use serde::{Deserialize, Serialize};

static RUNS: AtomicUsize = AtomicUsize::new(0);

fn run() -> usize {
    RUNS.fetch_add(1, Ordering::SeqCst)
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Syllabus(String);

#[derive(Debug)]
struct DbError;

/// What is asked in an exam.
#[cached("syllabus", ttl = "24h")]
async fn syllabus(exam: &str) -> Result<Syllabus, DbError> {
    run();
    if exam.is_empty() {
        return Err(DbError);
    }
    Ok(Syllabus(exam.to_owned()))
}

#[tokio::test]
async fn free_function() {
    assert_eq!(syllabus("upsc").await.unwrap(), Syllabus("upsc".into()));
    let reply = syllabus::with(CacheControl::new(), "upsc").await;
    assert!(matches!(reply.outcome, CacheOutcome::Hit { tier: Layer::L1, .. }), "{:?}", reply.outcome);
    syllabus::invalidate("upsc").await.unwrap();
    assert!(syllabus::peek("upsc").await.is_none());
    assert!(syllabus::key("upsc").unwrap().starts_with("cached-aside:syllabus:"));
    assert!(syllabus::refresh("upsc").await.is_ok());
    assert!(syllabus::peek("upsc").await.is_some());
    assert!(syllabus("").await.is_err());
}

struct Llm;

#[cached("rag:{user_id}:{note_id}:{hash(question)}", ttl = 1800, skip(llm))]
async fn answer(llm: &Llm, user_id: u64, note_id: u64, question: &str) -> Result<String, DbError> {
    run();
    let _ = llm;
    Ok(format!("{user_id} {note_id} {question}"))
}

#[tokio::test]
async fn template() {
    assert_eq!(answer(&Llm, 1, 2, "why?").await.unwrap(), "1 2 why?");
    let key = answer::key(&Llm, 1, 2, "why?").unwrap();
    assert!(key.starts_with("cached-aside:rag:1:2:"), "{key}");
}

struct Repo {
    tenant: u32,
    runs: AtomicUsize,
}

impl Repo {
    #[cached("user:{self.tenant}:{id}", ttl = "5m", handle = user_entry)]
    async fn user(&self, id: u64) -> Option<String> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        (id > 0).then(|| format!("user {id} of {}", self.tenant))
    }

    #[cached("static", ttl = "5m", method)]
    async fn associated(id: u64) -> u64 {
        run();
        id
    }

    #[cached("square", ttl = "5m", local, skip(self))]
    fn square(&self, x: u64) -> u64 {
        self.runs.fetch_add(1, Ordering::SeqCst);
        x * x
    }
}

#[tokio::test]
async fn methods() {
    let repo = Repo { tenant: 3, runs: AtomicUsize::new(0) };
    for _ in 0..3 {
        assert_eq!(repo.user(7).await.as_deref(), Some("user 7 of 3"));
    }
    assert_eq!(repo.runs.load(Ordering::SeqCst), 1);
    repo.user_entry(7).invalidate().await.unwrap();
    repo.user(7).await;
    assert_eq!(repo.runs.load(Ordering::SeqCst), 2);
    assert_eq!(repo.user_entry(7).key().unwrap(), "cached-aside:user:3:7");
    // A `None` is not kept.
    repo.user(0).await;
    repo.user(0).await;
    assert_eq!(repo.runs.load(Ordering::SeqCst), 4);
    assert_eq!(Repo::associated(4).await, 4);
    assert_eq!(repo.square(4), 16);
    assert_eq!(repo.square(4), 16);
    assert_eq!(repo.runs.load(Ordering::SeqCst), 5);
}

#[async_trait::async_trait]
trait Users {
    async fn name(&self, id: u64) -> Result<String, DbError>;
}

#[async_trait::async_trait]
impl Users for Repo {
    #[cached("name:{id}", ttl = "5m", skip(self))]
    async fn name(&self, id: u64) -> Result<String, DbError> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        if id == 0 {
            return Err(DbError);
        }
        Ok(id.to_string())
    }
}

#[tokio::test]
async fn async_trait_methods() {
    let repo: Box<dyn Users> = Box::new(Repo { tenant: 3, runs: AtomicUsize::new(0) });
    assert_eq!(repo.name(7).await.unwrap(), "7");
    assert!(repo.name(0).await.is_err());
}

#[cached("boxed", ttl = "1m")]
fn boxed(x: u32) -> Pin<Box<dyn Future<Output = u32> + Send>> {
    Box::pin(async move { x })
}

#[cached("opaque", ttl = "1m")]
fn opaque(x: u32) -> impl Future<Output = u32> + Send {
    async move { x }
}

#[cached("generic", ttl = "1m")]
async fn generic<T, const N: usize>(x: T) -> String
where
    T: Serialize + Send + Sync + ToString,
{
    run();
    format!("{} {N}", x.to_string())
}

#[cached(ttl = "1m")]
async fn patterns((a, b): (u32, u32), mut c: u32, _: &str, r#type: &[u8], many: Option<&str>) -> u32 {
    c += a + b + u32::try_from(r#type.len() + many.map_or(0, str::len)).unwrap();
    c
}

#[cached("impl", ttl = "1m")]
async fn impl_trait(x: impl ToString + Serialize + Send) -> String {
    x.to_string()
}

#[cached("raw:{type}", ttl = "1m")]
async fn r#match(r#type: u32) -> u32 {
    r#type
}

#[cached("fib", ttl = "1m", local)]
fn fib(n: u64) -> u64 {
    run();
    if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
}

#[cached("afib", ttl = "1m")]
async fn async_fib(n: u64) -> u64 {
    if n < 2 { n } else { Box::pin(async_fib(n - 1)).await + Box::pin(async_fib(n - 2)).await }
}

#[tokio::test]
async fn other_forms() {
    fn is_send<T: Send>(t: T) -> T {
        t
    }
    assert_eq!(boxed(3).await, 3);
    assert_eq!(opaque(3).await, 3);
    assert_eq!(is_send(generic::<_, 2>("x")).await, "x 2");
    assert_eq!(generic::<_, 3>("x").await, "x 3");
    assert_eq!(patterns((1, 2), 3, "", &[1], Some("ab")).await, 9);
    assert_eq!(impl_trait(3).await, "3");
    assert_eq!(r#match(3).await, 3);
    assert_eq!(fib(50), 12_586_269_025);
    assert_eq!(async_fib(50).await, 12_586_269_025);
    is_send(impl_trait(3)).await;
    is_send(syllabus("x")).await.unwrap();
    is_send(syllabus::with(CacheControl::new(), "x")).await;

    #[cached("inner", ttl = "1m")]
    async fn inner(x: u32) -> u32 {
        x + 1
    }
    assert_eq!(inner(1).await, 2);
    inner::invalidate(1).await.unwrap();
}

#[tokio::test]
async fn own_cache() {
    #[cached("own", ttl = "1m", cache = cache, skip(cache, runs))]
    async fn own(cache: &Cache, runs: &AtomicUsize, x: u32) -> u32 {
        runs.fetch_add(1, Ordering::SeqCst);
        x
    }
    let runs = AtomicUsize::new(0);
    let (a, b) = (Cache::builder().build().unwrap(), Cache::builder().build().unwrap());
    own(&a, &runs, 1).await;
    own(&a, &runs, 1).await;
    own(&b, &runs, 1).await;
    assert_eq!(runs.load(Ordering::SeqCst), 2);
    assert_eq!(a.stats().hits_l1, 1);
}
