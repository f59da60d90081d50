//! All arms for hits in the in-process tier, and the division of them that the tables show.

use std::sync::Arc;

use crate::{
    crew::Hits,
    functions::Functions,
    peers::{
        ByQuick, Cachet, Foyer, FoyerTuned, Lfu, MokaFuture, MokaSync, MokaTuned, MultiTier, Peer, Quick,
        S3Fifo, Ufo,
    },
    work::Key,
};

/// Names of the arms that lack a bound or a ttl, or begin with the names of such arms.
///
/// The functions of `cached-aside` have both, so these arms do less work for a hit and for a miss.
const UNLIKE: [&str; 4] = ["moka sync, lru, foldhash", "quick_cache", "foyer", "tinyufo"];

/// Returns whether an arm has a bound and a ttl.
pub fn has_bound_and_ttl(name: &str) -> bool {
    name != "cached, concurrent" && !UNLIKE.iter().any(|unlike| name.starts_with(unlike))
}

/// The parts of a table: whether its arms have a bound and a ttl, and the end of its title.
pub const PARTS: [(bool, &str); 2] =
    [(true, "caches with a bound and a ttl"), (false, "peers without a bound or without a ttl")];

/// Returns the selected arms, each filled with the keys.
///
/// `capacity` bounds the peers without an attribute, in entries.
pub fn arms<K: Key, V: Functions<K>>(
    keys: &Arc<Vec<K>>,
    capacity: u32,
    wants: &dyn Fn(&str) -> bool,
) -> Vec<Hits> {
    let mut arms = Vec::new();
    macro_rules! functions {
        ($($name:literal => $function:ident),+ $(,)?) => {
            $(if wants($name) {
                arms.push(Hits::new($name, keys, V::$function));
            })+
        };
    }
    macro_rules! peers {
        ($($peer:ty),+ $(,)?) => {
            $(if wants(<$peer as Peer<K, V>>::NAME) {
                let peer = <$peer as Peer<K, V>>::new(capacity);
                arms.push(Hits::new(<$peer as Peer<K, V>>::NAME, keys, move |key| Peer::<K, V>::call(&peer, key)));
            })+
        };
    }
    functions! {
        "ours, async" => ours,
        "ours, sync local" => ours_local,
        "cached, concurrent" => concurrent,
        "cached, concurrent, bounded, ttl" => concurrent_bounded,
        "cached, bounded, ttl" => locked,
        "hitbox" => hitbox,
    }
    // To fill it with more keys would take minutes: each insertion searches a list of all keys.
    if keys.len() <= 10_000 {
        functions! { "cachelito, fifo" => cachelito }
    }
    peers! {
        MokaFuture<K, V>, MokaSync<K, V>, MokaTuned<K, V>, Quick<K, V>, Foyer<K, V, Lfu>, Foyer<K, V, S3Fifo>,
        FoyerTuned<K, V>, Ufo<K, V>, Cachet<K, V>, MultiTier, MultiTier<ByQuick>,
    }
    arms
}
