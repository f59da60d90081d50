//! Random histories of two processes with one shared tier, checked against a model.
//!
//! The model is simple enough to be trusted: as long as both processes reach the tier, they behave like one
//! map.

use std::{cell::Cell, collections::HashMap, convert::Infallible, time::Duration};

use cached_aside::{
    Cache, Keyspace, Mode,
    testing::{FakeTier, ManualClock},
};
use proptest::prelude::*;

const TTL: u64 = 60;

#[derive(Clone, Copy, Debug)]
enum Step {
    Load {
        process: usize,
        key: u8,
    },
    Refresh {
        process: usize,
        key: u8,
    },
    Get {
        process: usize,
        key: u8,
    },
    GetMany {
        process: usize,
    },
    Set {
        process: usize,
        key: u8,
    },
    SetMany {
        process: usize,
    },
    Delete {
        process: usize,
        key: u8,
    },
    Wait {
        seconds: u64,
    },
    ClearLocal {
        process: usize,
    },
    Clear {
        process: usize,
    },
    Switch {
        process: usize,
        mode: Mode,
    },
    /// Another program removes a key.
    Foreign {
        key: u8,
    },
}

const KEYS: [u8; 3] = [0, 1, 2];

fn step() -> impl Strategy<Value = Step> {
    let (process, key) = (0..2_usize, 0..3_u8);
    let mode = prop_oneof![4 => Just(Mode::On), 1 => Just(Mode::Off)];
    prop_oneof![
        6 => (process.clone(), key.clone()).prop_map(|(process, key)| Step::Load { process, key }),
        1 => (process.clone(), key.clone()).prop_map(|(process, key)| Step::Refresh { process, key }),
        3 => (process.clone(), key.clone()).prop_map(|(process, key)| Step::Get { process, key }),
        1 => process.clone().prop_map(|process| Step::GetMany { process }),
        2 => (process.clone(), key.clone()).prop_map(|(process, key)| Step::Set { process, key }),
        1 => process.clone().prop_map(|process| Step::SetMany { process }),
        2 => (process.clone(), key.clone()).prop_map(|(process, key)| Step::Delete { process, key }),
        3 => (1..40_u64).prop_map(|seconds| Step::Wait { seconds }),
        1 => process.clone().prop_map(|process| Step::ClearLocal { process }),
        1 => process.clone().prop_map(|process| Step::Clear { process }),
        1 => (process, mode).prop_map(|(process, mode)| Step::Switch { process, mode }),
        1 => key.prop_map(|key| Step::Foreign { key }),
    ]
}

/// Values that both processes have, each with its deadline.
#[derive(Default)]
struct Model {
    now: u64,
    values: HashMap<u8, (u64, u64)>,
    modes: [Mode; 2],
}

impl Model {
    fn is_off(&self, process: usize) -> bool {
        self.modes[process] == Mode::Off
    }

    fn find(&self, process: usize, key: u8) -> Option<u64> {
        let (value, deadline) = self.values.get(&key).copied()?;
        (!self.is_off(process) && self.now < deadline).then_some(value)
    }

    /// Stores a value.
    ///
    /// While the cache is off, a load stores nothing, and a set removes the value.
    fn store(&mut self, process: usize, key: u8, value: u64, is_load: bool) {
        if !self.is_off(process) {
            self.values.insert(key, (value, self.now + TTL));
        } else if !is_load {
            self.values.remove(&key);
        }
    }
}

/// The caches under test, driven step by step beside the model.
struct CheckedPair {
    clock: ManualClock,
    tier: FakeTier,
    caches: [Cache; 2],
    keyspaces: [Keyspace<u8, u64>; 2],
    model: Model,
    next: Cell<u64>,
}

/// Function on the entries of the keyspace `n`, for operations of functions only.
#[cached_aside::cached("n", ttl = 60, schema = "n", cache = cache, skip(cache, value))]
async fn n(cache: &Cache, value: u64, key: u8) -> u64 {
    let _ = key;
    value
}

impl CheckedPair {
    fn new() -> Self {
        let clock = ManualClock::new();
        let tier = FakeTier::new(&clock);
        let caches = [(); 2].map(|()| {
            Cache::builder().namespace("test").tier(tier.clone()).clock(clock.clock()).build().unwrap()
        });
        let keyspaces = [0, 1].map(|process: usize| {
            caches[process].keyspace("n", Duration::from_secs(TTL)).unwrap().schema("n")
        });
        Self { clock, tier, caches, keyspaces, model: Model::default(), next: Cell::new(0) }
    }

    fn new_value(&self) -> u64 {
        self.next.set(self.next.get() + 1);
        self.next.get()
    }

    async fn apply(&mut self, step: Step) {
        match step {
            Step::Load { process, key } => {
                let load = async || Ok::<_, Infallible>(self.new_value());
                let value = self.keyspaces[process].get_or_load(&key, load).await.unwrap();
                let expected = self.model.find(process, key).unwrap_or_else(|| self.next.get());
                assert_eq!(value, expected);
                if self.model.find(process, key).is_none() {
                    self.model.store(process, key, value, true);
                }
            }
            Step::Refresh { process, key } => {
                let value = n::refresh(&self.caches[process], self.new_value(), key).await;
                assert_eq!(value, self.next.get());
                self.model.store(process, key, value, true);
            }
            Step::Get { process, key } => {
                let expected = self.model.find(process, key);
                assert_eq!(self.keyspaces[process].get(&key).await, expected);
                assert_eq!(self.keyspaces[process].exists(&key).await, expected.is_some());
            }
            Step::GetMany { process } => {
                let expected = KEYS.map(|key| self.model.find(process, key));
                assert_eq!(self.keyspaces[process].get_many(&KEYS).await, expected);
            }
            Step::Set { process, key } => {
                let value = self.new_value();
                self.keyspaces[process].set(&key, value).await.unwrap();
                self.model.store(process, key, value, false);
            }
            Step::SetMany { process } => {
                let values = KEYS.map(|key| (key, self.new_value()));
                let pairs = values.iter().map(|(key, value)| (key, *value));
                self.keyspaces[process].set_many(pairs).await.unwrap();
                for (key, value) in values {
                    self.model.store(process, key, value, false);
                }
            }
            Step::Delete { process, key } => {
                self.keyspaces[process].delete(&key).await.unwrap();
                self.model.values.remove(&key);
            }
            Step::Wait { seconds } => {
                self.clock.advance(Duration::from_secs(seconds));
                self.model.now += seconds;
            }
            Step::ClearLocal { process } => self.caches[process].clear_local(),
            Step::Clear { process } => {
                self.caches[process].clear().confirmed().await.unwrap();
                self.model.values.clear();
            }
            Step::Switch { process, mode } => {
                self.caches[process].set_mode(mode);
                self.model.modes[process] = mode;
            }
            Step::Foreign { key } => {
                let name = n::key(&self.caches[0], 0, key).unwrap();
                self.tier.remove(&name);
                self.model.values.remove(&key);
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
    fn two_processes_behave_as_one_map(steps in proptest::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut pair = CheckedPair::new();
            for step in steps {
                pair.apply(step).await;
            }
        });
    }
}
