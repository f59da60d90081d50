//! Events that observers receive.

use std::sync::{Arc, Mutex};

use cached_aside::{Cache, Event, EventKind, cached};

use crate::support::{Pair, SECOND, Source};

#[cached("secret:{id}", ttl = "1m", cache = cache, skip(cache, source))]
async fn row(cache: &Cache, source: &Source, id: &str) -> usize {
    let _ = id;
    source.load().await
}

type ObservedEvents = Arc<Mutex<Vec<Event>>>;

fn observed_pair() -> (Pair, ObservedEvents) {
    let seen = ObservedEvents::default();
    let observer = seen.clone();
    let pair = Pair::with(move |builder| {
        let seen = observer.clone();
        builder.on_event(move |event| seen.lock().unwrap().push(*event)).on_event(|_| panic!("an observer"))
    });
    (pair, seen)
}

#[tokio::test]
async fn events_contain_no_keys_and_no_values() {
    let ((pair, seen), source) = (observed_pair(), Source::open());
    let kinds = || seen.lock().unwrap().drain(..).map(|event| event.kind.name()).collect::<Vec<_>>();
    row(&pair.a, &source, "canary").await;
    pair.flush().await;
    assert_eq!(kinds(), ["miss", "load", "fill"]);
    row(&pair.a, &source, "canary").await;
    assert_eq!(kinds(), ["hit_l1"]);
    row(&pair.b, &source, "canary").await;
    let events = seen.lock().unwrap().clone();
    assert_eq!(events[0].function, "secret:{}");
    let digest = events[0].key.unwrap().to_string();
    assert!(digest.len() == 32 && !format!("{events:?}").contains("canary"));
    assert_eq!(kinds(), ["hit_l2"]);
    row::invalidate(&pair.a, &source, "canary").await.unwrap();
    pair.a.clear().await.unwrap();
    let events = seen.lock().unwrap().clone();
    assert_eq!((events[1].function, events[1].key), ("", None));
    assert_eq!(kinds(), ["invalidate", "invalidate"]);
}

#[tokio::test]
async fn rejected_load_and_eviction_emit_events() {
    let ((pair, seen), source) = (observed_pair(), Source::gated());
    let loading = row(&pair.a, &source, "x");
    let meanwhile = async {
        crate::support::wait_until(|| source.runs() == 1).await;
        row::invalidate(&pair.b, &source, "x").await.unwrap();
        source.release(1);
    };
    tokio::join!(loading, meanwhile);
    pair.flush().await;
    assert!(seen.lock().unwrap().iter().any(|event| event.kind == EventKind::Reject));

    let evicted = Arc::new(Mutex::new(0));
    let count = evicted.clone();
    let small = Cache::builder().l1_max_bytes(4_000).on_event(move |event| {
        *count.lock().unwrap() += u32::from(event.kind == EventKind::Evict && event.function == "secret:{}");
    });
    let (small, source) = (small.build().unwrap(), Source::open());
    for id in 0..100 {
        row(&small, &source, &id.to_string()).await;
    }
    small.stats();
    assert!(*evicted.lock().unwrap() > 50);
    pair.clock.advance(SECOND);
}
