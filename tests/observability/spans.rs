//! Spans around the steps that wait.

use std::future::pending;

use cached_aside::{Cache, SPANS, cached};
use tokio::{select, task::spawn};
use tracing::{Instrument, info_span, subscriber::set_default};
use tracing_subscriber::{filter::filter_fn, layer::SubscriberExt, registry};

use crate::{
    support::{SECOND, TestCache, wait_until},
    watch::{EndedSpan, Watch},
};

#[cached("spans:{id}", ttl = "1m", cache = cache, skip(cache))]
async fn detached(cache: &Cache, id: u64) -> Result<u64, u64> {
    info_span!("inside of the load", function = "spans:{}").in_scope(|| ());
    match id {
        0..10 => Ok(id),
        10 => panic!("as planned"),
        _ => Err(id),
    }
}

struct Service;

impl Service {
    #[cached("inline:{id}", ttl = "1m", cache = cache, skip(self, cache))]
    async fn inline(&self, cache: &Cache, id: u64) -> u64 {
        if id == 7 { pending().await } else { id }
    }
}

fn named<'a>(all: &'a [EndedSpan], name: &str) -> Vec<&'a EndedSpan> {
    all.iter().filter(|span| span.name == name).collect()
}

fn outcomes(all: &[EndedSpan], name: &str) -> Vec<String> {
    named(all, name).iter().map(|span| span.fields.get("outcome").cloned().unwrap_or_default()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_step_has_a_span_and_a_load_is_a_child_of_its_caller() {
    let (watch, set) = (Watch::installed(), TestCache::new());
    let (cache, request) = (&set.cache, || info_span!("request"));
    detached(cache, 1).instrument(request()).await.unwrap();
    cache.flush().await;
    assert_eq!(watch.spans_of("spans:{}").len(), 4, "a load and the span inside of it, a lookup and a fill");
    for _ in 0..100 {
        detached(cache, 1).await.unwrap();
    }
    assert_eq!(watch.spans_of("spans:{}").len(), 4, "a hit has no span");
    detached(cache, 11).instrument(request()).await.unwrap_err();
    let panicked = {
        let cache = cache.clone();
        spawn(async move { detached(&cache, 10).await })
    };
    assert!(panicked.await.unwrap_err().is_panic());
    let other = set.other();
    detached(&other, 1).await.unwrap();
    detached::invalidate(cache, 1).instrument(request()).await.unwrap();
    set.tier.set_down(true);
    set.clock.advance(SECOND * 2);
    detached::invalidate(cache, 1).await.unwrap_err();
    cache.flush().await;

    let all = watch.spans_of("spans:{}");
    assert_eq!(outcomes(&all, "cached_aside.load"), ["ok", "error", "panic"]);
    assert_eq!(named(&all, "cached_aside.load")[0].parent, Some("request"));
    assert_eq!(named(&all, "cached_aside.load")[2].parent, None);
    assert!(named(&all, "inside of the load").iter().all(|span| span.parent == Some("cached_aside.load")));
    assert_eq!(outcomes(&all, "cached_aside.lookup"), ["absent", "absent", "absent", "value"]);
    assert_eq!(named(&all, "cached_aside.lookup")[0].parent, Some("request"));
    assert_eq!(outcomes(&all, "cached_aside.fill"), ["stored"]);
    assert_eq!(outcomes(&all, "cached_aside.invalidate"), ["ok", "not_propagated"]);
    assert_eq!(named(&all, "cached_aside.invalidate")[0].parent, Some("request"));
    check_form(&all);
}

#[tokio::test]
async fn a_load_that_its_caller_drops_is_cancelled_and_not_timed() {
    let (watch, cache) = (Watch::installed(), Cache::builder().build().unwrap());
    select! {
        biased;
        _ = Service.inline(&cache, 7) => panic!("it never ends"),
        () = wait_until({ let mut turns = 0; move || { turns += 1; turns > 5 } }) => {}
    }
    let all = watch.spans_of("inline:{}");
    assert_eq!(outcomes(&all, "cached_aside.load"), ["cancelled"]);
    Service.inline(&cache, 1).await;
    assert_eq!(outcomes(&watch.spans_of("inline:{}"), "cached_aside.load"), ["cancelled", "ok"]);
    assert_eq!(crate::support::stats_of(&cache, "inline:{}").load.count, 1);
    check_form(&watch.spans_of("inline:{}"));
}

#[tokio::test]
async fn load_runs_in_the_callers_span_when_filter_disables_own_spans() {
    // If a thread-local subscriber is the only one, it is not asked about callsites that another thread
    // reaches first.
    Watch::installed();
    let (watch, cache) = (Watch::default(), Cache::builder().build().unwrap());
    let is_wanted = filter_fn(|metadata| metadata.target() != "cached_aside");
    let _default = set_default(registry().with(watch.clone()).with(is_wanted));
    detached(&cache, 1).instrument(info_span!("request")).await.unwrap();
    let all = watch.spans_of("spans:{}");
    let names: Vec<_> = all.iter().map(|span| (span.name, span.parent)).collect();
    assert_eq!(names, [("inside of the load", Some("request"))]);
    let request = &watch.all()[1];
    assert_eq!(
        (request.name, request.fields.len()),
        ("request", 0),
        "outcomes of the library's spans are not recorded in the caller's span"
    );
}

/// Checks that the spans have the documented form.
fn check_form(all: &[EndedSpan]) {
    for span in all.iter().filter(|span| span.name.starts_with("cached_aside")) {
        let known = SPANS.iter().find(|known| known.name == span.name).unwrap();
        assert_eq!((span.target, &*span.level), ("cached_aside", known.level));
        let fields: Vec<_> = span.fields.keys().copied().collect();
        assert_eq!(fields, ["duration_us", "function", "outcome"], "{span:?}");
        assert!(known.outcomes.contains(&&*span.fields["outcome"]), "{span:?}");
    }
}
