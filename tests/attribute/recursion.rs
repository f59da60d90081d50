//! Functions that call themselves, in a thread with the standard library's default stack.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Mutex,
    thread,
};

use cached_aside::{CacheControl, cached};

use crate::support::Runs;

const STACK: usize = 2 << 20;

/// Number of levels that must fit into the stack. `tests/hit_cost` holds a release build to more.
const DEPTH: usize = 500;

/// Addresses in the stack frames of the levels.
static FRAMES: Mutex<Vec<usize>> = Mutex::new(Vec::new());

fn record_frame() {
    let here = 0_u8;
    FRAMES.lock().unwrap().push(std::ptr::from_ref(&here).addr());
}

/// Returns the stack bytes per level, averaged in the middle of `levels` levels.
fn bytes_per_level(levels: u64, call: impl FnOnce(u64)) -> usize {
    FRAMES.lock().unwrap().clear();
    call(levels);
    let frames = FRAMES.lock().unwrap();
    let [from, to] = [frames.len() / 4, frames.len() / 2];
    (frames[from] - frames[to]) / (to - from)
}

#[cached("recursion:fib", ttl = "1h", local)]
fn fib(n: u64) -> u64 {
    record_frame();
    if n < 2 { n } else { fib(n - 1).wrapping_add(fib(n - 2)) }
}

#[cached("recursion:text:{n}:{text}", ttl = "1h", local, cache_if = |v| !v.is_empty(), max_loads = 4)]
fn longer(n: u64, text: &str) -> Result<String, String> {
    record_frame();
    if n == 0 {
        return Ok(text.to_owned());
    }
    let rest = longer(n - 1, text)?;
    Ok(format!("{}{rest}", n % 10))
}

struct Solver;

impl Solver {
    #[cached("recursion:solve:{n}", ttl = "1h", local, skip(self))]
    fn solve(&self, n: u64) -> u64 {
        record_frame();
        if n == 0 { 0 } else { self.solve(n - 1) + 1 }
    }

    #[cached("recursion:handled:{n}", ttl = "1h", local, skip(self), handle = handled_entry)]
    fn handled(&self, n: u64) -> u64 {
        record_frame();
        if n == 0 { 0 } else { self.handled(n - 1) + 1 }
    }
}

#[test]
fn a_function_that_calls_itself_needs_little_stack_for_each_level() {
    let levels = 40;
    let each = [
        ("fib", bytes_per_level(levels, |n| _ = fib(n))),
        ("longer", bytes_per_level(levels, |n| _ = longer(n, "x"))),
        ("solve", bytes_per_level(levels, |n| _ = Solver.solve(n))),
        ("handled", bytes_per_level(levels, |n| _ = Solver.handled(n))),
    ];
    println!("bytes of stack for each level: {each:?}");
    for (name, bytes) in each {
        assert!(bytes * DEPTH < STACK / 10 * 9, "{name}: {bytes} bytes of stack for each level");
    }
    // This comes last, because a stack overflow ends the whole program.
    let deep = thread::Builder::new().stack_size(STACK).spawn(|| {
        let n = DEPTH as u64;
        assert_eq!(fib(90), 2_880_067_194_370_816_120);
        fib(n);
        assert_eq!(longer(n, "").unwrap().len(), DEPTH);
        assert_eq!((Solver.solve(n), Solver.handled(n)), (n, n));
    });
    deep.unwrap().join().unwrap();
}

static RUNS: Runs = Runs::new();

#[cached("recursion:fails:{n}", ttl = "1h", local)]
fn fails(n: u64) -> Result<u64, u64> {
    RUNS.add();
    match n {
        0 => panic!("at the end"),
        1 => Err(1),
        _ => fails(n - 2).map_err(|error| error + 1),
    }
}

/// Function that calls itself with the same argument.
#[cached("recursion:circle:{n}", ttl = "1h", local)]
fn circle(n: u64) -> u64 {
    RUNS.add();
    if RUNS.peek() < 2 { circle(n) + 1 } else { n }
}

#[test]
fn errors_and_panics_of_inner_levels_are_returned_unchanged() {
    assert_eq!(fails(5), Err(3));
    assert_eq!(RUNS.take(), 3);
    let panic = catch_unwind(AssertUnwindSafe(|| fails(4))).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"at the end"));
    assert_eq!(RUNS.take(), 3, "no level ran twice");
    assert_eq!(circle(7), 8, "the inner one runs the body");
    assert_eq!(RUNS.take(), 2);
    assert_eq!(circle(7), 8);
    assert_eq!((circle::refresh(8), RUNS.take()), (9, 2));
    let reply = circle::with(CacheControl::new(), 7);
    assert!(reply.outcome.is_hit());
    circle::invalidate(7).unwrap();
    assert_eq!(circle::peek(7), None);
}
