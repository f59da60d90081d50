//! Models of epochs, validities and change feeds: invalidations of a name against its readers.

use std::sync::Arc;

use loom::sync::Mutex;

use super::{Orders, ThreadBody, block_on, explore, lock, run_concurrently};
use crate::{
    base::clock::Nanos,
    coherence::{epoch::Epochs, validity::Validity},
    flight::{Flights, Role},
    key::KeyRef,
    spec::FunctionSpec,
    tier::feed::ChangeFeed,
    value::erased::{Freshness, Value},
};

const NAME: &str = "ns:a";
const TAG: &str = "ns:%tag:t";

const NOW: Nanos = 2;
const BOUND: Nanos = 1;

/// A value, and whether its next change has to be reported.
struct Server {
    value: u64,
    is_read: bool,
}

/// An entry that was read before an invalidation is not valid after it.
///
/// A reader takes the epochs before it reads, and stores the value in L1 with them. The invalidation may come
/// before the answer, after it, or after the entry.
pub fn entry_read_before_invalidation_is_invalid() {
    explore("an entry read before an invalidation is not valid after it", Orders::Every, || {
        let epochs = Epochs::new();
        let server = Arc::new(Mutex::new(Server { value: 1, is_read: false }));
        let l1 = Arc::new(Mutex::new(None::<(u64, Validity)>));
        let read = || -> ThreadBody {
            let (epochs, server, l1) = (epochs.clone(), server.clone(), l1.clone());
            Box::new(move || {
                let validity = validity(&epochs);
                let value = {
                    let mut server = lock(&server);
                    server.is_read = true;
                    server.value
                };
                let before = lock(&l1).replace((value, validity));
                drop(before);
            })
        };
        let write: ThreadBody = {
            let (epochs, server) = (epochs.clone(), server.clone());
            Box::new(move || {
                let is_tracked = {
                    let mut server = lock(&server);
                    server.value = 2;
                    std::mem::take(&mut server.is_read)
                };
                if is_tracked {
                    epochs.end(TAG);
                }
            })
        };
        run_concurrently([read(), read(), write]);
        let entry = lock(&l1).take();
        if let Some((value, validity)) = entry {
            assert!(value == 2 || !validity.is_valid_at(NOW, BOUND));
        }
    });
}

/// Returns a validity with a name and a tag.
fn validity(epochs: &Arc<Epochs>) -> Validity {
    Validity {
        epoch: epochs.current(NAME),
        tags: [(epochs.current(TAG), 1)].into(),
        feed: ChangeFeed::local(),
        checked_at: NOW,
    }
}

/// A load that begins during an invalidation learns that its validity has ended, or it is superseded.
pub fn load_sees_invalidation_or_is_superseded() {
    explore("a load learns of an invalidation or is superseded", Orders::Every, || {
        let (epochs, flights, key) = (
            Epochs::new(),
            Arc::new(Flights::new()),
            KeyRef::encode(&mut Vec::new(), &FunctionSpec::prefix("x"), &()).unwrap().owned(),
        );
        let validity = validity(&epochs);
        let Role::Lead(leader) = flights.join(&key, false) else { panic!("no other caller leads") };
        let result = Arc::new(std::sync::Mutex::new(None));
        let begin: ThreadBody = {
            let (validity, result) = (validity.clone(), result.clone());
            Box::new(move || {
                let is_valid = leader.bind(&validity);
                *result.lock().expect("no thread panics") = Some((is_valid, leader));
            })
        };
        let end_epoch = |name: &'static str| -> ThreadBody {
            let epochs = epochs.clone();
            Box::new(move || epochs.end(name))
        };
        run_concurrently([begin, end_epoch(TAG), end_epoch(NAME)]);
        let (is_valid, leader) = result.lock().expect("no thread panics").take().expect("it has begun");
        let erased = Arc::new(Value {
            freshness: Freshness::new(0, std::time::Duration::ZERO, std::time::Duration::MAX, 0),
            value: 1,
        });
        assert!(!(leader.land(erased, || ()) && is_valid), "it did not learn of the invalidation");
    });
}

/// The drop of an epoch does not remove the next epoch of the name.
pub fn dropped_epoch_keeps_the_next_one() {
    explore("a dropped epoch leaves the next one", Orders::Every, || {
        let epochs = Epochs::new();
        let old = epochs.current(NAME);
        let next = |ends_epoch: bool| -> ThreadBody {
            let epochs = epochs.clone();
            Box::new(move || {
                let epoch = epochs.current(NAME);
                if ends_epoch {
                    epochs.end(NAME);
                    assert!(!epoch.is_alive(), "its epoch was not ended");
                }
            })
        };
        run_concurrently([Box::new(move || drop(old)), next(true), next(false)]);
        assert_eq!(epochs.len(), 0);
    });
}

/// A reader that begins to listen before it looks is woken, by an invalidation as well as by a notification.
pub fn reader_that_listens_first_is_woken() {
    explore("a reader that listens first is woken", Orders::Every, || {
        for ends_epoch in [false, true] {
            let (epochs, is_filled) = (Epochs::new(), Arc::new(Mutex::new(false)));
            let wait: ThreadBody = {
                let (epochs, is_filled) = (epochs.clone(), is_filled.clone());
                Box::new(move || {
                    loop {
                        let epoch = epochs.current(NAME);
                        let listener = epoch.listen();
                        if *lock(&is_filled) {
                            return;
                        }
                        block_on(listener.changed());
                    }
                })
            };
            let fill: ThreadBody = {
                let epochs = epochs.clone();
                Box::new(move || {
                    *lock(&is_filled) = true;
                    if ends_epoch {
                        epochs.end(NAME);
                    } else {
                        epochs.notify_listeners(NAME);
                    }
                })
            };
            run_concurrently([wait, fill]);
        }
    });
}

/// The wait for the end of a change feed ends with the feed.
pub fn end_of_change_feed_wakes_waiter() {
    explore("the end of a change feed is noticed", Orders::Every, || {
        let feed = ChangeFeed::tracked();
        let ended = feed.clone();
        run_concurrently([Box::new(move || block_on(feed.ended())), Box::new(move || ended.end())]);
    });
}
