//! Reads of many callers at the same time: they go together, and nobody depends on another one.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use cached_core::{Record, Tier, TierError};
use cached_redis::{RedisState, RedisTier};
use redis_harness::{Mode, Proxy, RedisServer, eventually_async};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
};

use crate::support::{AT_ONCE, MINUTE, builder, put, tier, up};

/// More than ask each for himself.
const CROWD: usize = 200;

/// The most of a round.
const MOST: usize = 64;

type Answer = Result<Option<Vec<u8>>, TierError>;

async fn read(tier: &RedisTier, key: &str) -> Answer {
    match tier.look_at(key).await?.0 {
        Record::Absent => Ok(None),
        Record::Value(stored) => Ok(Some(stored.bytes)),
        other => panic!("{other:?}"),
    }
}

fn key(number: usize) -> String {
    format!("key {number}")
}

/// Every second key has a value.
fn value(number: usize) -> Option<Vec<u8>> {
    number.is_multiple_of(2).then(|| number.to_string().into_bytes())
}

async fn fill(tier: &RedisTier) {
    for number in 0..CROWD {
        if let Some(bytes) = value(number) {
            put(tier, &key(number), bytes, MINUTE).await.unwrap();
        }
    }
}

fn crowd(tier: &Arc<RedisTier>) -> Vec<JoinHandle<Answer>> {
    let read = |number| {
        let tier = tier.clone();
        tokio::spawn(async move { read(&tier, &key(number)).await })
    };
    (0..CROWD).map(read).collect()
}

fn reads(trips: &[Vec<u8>]) -> (usize, usize) {
    let count = |command: &[u8]| {
        trips.iter().map(|sent| sent.windows(command.len()).filter(|at| *at == command).count()).sum()
    };
    (count(b"\r\nGET\r\n"), count(b"\r\nMGET\r\n"))
}

#[tokio::test]
async fn those_who_ask_at_the_same_time_share_round_trips_and_each_gets_his_own() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = Arc::new(tier(&proxy.url()));
    fill(&tier).await;
    proxy.take_round_trips();

    for (number, reading) in crowd(&tier).into_iter().enumerate() {
        assert_eq!(reading.await.unwrap(), Ok(value(number)), "{number}");
    }
    let trips = proxy.take_round_trips();
    let (alone, together) = reads(&trips);
    assert!(alone <= 10, "{alone} asked alone");
    assert!(together >= (CROWD - alone) / MOST && together <= 10, "{together} rounds");
}

#[tokio::test]
async fn a_few_ask_each_for_himself() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = tier(&proxy.url());
    fill(&tier).await;
    proxy.take_round_trips();

    let (one, two) = tokio::join!(read(&tier, "key 0"), read(&tier, "key 2"));
    assert_eq!((one, two), (Ok(value(0)), Ok(value(2))));
    assert_eq!(reads(&proxy.take_round_trips()), (2, 0));
}

#[tokio::test]
async fn whoever_goes_away_takes_nobody_with_him() {
    let server = RedisServer::start();
    let tier = Arc::new(tier(&server.url()));
    fill(&tier).await;
    // All of them wait, and then some do not any more: among them those who came first.
    let mut waiting: Vec<_> = (0..CROWD)
        .map(|number| {
            let tier = tier.clone();
            let mut reading: Pin<Box<dyn Future<Output = Answer> + Send>> =
                Box::pin(async move { read(&tier, &key(number)).await });
            assert_eq!(reading.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending);
            Some(reading)
        })
        .collect();
    for number in (0..CROWD).filter(|number| number % 3 != 1) {
        waiting[number] = None;
    }
    for (number, reading) in waiting.into_iter().enumerate() {
        if let Some(reading) = reading {
            assert_eq!(reading.await, Ok(value(number)), "{number}");
        }
    }
}

#[tokio::test]
async fn a_hung_server_costs_each_his_budget_and_opens_the_breaker() {
    let server = RedisServer::start();
    let budget = Duration::from_millis(200);
    let tier = Arc::new(builder(&server.url()).operation_timeout(budget).build().unwrap());
    up(&tier).await;
    server.freeze();
    let began = Instant::now();
    for reading in crowd(&tier) {
        assert_eq!(reading.await.unwrap(), Err(TierError::Timeout));
    }
    assert!(began.elapsed() >= budget && began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert!(tier.health().breaker_open, "four bad answers in a row");

    server.thaw();
    eventually_async("it is asked again", async || tier.state() == RedisState::Up).await;
    for reading in crowd(&tier) {
        assert_eq!(reading.await.unwrap(), Ok(None));
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_an_error_for_all_at_once() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = Arc::new(tier(&proxy.url()));
    up(&tier).await;
    proxy.set_mode(Mode::Truncate(30));
    let began = Instant::now();
    let mut broken = 0;
    for reading in crowd(&tier) {
        match reading.await.unwrap() {
            Ok(None) => {}
            Err(TierError::Unavailable) => broken += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(began.elapsed() < AT_ONCE && broken > MOST, "{broken}");
    proxy.set_mode(Mode::Pass);
    eventually_async("there is another connection", async || tier.exists("any").await.is_ok()).await;
    for reading in crowd(&tier) {
        assert_eq!(reading.await.unwrap(), Ok(None));
    }
}

#[tokio::test]
async fn a_user_who_may_not_ask_for_several_keys_gets_them_one_by_one() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = Arc::new(tier(&proxy.url()));
    fill(&tier).await;
    server.cli(&["ACL", "SETUSER", "default", "-mget"]);
    for _ in 0..2 {
        proxy.take_round_trips();
        for (number, reading) in crowd(&tier).into_iter().enumerate() {
            assert_eq!(reading.await.unwrap(), Ok(value(number)), "{number}");
        }
    }
    assert_eq!(reads(&proxy.take_round_trips()).1, 0, "it is not tried over and over");
}

#[tokio::test]
async fn what_is_large_is_asked_for_by_few() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = Arc::new(tier(&proxy.url()));
    for number in 0..CROWD {
        put(&tier, &key(number), vec![b'x'; 100_000], MINUTE).await.unwrap();
    }
    for _ in 0..4 {
        proxy.take_round_trips();
        for reading in crowd(&tier) {
            assert_eq!(reading.await.unwrap().unwrap().map(|bytes| bytes.len()), Some(100_000));
        }
    }
    let (alone, together) = reads(&proxy.take_round_trips());
    assert!(alone + together >= CROWD / 6, "{alone} alone, {together} rounds");
}

#[test]
fn crowds_of_two_runtimes_are_served_side_by_side() {
    let server = RedisServer::start();
    let tier = Arc::new(tier(&server.url()));
    let runtimes =
        [(); 2].map(|()| Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap());
    runtimes[0].block_on(fill(&tier));
    let crowds = runtimes.each_ref().map(|runtime| {
        let tier = tier.clone();
        runtime.spawn(async move {
            for _ in 0..300 {
                for (number, reading) in crowd(&tier).into_iter().enumerate() {
                    assert_eq!(reading.await.unwrap(), Ok(value(number)), "{number}");
                }
            }
        })
    });
    for (runtime, crowd) in runtimes.iter().zip(crowds) {
        runtime.block_on(crowd).unwrap();
    }
}

#[test]
fn nobody_waits_for_a_runtime_that_stands_still() {
    let runtime = || -> Runtime { Builder::new_current_thread().enable_all().build().unwrap() };
    let server = RedisServer::start();
    let tier = Arc::new(tier(&server.url()));
    let (first, second) = (runtime(), runtime());
    // The connection is at home in the second one, which goes on.
    second.block_on(up(&tier));
    let held: Vec<_> = first.block_on(async {
        (0..CROWD)
            .map(|number| {
                let tier = tier.clone();
                let mut reading: Pin<Box<dyn Future<Output = Answer> + Send>> =
                    Box::pin(async move { read(&tier, &key(number)).await });
                assert!(reading.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
                reading
            })
            .collect()
    });
    second.block_on(async {
        let began = Instant::now();
        for reading in crowd(&tier) {
            assert_eq!(reading.await.unwrap(), Ok(None));
        }
        assert!(began.elapsed() < AT_ONCE);
    });
    drop(held);
}
