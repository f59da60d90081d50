//! A canary in keys, values, tags, errors, panics and a password, which must appear in no observable output.

use std::sync::{Arc, Mutex};

use cached_aside::{Cache, METRICS, RedisTier, cached, tag};
use metrics::with_local_recorder;
use tokio::task::spawn;

use crate::{
    recorder::Memory,
    support::{SECOND, TestCache},
    watch::Watch,
};

const CANARY: &str = "xyzzycanary";

#[derive(Clone, Copy, Debug)]
enum LoadOutcome {
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
async fn secret(cache: &Cache, order: LoadOutcome, id: &str) -> Result<String, String> {
    match order {
        LoadOutcome::Value => Ok(format!("the value {CANARY} of {id}")),
        LoadOutcome::Error => Err(format!("the error {CANARY}")),
        LoadOutcome::Panic => panic!("the panic {CANARY}"),
    }
}

#[cached("bare", ttl = "1m", cache = cache, skip(cache), local)]
fn refused(cache: &Cache, id: (&str, f64)) -> String {
    format!("{id:?}")
}

/// Uses everything that a cache can do.
async fn use_everything(cache: &Cache, outputs: &Mutex<Vec<String>>) {
    let record = |value: &dyn std::fmt::Debug| outputs.lock().unwrap().push(format!("{value:?}"));
    for id in [CANARY, "xyzzycanary-2"] {
        for order in [LoadOutcome::Value, LoadOutcome::Value, LoadOutcome::Error, LoadOutcome::Panic] {
            let (cache, id) = (cache.clone(), format!("{id} {order:?}"));
            let _ = spawn(async move { secret(&cache, order, &id).await }).await;
        }
    }
    refused(cache, (CANARY, f64::NAN));
    cache.flush().await;
    let users = cache.keyspace::<str, String>("users", SECOND * 60).unwrap();
    record(&users.set(CANARY, CANARY.to_owned()).await);
    users.get(CANARY).await;
    users.get_many([CANARY, "xyzzycanary-2"]).await;
    let invalidation = secret::invalidate(cache, LoadOutcome::Value, CANARY)
        .and(cache.invalidate_tag("of:{}", &[&CANARY]))
        .and(cache.invalidate_pattern("users:{}*", &[&CANARY]));
    record(&invalidation);
    record(&invalidation.await);
    record(&cache.invalidate_pattern("users:{}[", &[&CANARY]).await);
    record(&cache.invalidate_tag("of:{}", &[&CANARY]).confirmed().await);
    record(&cache.incr("counters", CANARY, 1, None).await.map(|_| ()));
    cache.flush().await;
    record(&(cache, cache.stats(), cache.stats_by_function(), cache.health()));
    record(&serde_json::to_string(&(cache.stats(), cache.stats_by_function(), cache.health())).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn observable_output_contains_no_keys_values_or_passwords() {
    let (watch, memory, outputs) = (Watch::installed(), Memory::default(), Arc::new(Mutex::new(Vec::new())));
    let observe = |outputs: &Arc<Mutex<Vec<String>>>| {
        let sink = outputs.clone();
        move |event: &cached_aside::Event| sink.lock().unwrap().push(format!("{event:?}"))
    };

    let set = TestCache::with(|builder| builder.on_event(observe(&outputs)));
    use_everything(&set.cache, &outputs).await;
    set.tier.set_down(true);
    set.clock.advance(SECOND * 2);
    use_everything(&set.cache, &outputs).await;
    with_local_recorder(&memory, || set.cache.export_metrics());

    // No server listens at this address.
    let url = format!("redis://user:{CANARY}@127.0.0.1:1/0");
    let tier = RedisTier::builder(&url);
    outputs.lock().unwrap().push(format!("{tier:?}"));
    let tier = tier.build().unwrap();
    outputs.lock().unwrap().push(format!("{tier:?}"));
    let builder = Cache::builder().tier(tier).on_event(observe(&outputs));
    outputs.lock().unwrap().push(format!("{builder:?}"));
    let cache = builder.build().unwrap();
    use_everything(&cache, &outputs).await;
    with_local_recorder(&memory, || cache.export_metrics());
    let malformed = RedisTier::builder(format!("redis://user:{CANARY}@127.0.0.1:port")).build();
    outputs.lock().unwrap().push(format!("{:?} {}", malformed, malformed.as_ref().unwrap_err()));

    // Verifies that the collected output is the one to be searched.
    let (debug_output, text, metrics) =
        (outputs.lock().unwrap().join("\n"), watch.text(), format!("{memory:?}"));
    for name in
        ["HitL1", "Miss", "Load", "Fill", "Invalidate", "NotPropagated", "canary:{}", "RedisTier", "l1_bytes"]
    {
        assert!(debug_output.contains(name), "{name} is not in {debug_output}");
    }
    for span in cached_aside::SPANS {
        assert!(text.contains(span.name), "{}", span.name);
    }
    for name in ["hits_total", "misses_total", "load_failures_total", "not_propagated_total", "load_seconds"]
    {
        assert!(metrics.contains(name), "{name} is not in {metrics}");
    }
    assert!(METRICS.len() > 20);
    for (source, text) in [("Debug", debug_output), ("tracing", text), ("metrics", metrics)] {
        let line = text.lines().find(|line| line.contains(CANARY));
        assert_eq!(line, None, "in the output of {source}");
    }
}
