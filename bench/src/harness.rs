//! Interleaved timing.
//!
//! Criterion and Divan finish one benchmark before they start the next, and report times. Here only ratios mean
//! anything, and the machine gets slower and faster while it runs: so all arms take a short turn in each round, and
//! each is compared with the others of its round.

use std::{
    hint::black_box,
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Distinct keys.
pub(crate) const KEYS: u16 = 1_000;

/// Runs of the functions behind all the caches.
pub(crate) static LOADS: AtomicUsize = AtomicUsize::new(0);

/// Hits between two looks at the clock.
const STRIDE: u16 = 1 << 10;

/// So many that no branch predictor learns the sequence.
const STRIDES: u16 = 1 << 6;

/// How long to measure.
#[derive(Clone, Copy)]
pub struct Effort {
    rounds: usize,
    turn: Duration,
}

impl Effort {
    /// Cargo adds `--bench`.
    pub fn from_arguments() -> Self {
        match std::env::args().skip(1).find(|argument| argument != "--bench").as_deref() {
            None => Self { rounds: 35, turn: Duration::from_millis(20) },
            Some("--quick") => Self { rounds: 5, turn: Duration::from_millis(2) },
            Some(other) => panic!("`{other}` is not known, only `--quick`"),
        }
    }
}

/// One way to look up a key.
pub struct Arm {
    pub name: &'static str,
    run: Box<Run>,
}

type Run = dyn Fn(&[u16]) + Send + Sync;

impl Arm {
    /// Fills the cache behind `hit`, and checks that from then on it answers, and what.
    pub(crate) fn new<K: Sync, V>(
        name: &'static str,
        keys: &'static [K],
        is_right: impl Fn(&K, V) -> bool,
        hit: impl Fn(&K) -> V + Send + Sync + 'static,
    ) -> Self {
        let before = LOADS.load(Ordering::SeqCst);
        for _ in 0..3 {
            assert!(keys.iter().all(|key| is_right(key, hit(key))), "{name}: a wrong value");
        }
        let loads = LOADS.load(Ordering::SeqCst) - before;
        assert_eq!(loads, keys.len(), "{name}: as many loads as keys");
        let run = move |indices: &[u16]| {
            for &index in indices {
                black_box(hit(black_box(&keys[usize::from(index)])));
            }
        };
        Self { name, run: Box::new(run) }
    }

    /// Looks up keys by their indices.
    pub fn run(&self, indices: &[u16]) {
        (self.run)(indices);
    }

    /// Nanoseconds per hit.
    fn turn<'a>(&self, strides: &mut impl Iterator<Item = &'a [u16]>, at_least: Duration) -> f64 {
        let (start, mut done) = (Instant::now(), 0_u32);
        for stride in strides {
            self.run(stride);
            done += 1;
            if start.elapsed() >= at_least {
                break;
            }
        }
        start.elapsed().as_secs_f64() * 1e9 / (f64::from(done) * f64::from(STRIDE))
    }
}

/// Nanoseconds per hit as one thread sees them: for each round, for each arm.
pub fn measure(arms: &[Arm], threads: u16, effort: Effort) -> Vec<Vec<f64>> {
    let loads = LOADS.load(Ordering::SeqCst);
    let (sequence, barrier) = (&sequence(), &Barrier::new(threads.into()));
    let work = |thread: u16| {
        let start = thread * STRIDES / threads;
        let mut strides = sequence.chunks(STRIDE.into()).cycle().skip(start.into());
        let mut round = || {
            let turns = arms.iter().map(|arm| {
                barrier.wait();
                arm.turn(&mut strides, effort.turn)
            });
            turns.collect::<Vec<_>>()
        };
        // Warms up what a cache keeps for each thread; the threads last for the same reason.
        round();
        (0..effort.rounds).map(|_| round()).collect::<Vec<_>>()
    };
    let times: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        workers.into_iter().map(|worker| worker.join().expect("no arm panics")).collect()
    });
    assert_eq!(LOADS.load(Ordering::SeqCst), loads, "every timed call is a hit");
    let mean = |round: usize, arm: usize| {
        times.iter().map(|rounds| rounds[round][arm]).sum::<f64>() / f64::from(threads)
    };
    (0..effort.rounds).map(|round| (0..arms.len()).map(|arm| mean(round, arm)).collect()).collect()
}

/// Uniform indices: the high bits of a linear congruential generator.
pub fn sequence() -> Vec<u16> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u16::try_from((state >> 33) % u64::from(KEYS)).expect("less than `KEYS`")
    };
    std::iter::repeat_with(next).take(usize::from(STRIDE) * usize::from(STRIDES)).collect()
}

pub fn quartiles(samples: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut sorted: Vec<_> = samples.collect();
    sorted.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| sorted[(sorted.len() - 1) * quarter / 4])
}
