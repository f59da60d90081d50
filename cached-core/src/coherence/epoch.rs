//! Invalidation epochs of names.
//!
//! An [`Epoch`] of a name lasts until the name is invalidated. A change that the tier reports, such as the
//! fill of another process, counts as an invalidation. One atomic store ends it, and with it every entry and
//! load that depends on it, wherever they are. So an invalidation looks up no entries, and an entry that is
//! inserted a moment later is invalid as well.
//!
//! Order of steps: a reader takes the current epoch *before* it asks L2, and stores the value in L1 together
//! with that epoch. An invalidation that overtakes the answer then still ends the epoch of the value.
//!
//! Locks: a load that is notified by [`DependentLoad::invalidate`] takes locks of its flight, so no lock of this
//! module is held during the call. Dropping an epoch locks its shard, so no epoch is dropped under that lock.
//!
//! `validity` combines the epochs of a name and its tags; `l2::replay` ends epochs on behalf of the change
//! feed.

use std::{
    collections::HashMap,
    fmt,
    hash::BuildHasher,
    sync::{Arc, PoisonError, Weak},
};

use tokio::sync::{Notify, futures::Notified};

use crate::{
    base::glob,
    coherence::invalid_count::InvalidCount,
    sync::{AtomicBool, Mutex, MutexGuard, Ordering, shards},
};

type EpochShard = HashMap<Arc<str>, Weak<Epoch>, foldhash::fast::RandomState>;

const SHARDS: usize = shards(32);

/// The living epochs of a cache, by name. An epoch that has no holder is removed.
pub(crate) struct Epochs {
    /// Estimated number of entries that became invalid when epochs of tags, or of many names, ended.
    pub(crate) invalid_count: InvalidCount,
    shards: Box<[Mutex<EpochShard>]>,
    hasher: foldhash::fast::RandomState,
    functions: Mutex<HashMap<&'static str, Arc<Epoch>, foldhash::fast::RandomState>>,
}

/// The period of a name from one invalidation to the next.
///
/// While it is alive, the name has not been invalidated since the epoch was created.
pub(crate) struct Epoch {
    name: Arc<str>,
    is_ended: AtomicBool,
    /// Loads that depend on this epoch.
    loads: Mutex<Option<Box<Loads>>>,
    /// Notified when the epoch ends, and by [`Epochs::notify_listeners`].
    changed: Notify,
    /// Table of the epoch; dangling for the epoch of a function.
    epochs: Weak<Epochs>,
}

/// A load that depends on epochs, and becomes invalid when one of them ends.
pub(crate) trait DependentLoad: Send + Sync {
    /// Called when one of the epochs has ended. The caller holds no lock of the epochs.
    fn invalidate(self: Arc<Self>);
}

struct Loads(Vec<Weak<dyn DependentLoad>>);

impl Epochs {
    pub(crate) fn new() -> Arc<Self> {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Arc::new(Self {
            invalid_count: InvalidCount::default(),
            shards,
            hasher: foldhash::fast::RandomState::default(),
            functions: Mutex::default(),
        })
    }

    /// Returns the living epoch of all entries of a function that have no names.
    ///
    /// Only a pattern ends it: the entry of a key is found by the key. `names` is the pattern of the names that
    /// the entries would have.
    pub(crate) fn current_of_function(
        &self,
        template: &'static str,
        names: impl FnOnce() -> String,
    ) -> Arc<Epoch> {
        let make = || Arc::new(Epoch::new(names().into(), Weak::new()));
        lock(&self.functions).entry(template).or_insert_with(make).clone()
    }

    /// Ends the epochs of the functions of which a name may match `pattern`. Returns their templates.
    fn end_functions(&self, pattern: &str) -> Vec<&'static str> {
        let is_match = |_: &&str, epoch: &mut Arc<Epoch>| glob::may_meet(pattern, &epoch.name);
        let ended: Vec<_> = lock(&self.functions).extract_if(is_match).collect();
        let end = |(template, epoch): (&'static str, Arc<Epoch>)| {
            self.invalid_count.add(Arc::strong_count(&epoch) - 1);
            epoch.end();
            template
        };
        ended.into_iter().map(end).collect()
    }

    /// Returns the living epoch of `name`. All readers of the name share it until it ends.
    pub(crate) fn current(self: &Arc<Self>, name: &str) -> Arc<Epoch> {
        let mut shard = self.shard(name);
        if let Some(epoch) = shard.get(name).and_then(Weak::upgrade) {
            return epoch;
        }
        let name: Arc<str> = name.into();
        let epoch = Arc::new(Epoch::new(name.clone(), Arc::downgrade(self)));
        shard.insert(name, Arc::downgrade(&epoch));
        epoch
    }

    /// Ends the epoch of `name`, and invalidates the loads that depend on it.
    pub(crate) fn end(&self, name: &str) {
        let epoch = self.shard(name).remove(name);
        if let Some(epoch) = epoch.and_then(|epoch| epoch.upgrade()) {
            epoch.end();
        }
    }

    /// Wakes the listeners of `name` without ending its epoch: waiting calls look again, and entries stay
    /// valid.
    ///
    /// Used after a change that this process has made itself, which the tier need not report to it.
    pub(crate) fn notify_listeners(&self, name: &str) {
        let epoch = self.shard(name).get(name).and_then(Weak::upgrade);
        if let Some(epoch) = epoch {
            epoch.changed.notify_waiters();
        }
    }

    /// Ends the epoch of a tag that this process invalidates, and adds the number of its holders to
    /// `invalid_count`.
    pub(crate) fn end_tag(&self, tag: &str) {
        let epoch = self.shard(tag).remove(tag);
        if let Some(epoch) = epoch.and_then(|epoch| epoch.upgrade()) {
            self.invalid_count.add(Arc::strong_count(&epoch) - 1);
            epoch.end();
        }
    }

    /// Ends the epoch of every name that matches `pattern`, as [`end`](Self::end) does for one.
    ///
    /// Returns the templates of the functions whose epoch has ended. No epoch notifies their loads.
    pub(crate) fn end_matching(&self, pattern: &str) -> Vec<&'static str> {
        self.end_where(|name| glob::matches(pattern, name.strip_suffix('\0').unwrap_or(name)));
        self.end_functions(pattern)
    }

    /// Ends the epoch of every name, as [`end`](Self::end) does for one.
    ///
    /// Entries without a name stay valid: no tier knows them.
    pub(crate) fn end_all(&self) {
        self.end_where(|_| true);
    }

    fn end_where(&self, is_match: impl Fn(&str) -> bool) {
        for shard in &self.shards {
            // Dropping an epoch locks its shard, so no epoch may be dropped under this lock.
            let ended: Vec<_> = lock(shard).extract_if(|name, _| is_match(name)).collect();
            self.invalid_count.add(ended.len());
            for epoch in ended.iter().filter_map(|(_, epoch)| epoch.upgrade()) {
                epoch.end();
            }
        }
    }

    /// Returns the number of names with a living epoch.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    fn shard(&self, name: &str) -> MutexGuard<'_, EpochShard> {
        lock(&self.shards[(self.hasher.hash_one(name) >> 32) as usize % SHARDS])
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Epochs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epochs").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Epoch {
    fn new(name: Arc<str>, epochs: Weak<Epochs>) -> Self {
        Self {
            name,
            is_ended: AtomicBool::new(false),
            loads: Mutex::default(),
            changed: Notify::new(),
            epochs,
        }
    }

    /// Returns whether this is the epoch of all entries of a function, and of no name.
    pub(crate) fn is_of_function(&self) -> bool {
        self.epochs.ptr_eq(&Weak::new())
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    #[inline]
    pub(crate) fn is_alive(&self) -> bool {
        !self.is_ended.load(Ordering::SeqCst)
    }

    /// Registers `load`, which is notified when this epoch ends, until [`detach_load`](Self::detach_load).
    pub(crate) fn attach_load(&self, load: &Weak<dyn DependentLoad>) {
        lock(&self.loads).get_or_insert_with(|| Box::new(Loads(Vec::new()))).0.push(load.clone());
    }

    /// Unregisters a load that has ended.
    pub(crate) fn detach_load(&self, load: &Weak<dyn DependentLoad>) {
        let mut loads = lock(&self.loads);
        let Some(Loads(list)) = loads.as_deref_mut() else { return };
        if let Some(at) = list.iter().position(|other| other.ptr_eq(load)) {
            list.swap_remove(at);
        }
        if list.is_empty() {
            *loads = None;
        }
    }

    fn end(&self) {
        // The flag is set before the loads are taken; a load registers before it checks the flag. So at least
        // one of the two sees the other.
        self.is_ended.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
        let loads = lock(&self.loads).take();
        for load in loads.into_iter().flat_map(|loads| loads.0).filter_map(|load| load.upgrade()) {
            load.invalidate();
        }
    }

    /// Begins to listen for changes of the name. The caller must do this before it looks.
    pub(crate) fn listen(&self) -> Listener<'_> {
        // `Notified` receives every notification from its creation on, even before it is polled.
        Listener { epoch: self, changed: self.changed.notified() }
    }
}

/// A listener that receives every change of a name since its own creation.
pub(crate) struct Listener<'a> {
    epoch: &'a Epoch,
    changed: Notified<'a>,
}

impl Listener<'_> {
    /// Waits until the name is invalidated or changes otherwise. Returns at once if the epoch has ended.
    pub(crate) async fn changed(self) {
        if self.epoch.is_alive() {
            self.changed.await;
        }
    }
}

impl Drop for Epoch {
    fn drop(&mut self) {
        let Some(epochs) = self.epochs.upgrade() else { return };
        let mut shard = epochs.shard(&self.name);
        // A newer epoch of the name may have taken its place.
        if shard.get(&self.name).is_some_and(|epoch| std::ptr::eq(epoch.as_ptr(), self)) {
            let entry = shard.remove_entry(&self.name);
            drop(shard);
            drop(entry);
        }
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epoch").field("is_alive", &self.is_alive()).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{
        future::Future,
        pin::pin,
        sync::atomic::AtomicUsize,
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
        let (tag, names) = (
            epochs.current("ns:tag"),
            (0..100).map(|n| epochs.current(&format!("ns:{n}"))).collect::<Vec<_>>(),
        );
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
}
