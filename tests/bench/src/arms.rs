//! All arms for hits in the in-process tier.

use std::sync::Arc;

use crate::{
    crew::Hits,
    functions::Functions,
    peers::{
        ByQuick, Cachet, Foyer, FoyerTuned, Lfu, MokaFuture, MokaSync, MokaTuned, MultiTier, Peer, Quick,
        S3Fifo,
    },
    work::Key,
};

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
    peers! {
        MokaFuture<K, V>, MokaSync<K, V>, MokaTuned<K, V>, Quick<K, V>, Foyer<K, V, Lfu>, Foyer<K, V, S3Fifo>,
        FoyerTuned<K, V>, Cachet<K, V>, MultiTier, MultiTier<ByQuick>,
    }
    arms
}
