//! Loom's atomics, with the full meaning of `SeqCst`.
//!
//! Loom treats a sequentially consistent load or store as one that acquires or releases, and reports faults
//! that do not exist. If all accesses are sequentially consistent, each one sees the latest value.
//! Read-modify-write operations do, so they replace such loads and stores here.

use loom::sync::atomic::{
    self,
    Ordering::{self, AcqRel, SeqCst},
};

macro_rules! atomics {
    ($($name:ident: $type:ty, $read:ident $nothing:literal;)+) => { $(
        #[derive(Debug, Default)]
        pub(crate) struct $name(atomic::$name);

        impl $name {
            pub(crate) fn new(value: $type) -> Self {
                Self(atomic::$name::new(value))
            }

            pub(crate) fn load(&self, ordering: Ordering) -> $type {
                if ordering == SeqCst { self.0.$read($nothing, AcqRel) } else { self.0.load(ordering) }
            }

            pub(crate) fn store(&self, value: $type, ordering: Ordering) {
                if ordering == SeqCst {
                    self.0.swap(value, AcqRel);
                } else {
                    self.0.store(value, ordering);
                }
            }

            pub(crate) fn swap(&self, value: $type, ordering: Ordering) -> $type {
                self.0.swap(value, ordering)
            }
        }
    )+ };
}

atomics! {
    AtomicBool: bool, fetch_or false;
    AtomicU64: u64, fetch_add 0;
    AtomicUsize: usize, fetch_add 0;
}

impl AtomicU64 {
    pub(crate) fn fetch_add(&self, more: u64, _: Ordering) -> u64 {
        self.0.fetch_add(more, AcqRel)
    }

    pub(crate) fn fetch_or(&self, bits: u64, _: Ordering) -> u64 {
        self.0.fetch_or(bits, AcqRel)
    }
}

impl AtomicUsize {
    pub(crate) fn fetch_add(&self, more: usize, _: Ordering) -> usize {
        self.0.fetch_add(more, AcqRel)
    }

    pub(crate) fn fetch_sub(&self, less: usize, _: Ordering) -> usize {
        self.0.fetch_sub(less, AcqRel)
    }
}
