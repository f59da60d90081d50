//! A caller that joins a flight after an invalidation gets no value from before it.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::SeqCst, mpsc},
    task::{Context, Waker},
    thread,
};

use cached_aside::{
    Cache, Event, EventKind, cached,
    testing::{FakeTier, ManualClock},
};

use crate::{
    faulty_tier::{Faults, FaultyTier},
    support::Source,
};

type Hook = Box<dyn FnOnce() + Send>;

/// Code that runs when the next hit is reported.
static HOOK: Mutex<Option<Hook>> = Mutex::new(None);

fn run_hook(event: &Event) {
    if event.kind == EventKind::HitL1 {
        let hook = HOOK.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(hook) = hook {
            hook();
        }
    }
}

#[cached("hooked:{id}", ttl = "1h", bound = 0, tags = ["hooked"], cache = cache, skip(cache, source))]
async fn hooked(cache: &Cache, source: &Source, id: u32) -> usize {
    let _ = id;
    source.load().await
}

/// The tier is there, but does not know an invalidation of this process. So the entry is served as in an outage. Another
/// invalidation, and a caller after it, come between the check of the entry and the end of the flight.
#[tokio::test]
async fn follower_gets_no_entry_that_was_invalidated_before_it_joined() {
    let (clock, faults, source) = (ManualClock::new(), Arc::new(Faults::default()), Source::open());
    let tier = FaultyTier(FakeTier::new(&clock), faults.clone());
    let cache = Cache::builder()
        .namespace("test")
        .clock(clock.clock())
        .tier(tier)
        .on_event(run_hook)
        .build()
        .unwrap();
    faults.refuses_deletes.store(true, SeqCst);
    assert!(hooked::invalidate(&cache, &source, 7).await.unwrap_err().is_not_propagated());
    assert_eq!(hooked(&cache, &source, 7).await, 1);

    let (sender, followers) = mpsc::channel();
    let others = (cache.clone(), source.clone());
    let hook = move || {
        let (cache, source) = others;
        source.write();
        let invalidated = pollster::block_on(cache.invalidate_tag("hooked", &[]));
        assert!(invalidated.unwrap_err().is_not_propagated());
        let mut call = Box::pin(async move { hooked(&cache, &source, 7).await });
        let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending(), "it follows");
        sender.send(call).unwrap();
    };
    let in_a_thread: Hook = Box::new(|| thread::spawn(hook).join().unwrap());
    *HOOK.lock().unwrap_or_else(PoisonError::into_inner) = Some(in_a_thread);
    assert_eq!(hooked(&cache, &source, 7).await, 1, "the call began before the invalidation");
    assert_eq!((followers.try_recv().unwrap().await, source.runs()), (2, 2));
}
