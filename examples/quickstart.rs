//! One attribute and its effect on a slow function: `cargo run --release --example quickstart`.

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::{Duration, Instant},
};

use cached_aside::{CacheControl, cached};
use serde::{Deserialize, Serialize};
use tokio::{task::JoinSet, time::sleep};

/// Cached value. Hits in this process need `Clone`, hits in Redis need serde.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Forecast {
    city: String,
    celsius: i64,
}

static LOADS: AtomicU32 = AtomicU32::new(0);

/// Number of hits that are timed together, because the clock is too coarse for a single hit.
const HITS: u32 = 200_000;

/// Stands for any slow operation, such as a query, a report or a request to a model.
#[cached("forecast", ttl = "10m")]
async fn forecast(city: &str) -> Forecast {
    LOADS.fetch_add(1, Relaxed);
    sleep(Duration::from_millis(300)).await;
    Forecast { city: city.to_owned(), celsius: 12 }
}

#[tokio::main]
async fn main() -> Result<(), cached_aside::Error> {
    println!("{:<46}{:>10}{:>8}", "", "time", "loads");

    timed("a first call", forecast("Oslo")).await;
    let again = timed("the same call again", forecast("Oslo")).await;
    timed("a call for another city", forecast("Lima")).await;
    timed("100 callers at once for a third city", many_callers("Pune")).await;

    let start = Instant::now();
    for _ in 0..HITS {
        std::hint::black_box(forecast("Oslo").await);
    }
    row(&format!("one of {HITS} hits, on average"), start.elapsed() / HITS);

    forecast::invalidate("Oslo").await?;
    timed("after forecast::invalidate(\"Oslo\")", forecast("Oslo")).await;

    println!("\nforecast::with(..) tells where the value came from:");
    let plain = forecast::with(CacheControl::new(), "Oslo").await;
    println!("  CacheControl::new()             {:?}", plain.outcome);
    let anew = forecast::with(CacheControl::no_cache(), "Oslo").await;
    println!("  CacheControl::no_cache()        {:?}", anew.outcome);
    let peeked = forecast::with(CacheControl::only_if_cached(), "Bern").await;
    println!("  CacheControl::only_if_cached()  {:?}", peeked.map(|reply| reply.outcome));

    println!("\nIt was {} °C in {} all the while.", again.celsius, again.city);
    println!("\nTo share it with other processes, and with the next run, put one line first in `main`:");
    println!("    cached_aside::use_redis(\"redis://127.0.0.1:6379\", \"my-app\")?;");
    println!("or set REDIS_URL and run this again. Then read examples/llm_workers.");
    Ok(())
}

async fn many_callers(city: &'static str) {
    let callers: JoinSet<Forecast> = (0..100).map(|_| forecast(city)).collect();
    callers.join_all().await;
}

async fn timed<T>(label: &str, call: impl Future<Output = T>) -> T {
    let start = Instant::now();
    let value = call.await;
    row(label, start.elapsed());
    value
}

fn row(label: &str, time: Duration) {
    println!("{label:<46}{:>10}{:>8}", format!("{time:.1?}"), LOADS.load(Relaxed));
}
