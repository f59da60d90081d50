//! Effects of `#[invalidates]`, and when they occur. Loads are counted: only a load shows that an entry was
//! invalidated.

use std::{
    future::{Future, pending, poll_fn},
    panic::AssertUnwindSafe,
    pin::pin,
    sync::atomic::{AtomicU32, Ordering::SeqCst},
    task::{Context, Poll, Waker},
    time::Duration,
};

use cached_aside::{
    Cache, cached, invalidates, tag,
    testing::{CountedLoad, FakeTier, ManualClock},
};
use tokio::sync::Notify;

/// Two caches that share a tier, like two processes with one Redis, and the source of truth.
struct Notes {
    tier: FakeTier,
    here: Cache,
    elsewhere: Cache,
    loads: CountedLoad<()>,
    source_value: AtomicU32,
}

impl Notes {
    fn new() -> Self {
        let clock = ManualClock::new();
        let tier = FakeTier::new(&clock);
        let build =
            || Cache::builder().namespace("test").tier(tier.clone()).clock(clock.clock()).build().unwrap();
        Self {
            here: build(),
            elsewhere: build(),
            tier,
            loads: CountedLoad::default(),
            source_value: AtomicU32::new(0),
        }
    }

    #[cached(
        "note:{id}",
        ttl = "1h",
        cache = cache,
        skip(self, cache),
        tags = ["note:{id}", "notes"],
        tags_from = |text| vec![tag!("text:{}", text)],
        handle = note_entry
    )]
    async fn note(&self, cache: &Cache, id: u32) -> u32 {
        let Ok(()) = self.loads.run().await;
        self.source_value.load(SeqCst)
    }

    /// Fills every cache, and returns the number of loads that this took.
    async fn loads(&self) -> usize {
        let before = self.loads.runs();
        for cache in [&self.here, &self.elsewhere] {
            self.note(cache, 1).await;
            cache.flush().await;
        }
        self.loads.runs() - before
    }

    /// Returns whether both caches read `source_value`.
    async fn all_read(&self, source_value: u32) -> bool {
        self.note(&self.here, 1).await == source_value && self.note(&self.elsewhere, 1).await == source_value
    }

    fn write(&self) {
        self.source_value.fetch_add(1, SeqCst);
    }

    #[invalidates(self.note_entry(&self.here, id))]
    async fn edit(&self, id: u32, outcome: Result<u32, String>) -> Result<u32, String> {
        self.write();
        outcome
    }

    #[invalidates(self.note_entry(&self.here, id))]
    async fn find(&self, id: u32) -> Option<u32> {
        self.write();
        None
    }

    #[invalidates(tags = ["note:{id}"], cache = self.here)]
    async fn by_tag(&self, id: u32) {
        self.write();
    }

    #[invalidates(tags = ["text:{text}"], cache = self.here)]
    async fn by_text(&self, text: u32) {
        self.write();
    }

    #[invalidates(prefix = "note:", cache = self.here)]
    async fn by_prefix(&self) {
        self.write();
    }

    #[invalidates(clear, cache = self.here)]
    async fn all(&self) {
        self.write();
    }

    #[invalidates(self.note_entry(&self.here, id), tags = ["nothing"], prefix = "nothing:", cache = self.here)]
    async fn broken(&self, id: u32) {
        self.write();
        panic!("half-way");
    }

    #[invalidates(self.note_entry(&self.here, 1))]
    async fn slow(&self, started: &Notify) {
        self.write();
        started.notify_one();
        pending::<()>().await;
    }

    #[invalidates(tags = ["number:{number}"], self.note_entry(&self.here, 1), cache = self.here)]
    async fn nameless(&self, number: f64) -> bool {
        self.write();
        number.is_nan()
    }
}

#[tokio::test]
async fn all_processes_read_the_written_value() {
    let notes = Notes::new();
    assert_eq!(notes.loads().await, 1);
    assert_eq!(notes.loads().await, 0);

    assert_eq!(notes.edit(1, Ok(7)).await, Ok(7));
    assert_eq!(notes.note(&notes.here, 1).await, 1);
    notes.here.flush().await;
    assert_eq!(notes.note(&notes.elsewhere, 1).await, 1);
    assert_eq!(notes.loads.runs(), 2);

    assert_eq!(notes.edit(2, Ok(7)).await, Ok(7));
    assert_eq!(notes.loads().await, 0, "it is another note");
}

#[tokio::test]
async fn an_error_invalidates_nothing_and_a_none_does() {
    let notes = Notes::new();
    notes.loads().await;
    let before = notes.tier.round_trips();
    assert_eq!(notes.edit(1, Err("no".to_owned())).await, Err("no".to_owned()));
    assert_eq!(notes.tier.round_trips(), before);
    assert_eq!(notes.loads().await, 0);
    assert_eq!(notes.find(1).await, None);
    assert_eq!(notes.loads().await, 1);
}

#[tokio::test]
async fn groups() {
    let notes = Notes::new();
    notes.loads().await;
    notes.by_tag(2).await;
    assert_eq!(notes.loads().await, 0);
    notes.by_tag(1).await;
    assert_eq!(notes.loads().await, 1);
    notes.by_prefix().await;
    assert_eq!(notes.loads().await, 1);
    notes.all().await;
    assert_eq!(notes.loads().await, 1);
}

#[tokio::test]
async fn tags_of_the_value() {
    let notes = Notes::new();
    notes.loads().await;
    notes.by_text(7).await;
    assert_eq!(notes.loads().await, 0);
    notes.by_text(0).await;
    assert_eq!(notes.loads().await, 1, "its text was 0");
    notes.by_text(0).await;
    assert_eq!(notes.loads().await, 0, "it is 2 now");
}

#[tokio::test]
async fn panic_in_the_body_invalidates() {
    let notes = Notes::new();
    notes.loads().await;
    let mut call = pin!(AssertUnwindSafe(notes.broken(1)));
    let panic = poll_fn(|cx| {
        let poll = std::panic::catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx)));
        Poll::Ready(poll.is_err())
    });
    assert!(panic.await);
    wait_until(async || notes.all_read(1).await).await;
}

#[tokio::test]
async fn dropped_call_invalidates() {
    let notes = Notes::new();
    notes.loads().await;
    let started = Notify::new();
    tokio::select! {
        biased;
        () = notes.slow(&started) => unreachable!(),
        () = started.notified() => {}
    }
    wait_until(async || notes.all_read(1).await).await;
}

#[tokio::test]
async fn unpolled_call_invalidates_nothing() {
    let notes = Notes::new();
    notes.loads().await;
    let before = notes.tier.round_trips();
    drop(notes.edit(1, Ok(7)));
    tokio::task::yield_now().await;
    assert_eq!(notes.tier.round_trips(), before);
    assert_eq!(notes.loads().await, 0);
}

#[tokio::test]
async fn invalidation_completes_after_its_call_is_dropped() {
    let notes = Notes::new();
    notes.loads().await;
    notes.tier.hold_deletes(true);
    {
        let mut call = pin!(notes.edit(1, Ok(7)));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(call.as_mut().poll(&mut cx).is_pending());
    }
    assert_eq!(notes.source_value.load(SeqCst), 1, "it wrote");
    notes.tier.hold_deletes(false);
    wait_until(async || notes.tier.keys().is_empty()).await;
    assert!(notes.all_read(1).await);
}

#[test]
fn invalidation_holds_in_this_process_without_a_runtime() {
    let notes = Notes::new();
    let here = Cache::builder().build().unwrap();
    let notes = Notes { here, ..notes };
    pollster::block_on(notes.note(&notes.here, 1));
    let started = Notify::new();
    {
        let mut call = pin!(notes.slow(&started));
        assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    assert_eq!(pollster::block_on(notes.note(&notes.here, 1)), 1);
    assert_eq!(notes.loads.runs(), 2);
}

#[tokio::test]
async fn call_succeeds_when_the_shared_tier_is_down() {
    let notes = Notes::new();
    notes.loads().await;
    notes.tier.set_down(true);
    assert_eq!(notes.edit(1, Ok(7)).await, Ok(7));
    assert_eq!(notes.note(&notes.here, 1).await, 1, "the entry is invalidated in this process");
    assert_eq!(notes.here.stats().not_propagated, 1);
}

/// NaN cannot be part of a name. The targets that have a name are invalidated all the same.
#[tokio::test]
async fn tag_with_nan_is_skipped_and_other_targets_are_invalidated() {
    let notes = Notes::new();
    notes.loads().await;
    assert!(notes.nameless(f64::NAN).await);
    assert_eq!(notes.loads().await, 1);
}

#[tokio::test]
async fn keys_are_made_before_the_body_consumes_the_arguments() {
    #[cached("title:{title}", ttl = "1h", tags = ["title:{title}"])]
    async fn title(title: &str) -> usize {
        title.len()
    }

    #[invalidates(title(&text), tags = ["title:{text}"])]
    async fn consume(mut text: String) -> String {
        text.clear();
        text
    }

    title("a").await;
    assert_eq!(consume("b".to_owned()).await, "");
    assert_eq!(title::peek("a").await, Some(1));
    assert_eq!(consume("a".to_owned()).await, "");
    assert_eq!(title::peek("a").await, None);
}

/// Waits for work in the background, but not for ever.
async fn wait_until(condition: impl AsyncFn() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("it never was so");
}
