//! A model of the outbox: invalidations that the shared tier has not received yet.

use std::sync::Arc;

use loom::sync::Mutex;

use super::{Orders, ThreadBody, explore, lock, run_concurrently};
use crate::coherence::outbox::{Outbox, OutboxItem};

/// A name may be read only if the tier has received the latest invalidation of it.
pub fn undelivered_name_is_not_read() {
    explore("an undelivered name is not read", Orders::Preemptions(5), || {
        let outbox = Arc::new(Outbox::default());
        // Set for each of the two invalidating threads while the value in the tier is older than its
        // invalidation.
        let outdated = Arc::new(Mutex::new([false; 2]));
        let item = || OutboxItem::Key("ns:a".to_owned());
        let add = |thread: usize| -> ThreadBody {
            let (outbox, outdated) = (outbox.clone(), outdated.clone());
            Box::new(move || {
                lock(&outdated)[thread] = true;
                outbox.add(item(), "ns:*");
                let may_read = !outbox.may_match(["ns:a"].into_iter());
                assert!(!(may_read && lock(&outdated)[thread]));
            })
        };
        let deliver: ThreadBody = {
            let (outbox, outdated) = (outbox.clone(), outdated.clone());
            Box::new(move || {
                for _ in 0..2 {
                    for (item, number) in outbox.next_batch(1) {
                        *lock(&outdated) = [false; 2];
                        outbox.mark_sent(&item, number);
                    }
                }
            })
        };
        run_concurrently([add(0), add(1), deliver]);
        let is_outdated = lock(&outdated).contains(&true);
        assert!(!is_outdated || outbox.may_match(["ns:a"].into_iter()));
        assert_eq!(outbox.is_empty(), outbox.next_batch(1).is_empty());
    });
}
