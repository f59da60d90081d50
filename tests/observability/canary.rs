//! A canary in keys, values, tags, errors, panics and a password, which must appear in no observable output.

use std::sync::{Arc, Mutex};

use cached_aside::{Cache, METRICS, RedisTier, cached, tag};
use metrics::with_local_recorder;
use tokio::task::spawn;

use crate::{
    recorder::Memory,
    support::{SECOND, Set},
    watch::Watch,
};

const WORD: &str = "xyzzycanary";

#[derive(Clone, Copy, Debug)]
enum Order {
    Value,
    Error,
    Panic,
}

#[cached(
    "canary:{id}",
    ttl = "1m",
    cache = cache,
    skip(cache, order),
    tags = ["of:{id}"],
    tags_from = |value: &String| vec![tag!("{}", value)],
)]
async fn secret(cache: &Cache, order: Order, id: &str) -> Result<String, String> {
    match order {
        Order::Value => Ok(format!("the value {WORD} of {id}")),
        Order::Error => Err(format!("the error {WORD}")),
        Order::Panic => panic!("the panic {WORD}"),
    }
}

#[cached("bare", ttl = "1m", cache = cache, skip(cache), local)]
fn refused(cache: &Cache, id: (&str, f64)) -> String {
    format!("{id:?}")
}

/// Uses everything that a cache can do.
async fn use_it(cache: &Cache, said: &Mutex<Vec<String>>) {
    let say = |what: &dyn std::fmt::Debug| said.lock().unwrap().push(format!("{what:?}"));
    for id in [WORD, "xyzzycanary-2"] {
        for order in [Order::Value, Order::Value, Order::Error, Order::Panic] {
            let (cache, id) = (cache.clone(), format!("{id} {order:?}"));
            let _ = spawn(async move { secret(&cache, order, &id).await }).await;
        }
    }
    refused(cache, (WORD, f64::NAN));
    cache.flush().await;
    let users = cache.keyspace::<str, String>("users", SECOND * 60).unwrap();
    say(&users.set(WORD, WORD.to_owned()).await);
    users.get(WORD).await;
    users.get_many([WORD, "xyzzycanary-2"]).await;
    let invalidation = secret::invalidate(cache, Order::Value, WORD)
        .and(cache.invalidate_tag("of:{}", &[&WORD]))
        .and(cache.invalidate_pattern("users:{}*", &[&WORD]));
    say(&invalidation);
    say(&invalidation.await);
    say(&cache.invalidate_pattern("users:{}[", &[&WORD]).await);
    say(&cache.invalidate_tag("of:{}", &[&WORD]).confirmed().await);
    say(&cache.incr("counters", WORD, 1, None).await.map(|_| ()));
    cache.flush().await;
    say(&(cache, cache.stats(), cache.stats_by_function(), cache.health()));
    say(&serde_json::to_string(&(cache.stats(), cache.stats_by_function(), cache.health())).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_can_be_seen_holds_a_key_a_value_or_a_password() {
    let (watch, memory, said) = (Watch::installed(), Memory::default(), Arc::new(Mutex::new(Vec::new())));
    let observe = |said: &Arc<Mutex<Vec<String>>>| {
        let said = said.clone();
        move |event: &cached_aside::Event| said.lock().unwrap().push(format!("{event:?}"))
    };

    let set = Set::with(|builder| builder.on_event(observe(&said)));
    use_it(&set.cache, &said).await;
    set.tier.set_down(true);
    set.clock.advance(SECOND * 2);
    use_it(&set.cache, &said).await;
    with_local_recorder(&memory, || set.cache.export_metrics());

    // No server listens at this address.
    let url = format!("redis://user:{WORD}@127.0.0.1:1/0");
    let tier = RedisTier::builder(&url);
    said.lock().unwrap().push(format!("{tier:?}"));
    let tier = tier.build().unwrap();
    said.lock().unwrap().push(format!("{tier:?}"));
    let builder = Cache::builder().tier(tier).on_event(observe(&said));
    said.lock().unwrap().push(format!("{builder:?}"));
    let cache = builder.build().unwrap();
    use_it(&cache, &said).await;
    with_local_recorder(&memory, || cache.export_metrics());
    let malformed = RedisTier::builder(format!("redis://user:{WORD}@127.0.0.1:port")).build();
    said.lock().unwrap().push(format!("{:?} {}", malformed, malformed.as_ref().unwrap_err()));

    // Verifies that the collected output is the one to be searched.
    let (said, text, told) = (said.lock().unwrap().join("\n"), watch.text(), format!("{memory:?}"));
    for name in
        ["HitL1", "Miss", "Load", "Fill", "Invalidate", "NotPropagated", "canary:{}", "RedisTier", "l1_bytes"]
    {
        assert!(said.contains(name), "{name} is not in {said}");
    }
    for span in cached_aside::SPANS {
        assert!(text.contains(span.name), "{}", span.name);
    }
    for name in ["hits_total", "misses_total", "load_failures_total", "not_propagated_total", "load_seconds"]
    {
        assert!(told.contains(name), "{name} is not in {told}");
    }
    assert!(METRICS.len() > 20);
    for (what, text) in [("Debug", said), ("tracing", text), ("metrics", told)] {
        let line = text.lines().find(|line| line.contains(WORD));
        assert_eq!(line, None, "in what {what} shows");
    }
}
