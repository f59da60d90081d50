//! Models of epochs, validities and change feeds: invalidations of a name against its readers.

use std::sync::Arc;

use loom::sync::Mutex;

use super::{Act, Orders, block_on, explore, lock, together};
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
    explore("what was read before a word does not stand after it", Orders::Every, || {
        let marks = Epochs::new();
        let server = Arc::new(Mutex::new(Server { value: 1, is_read: false }));
        let l1 = Arc::new(Mutex::new(None::<(u64, Validity)>));
        let read = || -> Act {
            let (marks, server, l1) = (marks.clone(), server.clone(), l1.clone());
            Box::new(move || {
                let claim = claim(&marks);
                let value = {
                    let mut server = lock(&server);
                    server.is_read = true;
                    server.value
                };
                let before = lock(&l1).replace((value, claim));
                drop(before);
            })
        };
        let write: Act = {
            let (marks, server) = (marks.clone(), server.clone());
            Box::new(move || {
                let is_told = {
                    let mut server = lock(&server);
                    server.value = 2;
                    std::mem::take(&mut server.is_read)
                };
                if is_told {
                    marks.end(TAG);
                }
            })
        };
        together([read(), read(), write]);
        let entry = lock(&l1).take();
        if let Some((value, claim)) = entry {
            assert!(value == 2 || !claim.stands(NOW, BOUND));
        }
    });
}

/// Returns a validity with a name and a tag.
fn claim(marks: &Arc<Epochs>) -> Validity {
    Validity {
        mark: marks.of(NAME),
        tags: [(marks.of(TAG), 1)].into(),
        line: ChangeFeed::certain(),
        checked: NOW,
    }
}

/// A load that begins during an invalidation learns that its validity has ended, or it is superseded.
pub fn load_sees_invalidation_or_is_superseded() {
    explore("a load hears of a word or is overtaken", Orders::Every, || {
        let (marks, flights, key) = (
            Epochs::new(),
            Arc::new(Flights::new()),
            KeyRef::write(&mut Vec::new(), &FunctionSpec::prefix("x"), &()).unwrap().owned(),
        );
        let claim = claim(&marks);
        let Role::Lead(leader) = flights.join(&key, false) else { panic!("nobody else leads") };
        let result = Arc::new(std::sync::Mutex::new(None));
        let begin: Act = {
            let (claim, result) = (claim.clone(), result.clone());
            Box::new(move || {
                let stands = leader.stand_on(&claim);
                *result.lock().expect("nobody panics") = Some((stands, leader));
            })
        };
        let say = |name: &'static str| -> Act {
            let marks = marks.clone();
            Box::new(move || marks.end(name))
        };
        together([begin, say(TAG), say(NAME)]);
        let (stands, leader) = result.lock().expect("nobody panics").take().expect("it has begun");
        let slot = Arc::new(Value {
            meta: Freshness::new(0, std::time::Duration::ZERO, std::time::Duration::MAX, 0),
            value: 1,
        });
        assert!(!(leader.land(slot, || ()) && stands), "it was not told");
    });
}

/// The drop of an epoch does not remove the next epoch of the name.
pub fn dropped_epoch_keeps_the_next_one() {
    explore("a mark that is dropped leaves the next one", Orders::Every, || {
        let marks = Epochs::new();
        let old = marks.of(NAME);
        let next = |is_said: bool| -> Act {
            let marks = marks.clone();
            Box::new(move || {
                let mark = marks.of(NAME);
                if is_said {
                    marks.end(NAME);
                    assert!(!mark.is_alive(), "it did not hear");
                }
            })
        };
        together([Box::new(move || drop(old)), next(true), next(false)]);
        assert_eq!(marks.len(), 0);
    });
}

/// A reader that begins to listen before it looks is woken, by an invalidation as well as by a nudge.
pub fn reader_that_listens_first_is_woken() {
    explore("who listens before he looks is woken", Orders::Every, || {
        for is_said in [false, true] {
            let (marks, is_there) = (Epochs::new(), Arc::new(Mutex::new(false)));
            let wait: Act = {
                let (marks, is_there) = (marks.clone(), is_there.clone());
                Box::new(move || {
                    loop {
                        let mark = marks.of(NAME);
                        let listener = mark.listen();
                        if *lock(&is_there) {
                            return;
                        }
                        block_on(listener.moved());
                    }
                })
            };
            let fill: Act = {
                let marks = marks.clone();
                Box::new(move || {
                    *lock(&is_there) = true;
                    if is_said {
                        marks.end(NAME);
                    } else {
                        marks.nudge(NAME);
                    }
                })
            };
            together([wait, fill]);
        }
    });
}

/// The wait for the end of a change feed ends with the feed.
pub fn end_of_change_feed_wakes_waiter() {
    explore("the end of a line is heard", Orders::Every, || {
        let line = ChangeFeed::watching();
        let ended = line.clone();
        together([Box::new(move || block_on(line.ended())), Box::new(move || ended.end())]);
    });
}
