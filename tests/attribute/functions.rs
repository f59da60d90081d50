//! Free functions and their companions.

use std::{pin::Pin, time::Duration};

use cached_aside::{CacheControl, CacheOutcome, Layer, Reason, cached};

use crate::support::{DbError, Runs, User, is_send};

static RUNS: Runs = Runs::new();

#[cached("functions:syllabus", ttl = "24h")]
async fn syllabus(exam: &str) -> Result<String, DbError> {
    RUNS.add();
    if exam.is_empty() {
        return Err(DbError);
    }
    Ok(exam.to_uppercase())
}

#[tokio::test]
async fn companions() {
    assert_eq!(syllabus("upsc").await.unwrap(), "UPSC");
    assert_eq!(syllabus("upsc").await.unwrap(), "UPSC");
    assert_eq!(RUNS.take(), 1);

    let reply = syllabus::with(CacheControl::new(), "upsc").await;
    assert!(matches!(reply.outcome, CacheOutcome::Hit { tier: Layer::L1, .. }), "{:?}", reply.outcome);
    assert_eq!(syllabus::peek("upsc").await, Some(Ok("UPSC".to_owned())));
    assert_eq!(RUNS.take(), 0);

    syllabus::invalidate("upsc").await.unwrap();
    assert_eq!(syllabus::peek("upsc").await, None);
    let absent = syllabus::with(CacheControl::only_if_cached(), "upsc").await;
    assert!(absent.is_none());
    assert_eq!(RUNS.take(), 0);

    syllabus::refresh("upsc").await.unwrap();
    syllabus::refresh("upsc").await.unwrap();
    syllabus("upsc").await.unwrap();
    assert_eq!(RUNS.take(), 2);

    let off = syllabus::with(CacheControl::off(), "upsc").await;
    assert_eq!(off.outcome, CacheOutcome::Bypass(Reason::Off));
    assert_eq!(RUNS.take(), 1);
    assert!(syllabus::key("upsc").unwrap().starts_with("cached-aside:functions:syllabus:"));
}

#[tokio::test]
async fn errors_are_not_cached() {
    static RUNS: Runs = Runs::new();
    #[cached("functions:errors", ttl = "1m")]
    async fn fails(x: u32) -> Result<u32, DbError> {
        RUNS.add();
        if x == 0 { Err(DbError) } else { Ok(x) }
    }
    for _ in 0..3 {
        assert!(fails(0).await.is_err());
    }
    assert_eq!(RUNS.take(), 3);
}

static SYNC: Runs = Runs::new();

#[cached("functions:square", ttl = "1m", local)]
fn square(x: u64) -> u64 {
    SYNC.add();
    x * x
}

#[test]
fn sync_functions() {
    assert_eq!((square(4), square(4)), (16, 16));
    assert_eq!(SYNC.take(), 1);
    assert_eq!(square::peek(4), Some(16));
    square::invalidate(4).unwrap();
    assert_eq!(square::peek(4), None);
    assert_eq!((square::refresh(4), square::refresh(4)), (16, 16));
    assert_eq!(SYNC.take(), 2);
    assert!(square::with(CacheControl::new(), 4).outcome.is_hit());
    assert!(square::key(4).unwrap().contains("functions:square:"));
}

/// Value that is `Clone`, but not serializable.
#[derive(Clone, Debug, PartialEq)]
struct Opaque(u32);

#[cached("functions:local", ttl = "1m", local, max_entries = 10)]
async fn local(x: u32) -> Opaque {
    LOCAL.add();
    Opaque(x)
}

static LOCAL: Runs = Runs::new();

#[tokio::test]
async fn local_values_need_no_serde() {
    assert_eq!((local(1).await, local(1).await), (Opaque(1), Opaque(1)));
    assert_eq!(LOCAL.take(), 1);
}

static BOXED: Runs = Runs::new();

#[cached("functions:boxed", ttl = "1m")]
fn boxed(x: u32) -> Pin<Box<dyn Future<Output = u32> + Send>> {
    Box::pin(async move {
        BOXED.add();
        x
    })
}

#[cached("functions:boxed_result", ttl = "1m")]
fn boxed_result<'a>(x: &'a str) -> Pin<Box<dyn Future<Output = Result<usize, DbError>> + Send + 'a>> {
    Box::pin(async move {
        BOXED.add();
        if x.is_empty() { Err(DbError) } else { Ok(x.len()) }
    })
}

#[cached("functions:opaque", ttl = "1m")]
fn opaque(x: &str) -> impl Future<Output = String> + Send {
    BOXED.add();
    async move { x.to_owned() }
}

#[tokio::test]
async fn functions_that_return_a_future() {
    assert_eq!((boxed(3).await, boxed(3).await), (3, 3));
    assert_eq!(BOXED.take(), 1);
    assert_eq!((boxed_result("ab").await, boxed_result("ab").await), (Ok(2), Ok(2)));
    assert_eq!(BOXED.take(), 1);
    assert_eq!((opaque("x").await, opaque("x").await), ("x".to_owned(), "x".to_owned()));
    assert_eq!(BOXED.take(), 1);
    opaque::invalidate("x").await.unwrap();
    is_send(opaque("x")).await;
    is_send(boxed(3)).await;
    assert_eq!(BOXED.take(), 1);
}

#[cached("functions:unit", ttl = "1m")]
async fn unit(x: u32) {
    UNIT.add();
    let _ = x;
}

static UNIT: Runs = Runs::new();

#[tokio::test]
async fn a_function_that_returns_nothing() {
    unit(1).await;
    unit(1).await;
    assert_eq!(UNIT.take(), 1);
    assert_eq!(unit::peek(1).await, Some(()));
}

#[cached("functions:nothing", ttl = "1m")]
async fn no_arguments() -> u32 {
    UNIT_TOO.add();
    1
}

static UNIT_TOO: Runs = Runs::new();

#[tokio::test]
async fn a_function_without_arguments() {
    assert_eq!(no_arguments().await + no_arguments().await, 2);
    assert_eq!(UNIT_TOO.take(), 1);
    no_arguments::invalidate().await.unwrap();
    no_arguments().await;
    assert_eq!(UNIT_TOO.take(), 1);
}

mod library {
    use cached_aside::cached;

    use crate::support::Runs;

    pub(crate) static RUNS: Runs = Runs::new();

    #[cached("library:shown", ttl = "1m")]
    pub async fn shown(x: u32) -> u32 {
        RUNS.add();
        x
    }

    #[cached("library:limited", ttl = "1m")]
    pub(crate) async fn limited(x: u32) -> u32 {
        RUNS.add();
        x
    }

    pub(crate) mod inner {
        use cached_aside::cached;

        #[cached("library:inner", ttl = "1m")]
        pub(in crate::functions) async fn inner(x: u32) -> u32 {
            super::RUNS.add();
            x
        }

        #[cached("library:sync", ttl = "1m", local)]
        pub(in crate::functions) fn blocking(x: u32) -> u32 {
            super::RUNS.add();
            x
        }
    }
}

#[tokio::test]
async fn one_use_imports_a_function_and_its_companions() {
    use library::{
        inner::{blocking, inner},
        limited, shown as renamed,
    };

    for _ in 0..2 {
        assert_eq!(renamed(1).await + limited(2).await + inner(3).await + blocking(4), 10);
    }
    assert_eq!(library::RUNS.take(), 4);
    renamed::invalidate(1).await.unwrap();
    limited::invalidate(2).await.unwrap();
    inner::invalidate(3).await.unwrap();
    blocking::invalidate(4).unwrap();
    renamed::refresh(1).await;
    assert_eq!(library::shown(1).await, 1);
    assert_eq!(library::RUNS.take(), 1);
    assert_eq!(limited::peek(2).await, None);
    assert_eq!(inner::peek(3).await, None);
    assert_eq!(blocking::peek(4), None);
}

static FIB: Runs = Runs::new();

#[cached("functions:fib", ttl = "1m", local)]
fn fib(n: u64) -> u64 {
    FIB.add();
    if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
}

static ASYNC_FIB: Runs = Runs::new();

#[cached("functions:async_fib", ttl = "1m")]
async fn async_fib(n: u64) -> u64 {
    ASYNC_FIB.add();
    if n < 2 { n } else { Box::pin(async_fib(n - 1)).await + Box::pin(async_fib(n - 2)).await }
}

#[tokio::test]
async fn recursion_loads_each_key_once() {
    assert_eq!(fib(50), 12_586_269_025);
    assert_eq!(FIB.take(), 51);
    assert_eq!(async_fib(50).await, 12_586_269_025);
    assert_eq!(ASYNC_FIB.take(), 51);
    is_send(async_fib(50)).await;
}

static RING: Runs = Runs::new();

#[cached("functions:even", ttl = "1m")]
async fn is_even(n: u32) -> bool {
    RING.add();
    n == 0 || Box::pin(is_odd(n - 1)).await
}

#[cached("functions:odd", ttl = "1m")]
async fn is_odd(n: u32) -> bool {
    RING.add();
    n != 0 && Box::pin(is_even(n - 1)).await
}

#[cached("functions:tree", ttl = "1m")]
async fn tree(name: &str, depth: u32) -> u32 {
    RING.add();
    1 + children(name, depth).await
}

async fn children(name: &str, depth: u32) -> u32 {
    if depth == 0 { 0 } else { Box::pin(tree(name, depth - 1)).await }
}

#[cached("functions:insist", ttl = "1m", detach = true)]
async fn insist(n: u32) -> u32 {
    RING.add();
    if n == 0 { 0 } else { 1 + Box::pin(insist(n - 1)).await }
}

#[cached("functions:inline", ttl = "1m", detach = false)]
async fn inline(n: u32) -> u32 {
    RING.add();
    if n == 0 { 0 } else { 1 + Box::pin(inline(n - 1)).await }
}

#[cached("functions:generic", ttl = "1m")]
async fn generic<T: serde::Serialize + Send>(of: T, n: u32) -> u32 {
    RING.add();
    let _ = of;
    if n == 0 { 0 } else { 1 + Box::pin(generic("text", n - 1)).await }
}

#[tokio::test]
async fn functions_that_call_each_other() {
    assert!(is_even(20).await);
    assert!(is_even(20).await);
    assert_eq!(RING.take(), 21);
    assert_eq!((tree("x", 5).await, tree("x", 5).await), (6, 6));
    assert_eq!(RING.take(), 6);
    assert_eq!((insist(5).await, inline(5).await, generic(1, 5).await), (5, 5, 5));
    assert_eq!(RING.take(), 18);
    let task = tokio::spawn(async { (tree("task", 1).await, is_even(1).await, insist(9).await) });
    assert_eq!(task.await.unwrap(), (2, false, 9));
}

/// Alias of a result.
type DbResult<T> = Result<T, DbError>;
/// Alias of an option.
type Maybe<T> = Option<T>;

static ALIASES: Runs = Runs::new();

#[cached("functions:alias", ttl = "1m")]
async fn aliased(x: u64) -> DbResult<User> {
    ALIASES.add();
    if x == 0 { Err(DbError) } else { Ok(User { id: x, name: String::new() }) }
}

#[cached("functions:maybe", ttl = "1m")]
async fn maybe(x: u64) -> Maybe<u64> {
    ALIASES.add();
    (x > 0).then_some(x)
}

#[cached("functions:both", ttl = "1m")]
async fn both(x: u64) -> DbResult<Maybe<u64>> {
    ALIASES.add();
    Ok((x > 0).then_some(x))
}

#[cached("functions:both_none", ttl = "1m", cache_none)]
async fn both_with_none(x: u64) -> DbResult<Maybe<u64>> {
    ALIASES.add();
    Ok((x > 0).then_some(x))
}

#[cached("functions:nested", ttl = "1m")]
async fn some_none(x: u64) -> Option<Option<u64>> {
    ALIASES.add();
    Some((x > 0).then_some(x))
}

#[cached("functions:io", ttl = "1m")]
async fn io(x: u64) -> std::io::Result<u64> {
    ALIASES.add();
    if x == 0 { Err(std::io::Error::other("none")) } else { Ok(x) }
}

#[tokio::test]
async fn aliases_are_decided_by_type() {
    macro_rules! runs {
        ($call:expr) => {{
            for _ in 0..2 {
                let _ = $call.await;
            }
            ALIASES.take()
        }};
    }
    assert_eq!(runs!(aliased(1)), 1);
    assert_eq!(runs!(aliased(0)), 2, "an error is kept");
    assert_eq!(runs!(maybe(1)), 1);
    assert_eq!(runs!(maybe(0)), 2, "`None` is kept");
    assert_eq!(runs!(both(1)), 1);
    assert_eq!(runs!(both(0)), 2, "`Ok(None)` is kept");
    assert_eq!(runs!(both_with_none(0)), 1);
    assert_eq!(runs!(some_none(0)), 1, "`Some(None)` is a value");
    assert_eq!(runs!(io(1)), 1);
    assert_eq!(runs!(io(0)), 2);
}

#[tokio::test]
async fn functions_inside_functions() {
    static RUNS: Runs = Runs::new();

    #[cached("functions:inside", ttl = Duration::from_secs(60))]
    async fn inside(x: u32) -> u32 {
        RUNS.add();
        x + 1
    }
    assert_eq!((inside(1).await, inside(1).await), (2, 2));
    inside::invalidate(1).await.unwrap();
    assert_eq!(inside(1).await, 2);
    assert_eq!(RUNS.take(), 2);
}
