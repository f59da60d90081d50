//! Properties of a type that its name reveals and its `Serialize` implementation does not.
//!
//! serde presents a `HashSet` and a `Vec` as the same sequence. [`type_name`](std::any::type_name)
//! distinguishes them where a value is passed with its type. The name is meant for people: it may change with
//! the compiler or stay hidden (behind `dyn Serialize`, `#[serde(transparent)]`, `#[serde(with)]`). So only
//! decisions that are safe to miss may depend on it: an unrecognised set costs misses. Whole paths are
//! compared, so only types of a crate called `std`, `alloc`, `hashbrown` or `indexmap` can be mistaken for
//! these.

const SETS: [&str; 3] =
    ["std::collections::hash::set::HashSet<", "hashbrown::set::HashSet<", "indexmap::set::IndexSet<"];

/// References and smart pointers, all of which serialise as their target.
const POINTERS: [&str; 6] =
    ["&mut ", "&", "alloc::boxed::Box<", "alloc::sync::Arc<", "alloc::rc::Rc<", "alloc::borrow::Cow<"];

/// Returns whether this is a set without a meaningful order, possibly behind pointers.
pub(super) fn is_set(type_name: &str) -> bool {
    let name = pointee(type_name);
    SETS.iter().any(|set| name.starts_with(set))
}

fn pointee(mut name: &str) -> &str {
    while let Some(inner) = POINTERS.iter().find_map(|pointer| name.strip_prefix(pointer)) {
        // Newer compilers print the lifetime in `Cow<'_, str>`, older ones do not.
        name = inner.strip_prefix("'_, ").unwrap_or(inner);
    }
    name
}

#[cfg(test)]
mod tests {
    use std::{
        any::type_name,
        borrow::Cow,
        collections::{BTreeSet, HashSet},
        rc::Rc,
        sync::Arc,
    };

    use super::*;

    #[test]
    fn sets_are_recognised_behind_pointers() {
        assert!(is_set(type_name::<HashSet<u8>>()));
        assert!(is_set(type_name::<&&mut HashSet<String>>()));
        assert!(is_set(type_name::<Box<Rc<Arc<HashSet<u8>>>>>()));
        assert!(is_set(type_name::<Cow<'_, HashSet<u8>>>()));
        assert!(is_set("alloc::borrow::Cow<std::collections::hash::set::HashSet<u8>>"));
        assert!(is_set("hashbrown::set::HashSet<u8>"));
        assert!(is_set("indexmap::set::IndexSet<u8>"));
    }

    #[test]
    fn types_that_contain_or_resemble_a_set_are_not_sets() {
        struct HashSet2;
        assert!(!is_set(type_name::<Vec<HashSet<u8>>>()));
        assert!(!is_set(type_name::<BTreeSet<u8>>()));
        assert!(!is_set(type_name::<HashSet2>()));
        assert!(!is_set("mine::HashSet<u8>"));
    }
}
