//! Hits by several threads.
//!
//! The threads last for the whole race, because some caches keep state for each thread.

use std::{
    hint::black_box,
    sync::{Arc, Barrier, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::{
    options::Options,
    race::Rounds,
    work::{Key, Value, loads},
};

/// Number of hits between two readings of the clock.
const STRIDE: usize = 1 << 7;

/// An arm: one way to look up a key.
pub struct Hits {
    pub name: String,
    run: Box<Run>,
}

type Run = dyn Fn(&[u32]) + Send + Sync;

impl Hits {
    /// Fills the cache behind `hit`, and checks its answers.
    ///
    /// Every key is requested twice. Both answers must have the right value, and the second must be a hit.
    pub fn new<K: Key, V: Value>(
        name: &str,
        keys: &Arc<Vec<K>>,
        hit: impl Fn(&K) -> V + Send + Sync + 'static,
    ) -> Self {
        let (keys, before) = (Arc::clone(keys), loads());
        for _ in 0..2 {
            assert!(keys.iter().all(|key| hit(key) == V::new(key.number())), "{name}: a wrong value");
        }
        assert_eq!(loads() - before, keys.len(), "{name}: as many loads as keys");
        let run = move |indices: &[u32]| {
            for &index in indices {
                black_box(hit(black_box(&keys[index as usize])));
            }
        };
        Self { name: name.to_owned(), run: Box::new(run) }
    }

    /// Looks up keys by their indices. The group `instructions` has callgrind find this function by its name.
    #[inline(never)]
    pub fn run(&self, indices: &[u32]) {
        (self.run)(indices);
    }
}

/// Measures the nanoseconds per hit, as one thread sees them.
///
/// With several numbers of threads, each number is an arm of its own in every round; see [`arm_name`].
pub fn measure(options: &Options, arms: &[Hits], threads: &[usize], order: &[u32]) -> Rounds {
    let before = loads();
    let max_threads = threads.iter().copied().max().unwrap_or(1);
    let (barrier, start) = (&Barrier::new(max_threads), &Mutex::new(Instant::now()));
    let rounds = options.rounds();
    let work = |thread: usize| {
        let offset = thread * order.len() / STRIDE / max_threads;
        let mut strides = order.chunks(STRIDE).cycle().skip(offset);
        let mut turn = |arm: &Hits, threads: usize| {
            if barrier.wait().is_leader() {
                *start.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            }
            barrier.wait();
            let start = *start.lock().unwrap_or_else(PoisonError::into_inner);
            // With more threads than cores, each thread needs a longer turn to get its share of the cores.
            let length = if threads > 2 { 3 * options.turn() } else { options.turn() };
            if thread < threads { rate(arm, &mut strides, start, length) } else { 0.0 }
        };
        let mut round = || {
            let turns = threads.iter().flat_map(|&threads| arms.iter().map(move |arm| (arm, threads)));
            turns.map(|(arm, threads)| turn(arm, threads)).collect::<Vec<_>>()
        };
        // Every thread requests all keys before the timing, which creates the state kept for each thread.
        for arm in arms {
            arm.run(order);
        }
        round();
        (0..rounds).map(|_| round()).collect::<Vec<_>>()
    };
    let rates: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..max_threads).map(|thread| scope.spawn(move || work(thread))).collect();
        workers.into_iter().map(|worker| worker.join().expect("no arm panics")).collect()
    });
    assert_eq!(loads(), before, "every timed call is a hit");
    let turns_of_a_round = || threads.iter().flat_map(|&threads| arms.iter().map(move |arm| (arm, threads)));
    let cost = |round: usize, turn: usize, threads: usize| {
        threads as f64 / rates.iter().map(|rounds: &Vec<Vec<f64>>| rounds[round][turn]).sum::<f64>()
    };
    let names = turns_of_a_round()
        .map(|(arm, count)| if max_threads == 1 { arm.name.clone() } else { arm_name(&arm.name, count) });
    let costs = (0..rounds).map(|round| {
        turns_of_a_round().enumerate().map(|(turn, (_, threads))| cost(round, turn, threads)).collect()
    });
    Rounds::new(names.collect(), costs.collect())
}

/// Returns the name of an arm in a race with several numbers of threads.
pub fn arm_name(arm: &str, threads: usize) -> String {
    format!("{arm} × {threads}")
}

/// Returns the hits per nanosecond since `start`, the time at which all threads began.
fn rate<'a>(
    arm: &Hits,
    strides: &mut impl Iterator<Item = &'a [u32]>,
    start: Instant,
    length: Duration,
) -> f64 {
    let mut done = 0;
    for stride in strides {
        arm.run(stride);
        done += stride.len();
        if start.elapsed() >= length {
            break;
        }
    }
    done as f64 / start.elapsed().as_nanos() as f64
}
