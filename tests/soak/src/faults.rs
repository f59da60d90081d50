//! The faults of Redis.

use std::time::{Duration, Instant};

use redis_harness::RedisServer;
use tokio::{task::spawn_blocking, time::sleep};

/// Time for which Redis is down or frozen.
const OUTAGE: Duration = Duration::from_millis(300);

/// Source of one fault after the other, in a fixed cycle.
pub(crate) struct Faults {
    redis: Option<RedisServer>,
    every: Duration,
    done: usize,
}

impl Faults {
    pub(crate) fn new(redis: RedisServer, every: Duration) -> Self {
        Self { redis: Some(redis), every, done: 0 }
    }

    pub(crate) async fn run(&mut self, until: Instant) {
        // There are no faults at the end, so that their effects are not mistaken for growth.
        while Instant::now() + self.every + OUTAGE < until {
            sleep(self.every).await;
            self.inject().await;
        }
        sleep(until.saturating_duration_since(Instant::now())).await;
    }

    async fn inject(&mut self) {
        let mut redis = self.redis.take().expect("it is put back below");
        let kind = self.done % 3;
        self.done += 1;
        let job = spawn_blocking(move || {
            match kind {
                0 => {
                    redis.kill();
                    std::thread::sleep(OUTAGE);
                    redis.restart();
                }
                1 => {
                    redis.freeze();
                    std::thread::sleep(OUTAGE);
                    redis.thaw();
                }
                _ => _ = redis.cli(&["FLUSHALL"]),
            }
            redis
        });
        self.redis = Some(job.await.expect("the server obeys"));
    }
}
