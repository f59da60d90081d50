//! Random histories of two processes with one shared tier, held against a model that is plain enough to be believed.

use std::{
    cell::Cell,
    collections::{HashMap, HashSet},
    convert::Infallible,
    time::Duration,
};

use cached_aside::{
    Cache, Keyspace, Mode,
    testing::{FakeTier, ManualClock},
};
use proptest::prelude::*;

const TTL: u64 = 60;

#[derive(Clone, Copy, Debug)]
enum Step {
    Load { process: usize, key: u8 },
    Get { process: usize, key: u8 },
    Set { process: usize, key: u8 },
    Delete { process: usize, key: u8 },
    Wait { seconds: u64 },
    ClearLocal { process: usize },
    Switch { process: usize, mode: Mode },
    Tier { is_down: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let (process, key) = (0..2_usize, 0..3_u8);
    let mode = prop_oneof![4 => Just(Mode::On), 1 => Just(Mode::LocalOnly), 1 => Just(Mode::Off)];
    prop_oneof![
        6 => (process.clone(), key.clone()).prop_map(|(process, key)| Step::Load { process, key }),
        3 => (process.clone(), key.clone()).prop_map(|(process, key)| Step::Get { process, key }),
        2 => (process.clone(), key.clone()).prop_map(|(process, key)| Step::Set { process, key }),
        2 => (process.clone(), key).prop_map(|(process, key)| Step::Delete { process, key }),
        3 => (1..40_u64).prop_map(|seconds| Step::Wait { seconds }),
        1 => process.clone().prop_map(|process| Step::ClearLocal { process }),
        1 => (process, mode).prop_map(|(process, mode)| Step::Switch { process, mode }),
        1 => any::<bool>().prop_map(|is_down| Step::Tier { is_down }),
    ]
}

/// Value and deadline.
type Entries = HashMap<u8, (u64, u64)>;

#[derive(Default)]
struct Model {
    now: u64,
    local: [Entries; 2],
    shared: Entries,
    modes: [Mode; 2],
    is_down: bool,
    /// What each process could not take away from the shared tier, and does not read there.
    untold: [HashSet<u8>; 2],
}

impl Model {
    fn reaches_shared(&self, process: usize) -> bool {
        self.modes[process] == Mode::On && !self.is_down
    }

    /// What a process finds, and has in its own tier from then on if `fill`.
    fn find(&mut self, process: usize, key: u8, fill: bool) -> Option<u64> {
        if self.modes[process] == Mode::Off {
            return None;
        }
        let now = self.now;
        let fresh = |entries: &Entries| entries.get(&key).copied().filter(|(_, deadline)| now < *deadline);
        if let Some((value, _)) = fresh(&self.local[process]) {
            return Some(value);
        }
        if !self.reaches_shared(process) {
            return None;
        }
        if self.untold[process].remove(&key) {
            self.shared.remove(&key);
            return None;
        }
        let found = fresh(&self.shared)?;
        if fill {
            self.local[process].insert(key, found);
        }
        Some(found.0)
    }

    fn store(&mut self, process: usize, key: u8, value: u64) {
        let entry = (value, self.now + TTL);
        if self.modes[process] != Mode::Off {
            self.local[process].insert(key, entry);
        }
        if self.reaches_shared(process) {
            self.untold[process].remove(&key);
            self.shared.insert(key, entry);
        }
    }

    /// Whether everyone who had to be told was told.
    fn delete(&mut self, process: usize, key: u8) -> bool {
        self.local[process].remove(&key);
        if self.is_down {
            self.untold[process].insert(key);
        } else {
            self.untold[process].remove(&key);
            self.shared.remove(&key);
        }
        !self.is_down
    }
}

/// The real thing, step by step beside the model.
struct Pair {
    clock: ManualClock,
    tier: FakeTier,
    caches: [Cache; 2],
    keyspaces: [Keyspace<u8, u64>; 2],
    model: Model,
    next: Cell<u64>,
}

impl Pair {
    fn new() -> Self {
        let clock = ManualClock::new();
        let tier = FakeTier::new(&clock);
        let caches =
            [(); 2].map(|()| Cache::builder().tier(tier.clone()).clock(clock.clock()).build().unwrap());
        let keyspaces =
            [0, 1].map(|process: usize| caches[process].keyspace("n", Duration::from_secs(TTL)).unwrap());
        Self { clock, tier, caches, keyspaces, model: Model::default(), next: Cell::new(0) }
    }

    fn new_value(&self) -> u64 {
        self.next.set(self.next.get() + 1);
        self.next.get()
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Load { process, key } => {
                let load = async || Ok::<_, Infallible>(self.new_value());
                let value = self.keyspaces[process].get_or_load(&key, load).await.unwrap();
                let expected = match self.model.find(process, key, true) {
                    Some(value) => value,
                    None => {
                        self.model.store(process, key, self.next.get());
                        self.next.get()
                    }
                };
                assert_eq!(value, expected);
            }
            Step::Get { process, key } => {
                let expected = self.model.find(process, key, false);
                assert_eq!(self.keyspaces[process].get(&key).await, expected);
                let expected = self.model.find(process, key, false);
                assert_eq!(self.keyspaces[process].exists(&key).await, expected.is_some());
            }
            Step::Set { process, key } => {
                let value = self.new_value();
                let stored = self.keyspaces[process].set(&key, value).await.is_ok();
                let is_on = self.model.modes[process] == Mode::On;
                if is_on && self.model.is_down {
                    self.model.untold[process].insert(key);
                }
                let told = is_on || self.model.delete(process, key);
                self.model.store(process, key, value);
                assert_eq!(stored, told && !(is_on && self.model.is_down));
            }
            Step::Delete { process, key } => {
                let told = self.keyspaces[process].delete(&key).await.is_ok();
                assert_eq!(told, self.model.delete(process, key));
            }
            Step::Wait { seconds } => {
                self.clock.advance(Duration::from_secs(seconds));
                self.model.now += seconds;
            }
            Step::ClearLocal { process } => {
                self.caches[process].clear_local();
                self.model.local[process].clear();
            }
            Step::Switch { process, mode } => {
                self.caches[process].set_mode(mode);
                self.model.modes[process] = mode;
            }
            Step::Tier { is_down } => {
                self.tier.set_down(is_down);
                self.model.is_down = is_down;
            }
        }
        for cache in &self.caches {
            cache.flush().await;
            assert_eq!(cache.stats().in_flight, 0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn two_processes_behave_as_the_model(steps in proptest::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut pair = Pair::new();
            for step in steps {
                pair.take(step).await;
            }
        });
    }
}
