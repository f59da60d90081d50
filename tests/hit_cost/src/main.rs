//! The program behind the tests of this package.
//!
//! `hit-cost FUNCTION CALLS` makes `CALLS` calls, for `tests/instructions.rs` to count. They are hits in memory,
//! misses of a full cache, or hits in a shared tier.
//! `hit-cost walked LOADS` and `hit-cost weighed LOADS` load a value that is weighed through `Serialize`, or by
//! `weight`. `hit-cost encoded TIMES` encodes the same value.
//! `hit-cost fib DEPTH` calls a function that calls itself `DEPTH` levels deep, in a thread. It prints the
//! bytes of stack per level, for `tests/depth.rs`.

use std::{
    env,
    future::Future,
    hint::black_box,
    pin::pin,
    process::ExitCode,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
};

use cached_aside::{
    Cache, cached,
    testing::{FakeTier, ManualClock},
};
use serde::Serialize;

#[cached("number", ttl = "1h")]
async fn by_number(n: u64) -> u64 {
    n
}

#[cached("name", ttl = "1h")]
async fn by_name(name: &str, n: u32) -> u64 {
    name.len() as u64 + u64::from(n)
}

#[cached("square", ttl = "1h", local)]
fn square(n: u64) -> u64 {
    n.wrapping_mul(n)
}

#[cached("prompt", ttl = "1h")]
async fn prompt(text: &str) -> u64 {
    text.len() as u64
}

#[cached("cube", ttl = "1h", local)]
fn cube(n: u64) -> u64 {
    n.wrapping_mul(n).wrapping_mul(n)
}

#[cached("local", ttl = "1h", local, detach = false)]
async fn local(n: u64) -> u64 {
    n
}

#[cached("inline", ttl = "1h", detach = false)]
async fn inline(n: u64) -> u64 {
    n
}

/// Bytes of the in-process tier where misses are counted. It is full after some thousand entries.
const FULL: u64 = 4 << 20;

/// Number of calls after which such a tier is full, and which are not counted.
const UNTIL_FULL: u64 = 20_000;

/// Row of a table, as applications cache them.
#[derive(Clone, Serialize)]
struct Row {
    id: u64,
    name: String,
    labels: Vec<String>,
    place: Option<(f64, f64)>,
    is_active: bool,
}

/// Rows behind an `Arc`, so that a load clones none of them.
type Rows = Arc<Vec<Row>>;

fn rows() -> &'static Rows {
    static ROWS: LazyLock<Rows> = LazyLock::new(|| {
        let row = |id| Row {
            id,
            name: format!("the name of row {id}"),
            labels: vec!["red".to_owned(), "green".to_owned()],
            place: (id % 2 == 0).then_some((0.5, 1.5)),
            is_active: true,
        };
        Arc::new((0..100).map(row).collect())
    });
    &ROWS
}

#[cached("walked", ttl = "1h", local)]
fn walked() -> Rows {
    rows().clone()
}

#[cached("weighed", ttl = "1h", local, weight = |rows| size_of_val(&rows[..]))]
fn weighed() -> Rows {
    rows().clone()
}

/// Levels of `fib` that store the addresses of their frames in `FRAMES`.
const MEASURED_LEVELS: [u64; 2] = [100, 200];
static FRAMES: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];

#[cached("fib", ttl = "1h", local)]
fn fib(n: u64) -> u64 {
    if let Some(level) = MEASURED_LEVELS.iter().position(|level| *level == n) {
        let frame = 0_u8;
        FRAMES[level].store(std::ptr::from_ref(black_box(&frame)).addr(), Ordering::SeqCst);
    }
    if n < 2 { n } else { fib(n - 1).wrapping_add(fib(n - 2)) }
}

/// Number of keys, which are requested in turn.
///
/// With so few keys, fewer than one in a million thread caches has a set that is too small for its keys.
const KEYS: u64 = 10;

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let (Some(function), Some(Ok(hits))) = (arguments.next(), arguments.next().map(|hits| hits.parse()))
    else {
        eprintln!("hit-cost FUNCTION CALLS");
        return ExitCode::FAILURE;
    };
    let names: Vec<String> = (0..KEYS).map(|n| format!("user-{n}@example.org")).collect();
    let long: Vec<String> = (0..KEYS).map(|n| format!("{n:02048}")).collect();
    let name = |n: u64| &*names[usize::try_from(n).unwrap_or(0)];
    let text = |n: u64| &*long[usize::try_from(n).unwrap_or(0)];
    match &*function {
        "number" => call_keys(hits, |n| poll_until_ready(by_number(n))),
        "name" => call_keys(hits, |n| poll_until_ready(by_name(name(n), 7))),
        "square" => call_keys(hits, square),
        "prompt" => call_keys(hits, |n| poll_until_ready(prompt(text(n)))),
        "miss-cube" => call_new_keys(hits, cube),
        "miss-local" => call_new_keys(hits, |n| poll_until_ready(local(n))),
        "miss-inline" => call_new_keys(hits, |n| poll_until_ready(inline(n))),
        "tier-miss" => call_tier(hits, |n| poll_until_ready(inline::refresh(n))),
        "tier-hit" => call_tier(hits, |n| poll_until_ready(inline(n))),
        "walked" => (0..hits).for_each(|_| drop(black_box(walked::refresh()))),
        "weighed" => (0..hits).for_each(|_| drop(black_box(weighed::refresh()))),
        "encoded" => (0..hits).for_each(|_| drop(black_box(serde_json::to_vec(black_box(&**rows()))))),
        "fib" => return measure_stack(hits),
        _ => {
            eprintln!("there is no function `{function}`");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Runs `fib` in a thread with 2 MiB of stack, the default of the standard library.
///
/// Prints the bytes of stack per level.
fn measure_stack(depth: u64) -> ExitCode {
    let thread = thread::Builder::new().stack_size(2 << 20).spawn(move || fib(depth));
    if thread.is_ok_and(|thread| thread.join().is_ok()) {
        let [low, high] = FRAMES.each_ref().map(|frame| frame.load(Ordering::SeqCst));
        println!("{}", low.abs_diff(high) / 100);
        return ExitCode::SUCCESS;
    }
    ExitCode::FAILURE
}

/// Calls each key once to load it and a few times to bring it into the thread cache. Then makes the hits.
fn call_keys(hits: u64, call: impl Fn(u64) -> u64) {
    for n in (0..10 * KEYS).chain(0..hits) {
        black_box(call(black_box(n % KEYS)));
    }
}

/// Calls new keys, in a cache that is full.
fn call_new_keys(calls: u64, call: impl Fn(u64) -> u64) {
    let cache = Cache::builder().l1_max_bytes(FULL).build();
    cache.and_then(Cache::install).expect("there is no other cache");
    for n in 0..UNTIL_FULL + calls {
        black_box(call(black_box(n)));
    }
}

/// Makes calls that the in-process tier never answers, in a cache with a shared tier, which is in this process.
///
/// The count includes that of the tier.
fn call_tier(calls: u64, call: impl Fn(u64) -> u64) {
    let clock = ManualClock::new();
    let cache = Cache::builder().tier(FakeTier::new(&clock)).clock(clock.clock()).l1_max_bytes(1).build();
    cache.and_then(Cache::install).expect("there is no other cache");
    for n in 0..10 * KEYS + calls {
        black_box(call(black_box(n % KEYS)));
    }
}

/// Polls a call until it is ready. A hit, and a load that does not wait, are ready at the first poll.
fn poll_until_ready<T>(call: impl Future<Output = T>) -> T {
    let mut call = pin!(call);
    loop {
        if let Poll::Ready(value) = call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return value;
        }
    }
}
