//! Models of whole caches, each of them a process, with one Redis.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use loom::sync::Mutex;

use super::{Orders, ThreadBody, block_on, explore, lock, run_concurrently};
use crate::{
    api::keyspace::{Keyspace, LoadError},
    cache::{Cache, builder::CacheBuilder},
    call::{PreparedCall, control::CacheControl, drive::CallRun, load::Load},
    key::Part,
    redis::Redis,
    spec::FunctionSpec,
    testing::ManualClock,
    value::policy::TypedPolicy,
};

const HOUR: Duration = Duration::from_secs(3600);

/// Source of the values of all loads, and the Redis of all processes.
#[derive(Clone)]
struct World {
    redis: Arc<Redis>,
    source_value: Arc<Mutex<u64>>,
    loads: Arc<AtomicUsize>,
    /// Number of threads that may still change something.
    running: Arc<AtomicUsize>,
}

/// Cache that stands for a process of its own.
#[derive(Clone)]
struct Process {
    world: World,
    cache: Cache,
}

impl World {
    fn new() -> Self {
        Self {
            redis: Arc::default(),
            source_value: Arc::new(Mutex::new(1)),
            loads: Arc::default(),
            running: Arc::default(),
        }
    }

    fn process(&self) -> Process {
        self.with_cache(Cache::builder().namespace("cached-aside").tier(self.redis.connect()).lease(HOUR))
    }

    fn with_cache(&self, builder: CacheBuilder) -> Process {
        let cache = builder.clock(ManualClock::new().clock()).build();
        Process { world: self.clone(), cache: cache.expect("it is well configured") }
    }

    /// Returns the body of a thread that runs while messages are delivered.
    fn thread(&self, body: impl FnOnce() + 'static) -> ThreadBody {
        self.running.fetch_add(1, Ordering::Relaxed);
        let world = self.clone();
        Box::new(move || {
            body();
            if world.running.fetch_sub(1, Ordering::Relaxed) == 1 {
                world.redis.close();
            }
        })
    }

    /// Returns the body of a thread that delivers messages until all other threads are over and none is left.
    fn deliver_messages(&self) -> ThreadBody {
        let redis = self.redis.clone();
        Box::new(move || redis.deliver_until_closed())
    }

    fn write(&self, value: u64) {
        *lock(&self.source_value) = value;
    }

    fn load(&self) -> u64 {
        self.loads.fetch_add(1, Ordering::Relaxed);
        *lock(&self.source_value)
    }

    fn loads(&self) -> usize {
        self.loads.load(Ordering::Relaxed)
    }
}

impl Process {
    fn keyspace(&self) -> Keyspace<u8, u64> {
        self.cache.keyspace("x", HOUR).expect("it is well configured")
    }

    fn call(&self) -> u64 {
        let load = || async { Ok::<_, ()>(self.world.load()) };
        block_on(self.keyspace().get_or_load(&7, load)).expect("loads do not fail")
    }

    /// Returns the value that is stored in L1 or in Redis.
    fn cached_value(&self) -> Option<u64> {
        block_on(self.keyspace().get(&7))
    }

    fn invalidate(&self) {
        block_on(self.keyspace().delete(&7)).expect("Redis is there");
    }

    /// Makes a call with a tag.
    fn call_with_tag(&self) -> u64 {
        let (policy, spec) =
            (TypedPolicy::<u64, Infallible, u64>::plain().shared(), FunctionSpec::prefix("tagged"));
        let policy = Arc::new(policy);
        let mut call = PreparedCall::of_keyspace(&self.cache, &spec, &Part(&7), policy.clone(), true);
        call.add_tags(|tags| tags.tag(&Part(&1)));
        self.run(call, policy)
    }

    /// Makes a call with the same tag, which is computed from the value.
    fn call_with_value_tag(&self) -> u64 {
        let (policy, spec) =
            (TypedPolicy::<u64, Infallible, u64>::plain().shared(), FunctionSpec::prefix("value-tagged"));
        let policy = Arc::new(policy.tags_from(|_| vec![crate::tag!("{}", 1)]));
        let call = PreparedCall::of_keyspace(&self.cache, &spec, &Part(&7), policy.clone(), true);
        self.run(call, policy)
    }

    fn run(&self, call: PreparedCall, policy: Arc<TypedPolicy<u64, Infallible, u64>>) -> u64 {
        let load = Load::Inline(Box::pin(async { self.world.load() }));
        let terms = CacheControl::ttl(HOUR).terms;
        let Ok(reply) = block_on(CallRun::of_keyspace(call, policy, load).begin(terms)) else {
            panic!("loads do not panic");
        };
        reply.value
    }

    fn invalidate_tag(&self) {
        block_on(async { self.cache.invalidate_tag("{}", &[&1]).await }).expect("Redis is there");
    }
}

/// Asserts that no process has a value other than `value`, including a new one that has only Redis to read.
fn assert_all_have(world: &World, processes: &[&Process], value: u64) {
    let new_process = world.process();
    for process in processes.iter().copied().chain([&new_process]) {
        let cached = process.cached_value();
        assert!(cached.is_none_or(|cached| cached == value), "an older value is cached");
    }
}

/// A call in each of two processes makes one load. If a waiting call were not woken, loom would find a
/// deadlock.
pub fn two_processes_share_one_load() {
    explore("one load over two processes", Orders::Preemptions(3), || {
        let world = World::new();
        let (a, b) = (world.process(), world.process());
        let call = |process: &Process| {
            let process = process.clone();
            world.thread(move || assert_eq!(process.call(), 1))
        };
        run_concurrently([call(&a), call(&b), world.deliver_messages()]);
        assert_eq!(world.loads(), 1);
        assert_all_have(&world, &[&a, &b], 1);
    });
}

/// Three calls of a cache without a shared tier make one load.
pub fn local_cache_loads_once() {
    explore("one load in a cache alone", Orders::Preemptions(3), || {
        let world = World::new();
        let alone = world.with_cache(Cache::builder());
        run_concurrently([(); 3].map(|()| {
            let process = alone.clone();
            Box::new(move || assert_eq!(process.call(), 1)) as ThreadBody
        }));
        assert_eq!(world.loads(), 1);
        assert_eq!(alone.cache.flights().len(), 0);
    });
}

/// An invalidation in the process that loads holds.
pub fn invalidation_holds_in_loading_process() {
    explore("an invalidation holds where it was made", Orders::Preemptions(3), || invalidation(true, false));
    let name = "an invalidation holds where it was made, with a reader elsewhere";
    explore(name, Orders::Preemptions(2), || invalidation(true, true));
}

/// An invalidation in another process than the one that loads holds.
pub fn invalidation_holds_in_other_process() {
    explore("an invalidation holds elsewhere", Orders::Preemptions(3), || invalidation(false, false));
    let name = "an invalidation holds elsewhere, with a reader";
    explore(name, Orders::Preemptions(2), || invalidation(false, true));
}

/// Asserts that an acknowledged invalidation holds.
///
/// The value of a load that began before is not in Redis, and not valid in memory once the messages were
/// delivered.
fn invalidation(is_own: bool, has_reader: bool) {
    let world = World::new();
    let (a, b) = (world.process(), world.process());
    let (loading, invalidating) = (a.clone(), if is_own { a.clone() } else { b.clone() });
    let load = world.thread(move || _ = loading.call());
    let invalidate = world.thread(move || {
        invalidating.world.write(2);
        invalidating.invalidate();
        assert!(invalidating.cached_value().is_none_or(|cached| cached == 2), "an older value is cached");
    });
    if has_reader {
        // The reader is in the process that loads if the other one invalidates, and otherwise in the other
        // one.
        let reading = if is_own { b.clone() } else { a.clone() };
        let read = world.thread(move || _ = reading.call());
        run_concurrently([load, read, invalidate, world.deliver_messages()]);
    } else {
        run_concurrently([load, invalidate, world.deliver_messages()]);
    }
    assert_all_have(&world, &[&a, &b], 2);
}

/// A call after the delivery of an invalidation gets no older value, neither from L1 nor from a load under
/// way.
pub fn call_after_invalidation_gets_new_value() {
    explore("a call after the message gets the new value", Orders::Preemptions(3), || {
        let world = World::new();
        let (a, b) = (world.process(), world.process());
        let loading = a.clone();
        run_concurrently([
            Box::new(move || _ = loading.call()),
            Box::new(move || {
                world.write(2);
                b.invalidate();
                world.redis.deliver_queued();
                assert_eq!(a.call(), 2);
            }),
        ]);
    });
}

/// An invalidation removes a value that both processes have.
pub fn invalidation_removes_cached_value() {
    explore("an invalidation ends what was there", Orders::Preemptions(3), || {
        let world = World::new();
        let (a, b) = (world.process(), world.process());
        assert_eq!((a.call(), b.call(), world.loads()), (1, 1, 1));
        let (reading, invalidating) = (a.clone(), b.clone());
        run_concurrently([
            world.thread(move || _ = reading.call()),
            world.thread(move || {
                invalidating.world.write(2);
                invalidating.invalidate();
                assert_eq!(invalidating.call(), 2);
            }),
            world.deliver_messages(),
        ]);
        assert_all_have(&world, &[&a, &b], 2);
        assert_eq!((a.call(), b.call(), world.loads()), (2, 2, 2));
    });
}

/// A value that is set is not overwritten by a load that began before.
pub fn set_value_is_not_overwritten_by_older_load() {
    explore("a value that was set stays", Orders::Preemptions(3), || {
        let world = World::new();
        let (a, b) = (world.process(), world.process());
        let (loading, setting) = (a.clone(), b.clone());
        run_concurrently([
            world.thread(move || _ = loading.call()),
            world.thread(move || block_on(setting.keyspace().set(&7, 2)).expect("Redis is there")),
            world.deliver_messages(),
        ]);
        assert_eq!((a.cached_value(), b.cached_value()), (Some(2), Some(2)));
    });
}

/// An invalidated tag holds, in the process that loads and in another one.
pub fn an_invalidated_tag_holds() {
    tag_holds("an invalidated tag", 2, Process::call_with_tag);
}

/// An invalidated tag that only the value determines holds.
pub fn invalidated_value_tag_holds() {
    tag_holds("an invalidated tag of a value", 3, Process::call_with_value_tag);
}

fn tag_holds(name: &str, preemptions: usize, call: fn(&Process) -> u64) {
    for is_own in [true, false] {
        let place = if is_own { "where it was made" } else { "elsewhere" };
        explore(&format!("{name} holds {place}"), Orders::Preemptions(preemptions), move || {
            let world = World::new();
            let (a, b) = (world.process(), world.process());
            let (loading, invalidating) = (a.clone(), if is_own { a.clone() } else { b.clone() });
            run_concurrently([
                world.thread(move || _ = call(&loading)),
                world.thread(move || {
                    invalidating.world.write(2);
                    invalidating.invalidate_tag();
                    assert_eq!(call(&invalidating), 2);
                }),
                world.deliver_messages(),
            ]);
            assert_eq!((call(&a), call(&b)), (2, 2));
        });
    }
}

/// Callers that wait for a failed load do not hang, and nothing is left behind.
pub fn failed_load_leaves_no_caller_hanging() {
    explore("a failed load leaves no caller hanging", Orders::Preemptions(3), || {
        let world = World::new();
        let (a, b) = (world.process(), world.process());
        let (failing, calling) = (a.clone(), b.clone());
        run_concurrently([
            world.thread(move || {
                let load = || async { Err::<u64, _>(()) };
                let result = block_on(failing.keyspace().get_or_load(&7, load));
                assert!(matches!(result, Ok(1) | Err(LoadError::Failed(_))));
            }),
            world.thread(move || assert_eq!(calling.call(), 1)),
            world.deliver_messages(),
        ]);
        assert_eq!(world.loads(), 1);
    });
}

/// Invalidations that Redis refuses at first are sent in the end.
///
/// The call that has the turn of the sender continues until the outbox is empty.
pub fn refused_invalidations_are_resent() {
    explore("refused invalidations are sent in the end", Orders::Preemptions(3), || {
        let world = World::new();
        let a = world.process();
        assert_eq!(a.call(), 1);
        world.write(2);
        world.redis.refuse(3);
        let invalidate = || -> ThreadBody {
            let a = a.clone();
            Box::new(move || {
                if let Err(error) = block_on(a.keyspace().delete(&7)) {
                    assert!(error.is_not_propagated());
                }
                assert_eq!(a.cached_value(), None);
            })
        };
        run_concurrently([invalidate(), invalidate()]);
        assert!(a.cache.shared().outbox.is_empty(), "an invalidation is left, and no call sends it");
        assert!(world.redis.is_empty());
    });
}
