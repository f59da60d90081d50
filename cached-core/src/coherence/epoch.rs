//! Which names something was said about.
//!
//! An [`Epoch`] says that nothing was said about a name since it was made. A reader of a name takes its epoch *before* it
//! asks, so that no word which overtakes the answer is lost; what he found goes into L1 together with the mark. One word
//! ends the mark, and with it everything that was read under it, wherever that is: nobody has to be looked up.

use std::{
    collections::HashMap,
    fmt,
    hash::BuildHasher,
    sync::{Arc, PoisonError, Weak},
};

use tokio::sync::{Notify, futures::Notified};

use crate::{
    base::glob,
    coherence::fallen::Fallen,
    sync::{AtomicBool, Mutex, MutexGuard, Ordering, shards},
};

type Shard = HashMap<Arc<str>, Weak<Epoch>, foldhash::fast::RandomState>;

const SHARDS: usize = shards(32);

/// The living marks of a cache, by name.
pub(crate) struct Epochs {
    /// What stood on marks that this process has ended itself.
    pub(crate) fallen: Fallen,
    shards: Box<[Mutex<Shard>]>,
    hasher: foldhash::fast::RandomState,
}

/// Nothing was said about a name since this was made, as long as it is alive.
pub(crate) struct Epoch {
    name: Arc<str>,
    is_dead: AtomicBool,
    /// The loads that stand on it.
    loads: Mutex<Option<Box<Loads>>>,
    /// It died, or was nudged.
    moved: Notify,
    marks: Weak<Epochs>,
}

/// What stands on marks, and falls when one of them ends.
pub(crate) trait Stands: Send + Sync {
    /// One of its marks has ended. It is told so under no lock of the marks.
    fn fall(self: Arc<Self>);
}

struct Loads(Vec<Weak<dyn Stands>>);

impl Epochs {
    pub(crate) fn new() -> Arc<Self> {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Arc::new(Self { fallen: Fallen::default(), shards, hasher: foldhash::fast::RandomState::default() })
    }

    /// The living mark of a name: all who read it meanwhile share it.
    pub(crate) fn of(self: &Arc<Self>, name: &str) -> Arc<Epoch> {
        let mut shard = self.shard(name);
        if let Some(mark) = shard.get(name).and_then(Weak::upgrade) {
            return mark;
        }
        let name: Arc<str> = name.into();
        let mark = Arc::new(Epoch {
            name: name.clone(),
            is_dead: AtomicBool::new(false),
            loads: Mutex::default(),
            moved: Notify::new(),
            marks: Arc::downgrade(self),
        });
        shard.insert(name, Arc::downgrade(&mark));
        mark
    }

    /// Something was said about `name`: the loads that stand on it fall.
    pub(crate) fn end(&self, name: &str) {
        let mark = self.shard(name).remove(name);
        if let Some(mark) = mark.and_then(|mark| mark.upgrade()) {
            mark.end();
        }
    }

    /// Something happened to `name` that nobody says to this process, because this process did it: those who wait look
    /// again. What was read stays.
    pub(crate) fn nudge(&self, name: &str) {
        let mark = self.shard(name).get(name).and_then(Weak::upgrade);
        if let Some(mark) = mark {
            mark.moved.notify_waiters();
        }
    }

    /// As [`end`](Self::end), for a tag that this process invalidates, with all that stands on it.
    pub(crate) fn end_tag(&self, tag: &str) {
        let mark = self.shard(tag).remove(tag);
        if let Some(mark) = mark.and_then(|mark| mark.upgrade()) {
            self.fallen.add(Arc::strong_count(&mark) - 1);
            mark.end();
        }
    }

    /// As [`end`](Self::end), for every name that matches.
    pub(crate) fn end_matching(&self, pattern: &str) {
        self.end_where(|name| glob::matches(pattern, name.strip_suffix('\0').unwrap_or(name)));
    }

    /// As [`end`](Self::end), for every name.
    pub(crate) fn end_all(&self) {
        self.end_where(|_| true);
    }

    fn end_where(&self, is_meant: impl Fn(&str) -> bool) {
        for shard in &self.shards {
            // A mark that is dropped locks its shard, so none may be dropped in here.
            let ended: Vec<_> = lock(shard).extract_if(|name, _| is_meant(name)).collect();
            self.fallen.add(ended.len());
            for mark in ended.iter().filter_map(|(_, mark)| mark.upgrade()) {
                mark.end();
            }
        }
    }

    /// How many names are watched.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    fn shard(&self, name: &str) -> MutexGuard<'_, Shard> {
        lock(&self.shards[(self.hasher.hash_one(name) >> 32) as usize % SHARDS])
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Epochs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Marks").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Epoch {
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    #[inline]
    pub(crate) fn is_alive(&self) -> bool {
        !self.is_dead.load(Ordering::SeqCst)
    }

    /// From now on, the end of this mark is told to the load; until [`put_down`](Self::put_down).
    pub(crate) fn carry(&self, load: &Weak<dyn Stands>) {
        lock(&self.loads).get_or_insert_with(|| Box::new(Loads(Vec::new()))).0.push(load.clone());
    }

    /// The load is over.
    pub(crate) fn put_down(&self, load: &Weak<dyn Stands>) {
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
        // One of these two and a load that begins see each other.
        self.is_dead.store(true, Ordering::SeqCst);
        self.moved.notify_waiters();
        let loads = lock(&self.loads).take();
        for load in loads.into_iter().flat_map(|loads| loads.0).filter_map(|load| load.upgrade()) {
            load.fall();
        }
    }

    /// Begins to listen for what happens to the name: to be called before one looks.
    pub(crate) fn listen(&self) -> Listener<'_> {
        // It is told of every call from now on, before it is polled as well.
        Listener { mark: self, moved: self.moved.notified() }
    }
}

/// Hears of what happens from the moment on that it was made.
pub(crate) struct Listener<'a> {
    mark: &'a Epoch,
    moved: Notified<'a>,
}

impl Listener<'_> {
    /// Waits until something is said about the name, or happens to it.
    pub(crate) async fn moved(self) {
        if self.mark.is_alive() {
            self.moved.await;
        }
    }
}

impl Drop for Epoch {
    fn drop(&mut self) {
        let Some(marks) = self.marks.upgrade() else { return };
        let mut shard = marks.shard(&self.name);
        // Another one of this name may have come in its place.
        if shard.get(&self.name).is_some_and(|mark| std::ptr::eq(mark.as_ptr(), self)) {
            let entry = shard.remove_entry(&self.name);
            drop(shard);
            drop(entry);
        }
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mark").field("is_alive", &self.is_alive()).finish_non_exhaustive()
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
    fn a_word_ends_the_mark_for_all_who_have_it_and_the_next_one_is_new() {
        let marks = Epochs::new();
        let (a, b, other) = (marks.of("ns:a"), marks.of("ns:a"), marks.of("ns:b"));
        assert!(Arc::ptr_eq(&a, &b));
        marks.end("ns:a");
        assert!(!a.is_alive() && other.is_alive());
        assert!(marks.of("ns:a").is_alive());
    }

    #[test]
    fn marks_that_nobody_has_are_not_kept() {
        let marks = Epochs::new();
        let first = marks.of("ns:a");
        marks.end("ns:a");
        let second = marks.of("ns:a");
        drop(first);
        assert_eq!(marks.len(), 1, "the old one does not take the new one with it");
        drop(second);
        assert_eq!(marks.len(), 0);
    }

    #[test]
    fn patterns_and_all() {
        let marks = Epochs::new();
        let (a, b) = (marks.of("ns:user:7:x"), marks.of("ns:user:8:x"));
        marks.end_matching("ns:user:7:*");
        assert!(!a.is_alive() && b.is_alive());
        marks.end_all();
        assert!(!b.is_alive());
        assert_eq!(marks.len(), 0);
    }

    #[test]
    fn the_end_of_a_tag_says_how_much_stood_on_it() {
        let marks = Epochs::new();
        let entries = [marks.of("ns:tag"), marks.of("ns:tag"), marks.of("ns:tag")];
        let other = marks.of("ns:other");
        marks.end_tag("ns:tag");
        assert!(entries.iter().all(|mark| !mark.is_alive()) && other.is_alive());
        assert_eq!(marks.fallen.count(), 3);
        marks.end_tag("ns:tag");
        marks.end("ns:other");
        assert_eq!(
            marks.fallen.count(),
            3,
            "nothing stood on it, and a name is looked at when it is asked for"
        );
        let _more = [marks.of("ns:1"), marks.of("ns:2")];
        marks.end_all();
        assert_eq!(marks.fallen.count(), 5);
    }

    /// A shard is left out by chance less than once in 10¹⁵.
    #[test]
    fn names_are_spread_over_all_shards() {
        let marks = Epochs::new();
        let names: Vec<_> = (0..2000).map(|n| marks.of(&format!("ns:{n}"))).collect();
        assert!(marks.shards.iter().all(|shard| !lock(shard).is_empty()));
        assert_eq!(format!("{marks:?}"), "Marks { len: 2000, .. }");
        drop(names);
        assert_eq!(marks.len(), 0);
    }

    /// Counts how often it has fallen.
    #[derive(Default)]
    pub(crate) struct Load(AtomicUsize);

    impl Load {
        pub(crate) fn weak(self: &Arc<Self>) -> Weak<dyn Stands> {
            let weak: Weak<Self> = Arc::downgrade(self);
            weak
        }

        pub(crate) fn falls(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    impl Stands for Load {
        fn fall(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Of all loads under way, a word is for those that stand on its name and are not over, and looks at no other.
    #[test]
    fn a_word_is_told_to_the_loads_that_stand_on_it_and_to_no_other() {
        let (marks, loads) = (Epochs::new(), [(); 100].map(|()| Arc::<Load>::default()));
        let weak: Vec<_> = loads.iter().map(Load::weak).collect();
        let (tag, names) =
            (marks.of("ns:tag"), (0..100).map(|n| marks.of(&format!("ns:{n}"))).collect::<Vec<_>>());
        for ((number, load), name) in weak.iter().enumerate().zip(&names) {
            name.carry(load);
            if number < 3 {
                tag.carry(load);
            }
        }
        let told = || loads.iter().map(|load| load.falls()).collect::<Vec<_>>();
        tag.put_down(&weak[1]);
        marks.end("ns:tag");
        assert_eq!((&told()[..4], told().iter().sum()), (&[1, 0, 1, 0][..], 2));
        marks.end("ns:99");
        assert_eq!((told()[99], told().iter().sum()), (1, 3));
        names[50].put_down(&weak[50]);
        marks.end("ns:50");
        marks.end("ns:tag");
        assert_eq!(told().iter().sum::<usize>(), 3);
        marks.end_matching("ns:1*");
        assert_eq!(told().iter().sum::<usize>(), 3 + 11);
    }

    #[test]
    fn waiting_ends_with_the_mark_even_if_it_ended_before() {
        let marks = Epochs::new();
        let mark = marks.of("ns:a");
        let (marks_there, waiting) = (marks.clone(), mark.clone());
        let waiter = std::thread::spawn(move || pollster::block_on(waiting.listen().moved()));
        marks_there.end("ns:a");
        waiter.join().unwrap();
        pollster::block_on(mark.listen().moved());
    }

    #[test]
    fn who_listens_before_a_nudge_hears_it_and_what_was_read_stays() {
        let marks = Epochs::new();
        let mark = marks.of("ns:a");
        let (listener, mut cx) = (mark.listen(), Context::from_waker(Waker::noop()));
        marks.nudge("ns:a");
        assert!(pin!(listener.moved()).poll(&mut cx).is_ready());
        assert!(mark.is_alive());
        let mut later = pin!(mark.listen().moved());
        assert!(later.as_mut().poll(&mut cx).is_pending(), "nothing has happened since");
        marks.nudge("ns:a");
        assert!(later.poll(&mut cx).is_ready());
    }
}
