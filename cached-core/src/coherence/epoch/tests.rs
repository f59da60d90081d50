use std::{
    future::Future,
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Waker},
};

use super::*;

#[test]
fn invalidation_ends_the_shared_epoch_and_the_next_one_is_new() {
    let epochs = Epochs::new();
    let (a, b, other) = (epochs.current("ns:a"), epochs.current("ns:a"), epochs.current("ns:b"));
    assert!(Arc::ptr_eq(&a, &b));
    epochs.end("ns:a");
    assert!(!a.is_alive() && other.is_alive());
    assert!(epochs.current("ns:a").is_alive());
}

#[test]
fn unreferenced_epochs_are_removed() {
    let epochs = Epochs::new();
    let first = epochs.current("ns:a");
    epochs.end("ns:a");
    let second = epochs.current("ns:a");
    drop(first);
    assert_eq!(epochs.len(), 1, "the old one does not take the new one with it");
    drop(second);
    assert_eq!(epochs.len(), 0);
}

#[test]
fn end_matching_ends_the_matching_epochs_and_end_all_the_rest() {
    let epochs = Epochs::new();
    let (a, b) = (epochs.current("ns:user:7:x"), epochs.current("ns:user:8:x"));
    epochs.end_matching("ns:user:7:*");
    assert!(!a.is_alive() && b.is_alive());
    epochs.end_all();
    assert!(!b.is_alive());
    assert_eq!(epochs.len(), 0);
}

#[test]
fn names_with_one_hash_have_an_epoch_each() {
    let epochs = Epochs::new();
    let [a, b, c] = ["ns:a", "ns:b", "ns:c"].map(|name| epochs.current_at(7, name));
    assert_eq!(epochs.len(), 3);
    assert!(Arc::ptr_eq(&b, &epochs.current_at(7, "ns:b")) && !Arc::ptr_eq(&a, &b));
    drop(b);
    assert_eq!(epochs.len(), 2, "the drop of one removes no other");
    epochs.end_matching("ns:c");
    assert!(a.is_alive() && !c.is_alive());
    let [a, b, c] = ["ns:a", "ns:b", "ns:c"].map(|name| epochs.current_at(7, name));
    epochs.end_at(7, |_| ());
    assert!([a, b, c].iter().all(|epoch| !epoch.is_alive()), "an end of one reaches all of them");
    assert_eq!(epochs.len(), 0);
}

/// An entry has an epoch, and nearly all of them are notified of nothing.
#[test]
fn epoch_without_loads_and_listeners_is_small() {
    assert!(size_of::<Epoch>() <= 56, "{} bytes", size_of::<Epoch>());
    assert_eq!(size_of::<EpochSlot>(), 16);
}

#[test]
fn ended_tag_epoch_counts_its_dependent_entries() {
    let epochs = Epochs::new();
    let entries = [epochs.current("ns:tag"), epochs.current("ns:tag"), epochs.current("ns:tag")];
    let other = epochs.current("ns:other");
    epochs.end_tag("ns:tag");
    assert!(entries.iter().all(|epoch| !epoch.is_alive()) && other.is_alive());
    assert_eq!(epochs.invalid_count.count(), 3);
    epochs.end_tag("ns:tag");
    epochs.end("ns:other");
    assert_eq!(
        epochs.invalid_count.count(),
        3,
        "no entry depended on it, and the epoch of a name is not counted"
    );
    let _more = [epochs.current("ns:1"), epochs.current("ns:2")];
    epochs.end_all();
    assert_eq!(epochs.invalid_count.count(), 5);
}

/// A shard stays empty by chance less than once in 10¹⁵ runs.
#[test]
fn names_are_spread_over_all_shards() {
    let epochs = Epochs::new();
    let names: Vec<_> = (0..2000).map(|n| epochs.current(&format!("ns:{n}"))).collect();
    assert!(epochs.shards.iter().all(|shard| !lock(shard).is_empty()));
    assert_eq!(format!("{epochs:?}"), "Epochs { len: 2000, .. }");
    drop(names);
    assert_eq!(epochs.len(), 0);
}

/// A load that counts how often it was invalidated.
#[derive(Default)]
pub(crate) struct Load(AtomicUsize);

impl Load {
    pub(crate) fn weak(self: &Arc<Self>) -> Weak<dyn DependentLoad> {
        let weak: Weak<Self> = Arc::downgrade(self);
        weak
    }

    pub(crate) fn invalidations(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl DependentLoad for Load {
    fn invalidate(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// An invalidation notifies the loads that depend on its name and have not ended, and visits no other
/// load.
#[test]
fn ended_epoch_notifies_only_the_loads_attached_to_it() {
    let (epochs, loads) = (Epochs::new(), [(); 100].map(|()| Arc::<Load>::default()));
    let weak: Vec<_> = loads.iter().map(Load::weak).collect();
    let (tag, names) =
        (epochs.current("ns:tag"), (0..100).map(|n| epochs.current(&format!("ns:{n}"))).collect::<Vec<_>>());
    for ((number, load), name) in weak.iter().enumerate().zip(&names) {
        name.attach_load(load);
        if number < 3 {
            tag.attach_load(load);
        }
    }
    let invalidations = || loads.iter().map(|load| load.invalidations()).collect::<Vec<_>>();
    tag.detach_load(&weak[1]);
    epochs.end("ns:tag");
    assert_eq!((&invalidations()[..4], invalidations().iter().sum()), (&[1, 0, 1, 0][..], 2));
    epochs.end("ns:99");
    assert_eq!((invalidations()[99], invalidations().iter().sum()), (1, 3));
    names[50].detach_load(&weak[50]);
    epochs.end("ns:50");
    epochs.end("ns:tag");
    assert_eq!(invalidations().iter().sum::<usize>(), 3);
    epochs.end_matching("ns:1*");
    assert_eq!(invalidations().iter().sum::<usize>(), 3 + 11);
}

#[test]
fn wait_ends_with_the_epoch_even_if_it_ended_before() {
    let epochs = Epochs::new();
    let epoch = epochs.current("ns:a");
    let (other_epochs, waiting) = (epochs.clone(), epoch.clone());
    let waiter = std::thread::spawn(move || pollster::block_on(waiting.listen().changed()));
    other_epochs.end("ns:a");
    waiter.join().unwrap();
    pollster::block_on(epoch.listen().changed());
}

/// The first wait makes the part that is notified, and a change may come just before that.
#[test]
fn change_between_listening_and_waiting_is_noticed() {
    for change in [Epochs::notify_listeners, Epochs::end] {
        let epochs = Epochs::new();
        let (epoch, mut cx) = (epochs.current("ns:a"), Context::from_waker(Waker::noop()));
        let listener = epoch.listen();
        change(&epochs, "ns:a");
        assert!(pin!(listener.changed()).poll(&mut cx).is_ready());
        let later = pin!(epoch.listen().changed()).poll(&mut cx);
        assert_eq!(later.is_ready(), !epoch.is_alive(), "an epoch that goes on has no further change");
    }
}

#[test]
fn notification_wakes_earlier_listeners_and_keeps_the_epoch() {
    let epochs = Epochs::new();
    let epoch = epochs.current("ns:a");
    let (listener, mut cx) = (epoch.listen(), Context::from_waker(Waker::noop()));
    epochs.notify_listeners("ns:a");
    assert!(pin!(listener.changed()).poll(&mut cx).is_ready());
    assert!(epoch.is_alive());
    let mut later = pin!(epoch.listen().changed());
    assert!(later.as_mut().poll(&mut cx).is_pending(), "nothing has happened since");
    epochs.notify_listeners("ns:a");
    assert!(later.poll(&mut cx).is_ready());
}
