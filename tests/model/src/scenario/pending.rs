//! A model of the outbox: invalidations that the shared tier has not received yet.

use std::sync::Arc;

use loom::sync::Mutex;

use super::{Act, Orders, explore, lock, together};
use crate::coherence::outbox::{Outbox, OutboxItem};

/// A name may be read only if the tier has received the latest invalidation of it.
pub fn undelivered_name_is_not_read() {
    explore("what is not told is not read", Orders::Preemptions(5), || {
        let pending = Arc::new(Outbox::default());
        // Set for each of the two invalidating threads while the value in the tier is older than its
        // invalidation.
        let outdated = Arc::new(Mutex::new([false; 2]));
        let word = || OutboxItem::Key("ns:a".to_owned());
        let say = |who: usize| -> Act {
            let (pending, outdated) = (pending.clone(), outdated.clone());
            Box::new(move || {
                lock(&outdated)[who] = true;
                pending.add(word(), "ns:*");
                let may_read = !pending.is_about(["ns:a"].into_iter());
                assert!(!(may_read && lock(&outdated)[who]));
            })
        };
        let tell: Act = {
            let (pending, outdated) = (pending.clone(), outdated.clone());
            Box::new(move || {
                for _ in 0..2 {
                    for (word, number) in pending.some(1) {
                        *lock(&outdated) = [false; 2];
                        pending.told(&word, number);
                    }
                }
            })
        };
        together([say(0), say(1), tell]);
        let is_outdated = lock(&outdated).contains(&true);
        assert!(!is_outdated || pending.is_about(["ns:a"].into_iter()));
        assert_eq!(pending.is_empty(), pending.some(1).is_empty());
    });
}
