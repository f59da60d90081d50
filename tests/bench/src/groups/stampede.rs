//! Stampede in one process: many callers request one key that is not cached.

use std::{
    cell::RefCell,
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use cached_aside::cached;
use hitbox_fn::cached as hitbox_cached;
use tokio::{sync::OnceCell, time::sleep};

use crate::{
    options::Options,
    peers::{Cachet, Foyer, Lfu, MokaFuture, MultiTier, Peer, Quick},
    race::{Arm, quartiles, race},
    report::{Group, Report, number, ratio},
    work::{TTL, load, loads, runtime},
};

pub const GROUP: Group = Group { name: "stampede", long: false, crates: super::PEERS, run };

const CALLERS: usize = 10_000;
const CAPACITY: u32 = 10_000;

/// Duration of the load, so long that all callers arrive before it ends.
const LOAD: Duration = Duration::from_millis(100);

async fn slow(id: u64) -> u64 {
    sleep(LOAD).await;
    load(id)
}

#[cached("stampede", ttl = "1h")]
async fn ours(id: u64) -> u64 {
    slow(id).await
}

#[cached::macros::cached(max_size = 10_000, ttl_secs = 3600, sync_writes = "by_key")]
async fn by_key(id: u64) -> u64 {
    slow(id).await
}

#[hitbox_cached(prefix = "stampede")]
async fn boxed(id: u64) -> u64 {
    slow(id).await
}

fn run(options: &Options) -> Report {
    let moka = <MokaFuture<u64, u64> as Peer<u64, u64>>::new(CAPACITY).0;
    let quick = Arc::new(<Quick<u64, u64> as Peer<u64, u64>>::new(CAPACITY).0);
    let foyer = <Foyer<u64, u64, Lfu> as Peer<u64, u64>>::new(CAPACITY).0;
    let cachet = Arc::new(Cachet::<u64, u64>::with_stampede_protection(CAPACITY).0);
    let tiers = Arc::new(<MultiTier as Peer<u64, u64>>::new(CAPACITY).0);
    let hitbox = super::hitbox::with_stampede_protection(CAPACITY);
    let none = ();
    let counts = RefCell::new(Vec::<(&str, usize)>::new());
    let mut next = 0;
    let mut key = || {
        next += 1;
        next
    };
    let mut arms = Vec::new();
    macro_rules! arm {
        ($name:literal, $shared:ident, $key:ident => $call:expr) => {{
            let (shared, counts) = (&$shared, &counts);
            let first = key() << 32;
            let mut turn = 0;
            arms.push(Arm::new($name, move || {
                turn += 1;
                let ($key, before) = (first + turn, loads());
                let millis = stampede(|| {
                    let $shared = shared.clone();
                    async move { assert_eq!($call, $key, "the value of its key") }
                });
                counts.borrow_mut().push(($name, loads() - before));
                millis
            }));
        }};
    }
    arm!("ours, async", none, key => { let () = none; ours(key).await });
    arm!("cached, sync_writes by key", none, key => { let () = none; by_key(key).await });
    arm!("hitbox", hitbox, key => boxed(key).cache(&hitbox).await);
    arm!("moka future, get_with", moka, key => moka.get_with(key, slow(key)).await);
    arm!("moka future, try_get_with", moka, key => {
        moka.try_get_with(key, async { Ok::<_, Infallible>(slow(key).await) }).await.expect("it does not fail")
    });
    arm!("quick_cache, get_or_insert_async", quick, key => {
        quick.get_or_insert_async(&key, async { Ok::<_, Infallible>(slow(key).await) }).await.expect("it does not fail")
    });
    arm!("foyer lfu, get_or_fetch", foyer, key => {
        let entry = foyer.get_or_fetch(&key, || async move { Ok::<u64, Infallible>(slow(key).await) }).await;
        *entry.expect("it does not fail").value()
    });
    arm!("cachet, get_or_insert", cachet, key => {
        *cachet.get_or_insert(&key, || slow(key)).await.expect("it does not fail").value()
    });
    arm!("multi-tier-cache, get_or_compute", tiers, key => {
        let (name, strategy) = (format!("user:{key}"), multi_tier_cache::CacheStrategy::Custom(TTL));
        let load = || async { Ok(slow(key).await) };
        tiers.get_or_compute_typed(&name, strategy, load).await.expect("it does not fail")
    });
    arms.push(Arm::new("no cache: a `OnceCell`", || {
        let cell = Arc::new(OnceCell::new());
        stampede(|| {
            let cell = cell.clone();
            async move { assert_eq!(*cell.get_or_init(|| slow(7)).await, 7, "the value of its key") }
        })
    }));
    let rounds = race(options, options.pick(2, 9), arms);
    let counts = counts.into_inner();
    let loads = |name: &str| {
        let all = counts.iter().filter(|(arm, _)| *arm == name).map(|(_, loads)| *loads);
        (quartiles(all.clone().map(|loads| loads as f64))[1], all.max().unwrap_or(1))
    };
    let head = ["arm", "loads", "most loads", "ms", "÷ ours", "÷ `OnceCell`"].map(str::to_owned);
    let row = |name: &String| {
        let (median, most) = if name.starts_with("no cache") { (1.0, 1) } else { loads(name) };
        vec![
            name.clone(),
            format!("{median:.0}"),
            most.to_string(),
            number(rounds.median(name)),
            ratio(rounds.ratio(name, "ours, async")),
            ratio(rounds.ratio(name, "no cache: a `OnceCell`")),
        ]
    };
    let rows: Vec<_> = [head.into()].into_iter().chain(rounds.names().iter().map(row)).collect();
    let title = format!(
        "{CALLERS} tasks and one cold key, a load of {} ms: from the first spawn to the last answer, beyond the time of one load",
        LOAD.as_millis()
    );
    Report::default().table(&title, &rows)
}

/// Runs all callers. Returns the milliseconds until the last answer, without the time of one load.
fn stampede<F: Future<Output = ()> + Send + 'static>(call: impl Fn() -> F) -> f64 {
    let calls: Vec<_> = (0..CALLERS).map(|_| call()).collect();
    let began = Instant::now();
    runtime().block_on(async {
        let tasks: Vec<_> = calls.into_iter().map(tokio::spawn).collect();
        for task in tasks {
            task.await.expect("no caller panics");
        }
    });
    (began.elapsed().saturating_sub(LOAD)).as_secs_f64() * 1e3
}
