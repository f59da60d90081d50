//! The groups of arms, in the order of the page. Each is one file with one function.

mod hits;
mod tags;

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use crate::{report::Group, work::Key};

/// All there are.
pub const GROUPS: &[Group] = &[hits::GROUP, tags::GROUP];

/// Whose versions stand above the groups in which all of them take part.
const PEERS: &[&str] =
    &["cached-aside", "cached", "moka", "quick_cache", "foyer", "hitbox", "cachet", "multi-tier-cache"];

/// Keys that no race before has asked for, because the functions under attributes keep what they have.
fn keys<K: Key>(count: u32) -> Arc<Vec<K>> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = NEXT.fetch_add(count, Ordering::Relaxed);
    Arc::new((first..first + count).map(|number| K::new(number.into())).collect())
}
