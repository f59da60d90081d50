//! The kinds of keys and values.

use std::sync::Arc;

use crate::{
    arms::arms,
    crew::Hits,
    functions::{CAPACITY, Functions},
    work::{Key, Prompt, Text, keys_of},
};

/// One kind of key with one kind of value.
pub struct Kind {
    /// Title in tables.
    pub title: &'static str,
    /// Creates the selected arms, with the given number of keys.
    pub arms: Arms,
    /// Returns the sizes of two futures in bytes; see `Functions::futures`.
    pub futures: fn() -> [usize; 2],
}

type Arms = fn(u32, &dyn Fn(&str) -> bool) -> Vec<Hits>;

/// All kinds for which `Functions` is implemented.
pub static KINDS: [Kind; 5] = [
    kind::<u64, u64>("u64 → u64"),
    kind::<Text, u64>("(&str, u32) → u64"),
    kind::<Text, Arc<String>>("(&str, u32) → Arc"),
    kind::<Prompt, Arc<String>>("2 KB prompt → Arc"),
    kind::<u64, String>("u64 → 4 KB String"),
];

const fn kind<K: Key, V: Functions<K>>(title: &'static str) -> Kind {
    Kind {
        title,
        arms: |keys, wants| arms::<K, V>(&keys_of(keys), CAPACITY, wants),
        futures: || V::futures(&K::new(1)),
    }
}
