//! Measurement of delays that the machine causes.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

use crate::RedisServer;

/// Pause between two pings.
const PING_PAUSE: Duration = Duration::from_millis(2);

/// Gap between two replies that counts as late: about twice the gap on an idle machine.
///
/// A call may wait for the machine several times, so small delays count as well.
const LATE_GAP: Duration = Duration::from_millis(5);

/// Delay of the machine after which Redis may count as slow: a read may have exceeded its budget.
const SLOW_DELAY: Duration = Duration::from_millis(25);

/// Time after such a delay during which a client may still avoid Redis: until its breaker has closed, or its
/// connection is replaced.
const RECOVERY: Duration = Duration::from_secs(3);

/// Measures the delays that the machine causes.
///
/// A test shares the machine with Redis, other tests and other programs. Each of them may stall for a time
/// that is not due to the code under test. The pulse pings a dedicated idle server over a bare connection,
/// from a thread of its own. Replies arrive every few milliseconds. A longer gap is due to the machine, and
/// not to a runtime with overloaded threads. So a time limit can be as strict as the promise, on a busy
/// machine as well:
///
/// ```
/// use std::time::Instant;
///
/// use redis_harness::Pulse;
///
/// let pulse = Pulse::start();
/// let began = Instant::now();
/// // ..something that is to be quick
/// assert!(pulse.elapsed_since(began).as_millis() < 50);
/// ```
///
/// Dropping the pulse ends it and its server.
#[derive(Debug)]
pub struct Pulse {
    beats: Arc<Mutex<Beats>>,
    /// Beats of a runtime, if one is watched.
    runtime: OnceLock<Arc<Mutex<Beats>>>,
    _server: RedisServer,
}

#[derive(Debug)]
struct Beats {
    last: Instant,
    /// Intervals between two replies that were late.
    late: Vec<(Instant, Instant)>,
}

impl Pulse {
    /// Starts a pulse and its server.
    ///
    /// # Panics
    /// See [`RedisServer::start`].
    #[must_use]
    pub fn start() -> Self {
        let server = RedisServer::start();
        let beats = Beats::start();
        let connection = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port()));
        let (connection, thread_beats) =
            (connection.expect("connecting to a server that runs"), beats.clone());
        thread::spawn(move || record_pings(connection, &thread_beats));
        Self { beats, runtime: OnceLock::new(), _server: server }
    }

    /// Makes [`was_slow`](Self::was_slow) count delays of the caller's runtime as well.
    ///
    /// This is for a test that keeps its runtime busy: then the process itself reads a reply too late.
    ///
    /// # Panics
    /// Panics outside of a tokio runtime.
    pub fn watch_runtime(&self) {
        self.runtime.get_or_init(|| {
            let beats = Beats::start();
            tokio::spawn(record_runtime_beats(Arc::downgrade(&beats)));
            beats
        });
    }

    /// Returns the time since `began`, without the delays of the machine.
    pub fn elapsed_since(&self, began: Instant) -> Duration {
        let now = Instant::now();
        now.duration_since(began).saturating_sub(self.delay_between(began, now))
    }

    /// Returns the total delay of the machine between these two moments.
    pub fn delay_between(&self, from: Instant, to: Instant) -> Duration {
        let overlap =
            |(begin, end): (Instant, Instant)| end.min(to).saturating_duration_since(begin.max(from));
        lock(&self.beats).since(from).map(overlap).sum()
    }

    /// Returns whether Redis may have been slow since `from` because of the machine.
    ///
    /// Returns `true` as well if a client may still treat Redis as slow. The threshold is half of the default
    /// budget of a read, and the recovery takes up to three seconds.
    pub fn was_slow(&self, from: Instant) -> bool {
        let from = from.checked_sub(RECOVERY).unwrap_or(from);
        let mut all = [Some(&self.beats), self.runtime.get()].into_iter().flatten();
        all.any(|beats| lock(beats).since(from).any(|(begin, end)| end.duration_since(begin) >= SLOW_DELAY))
    }
}

impl Beats {
    fn start() -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { last: Instant::now(), late: Vec::new() }))
    }

    fn record(&mut self, now: Instant) {
        if now.duration_since(self.last) >= LATE_GAP {
            self.late.push((self.last, now));
        }
        self.last = now;
    }

    /// Returns the late intervals that end after `from`, latest first, including one that has not ended.
    fn since(&self, from: Instant) -> impl Iterator<Item = (Instant, Instant)> {
        let now = Instant::now();
        let open = (now.duration_since(self.last) >= LATE_GAP).then_some((self.last, now));
        let is_in = move |(_, end): &(Instant, Instant)| *end > from;
        open.into_iter().chain(self.late.iter().rev().copied().take_while(is_in))
    }
}

/// Pings until the server is gone.
fn record_pings(mut connection: TcpStream, beats: &Mutex<Beats>) {
    let mut answer = [0; 7];
    while connection.write_all(b"PING\r\n").is_ok() && connection.read_exact(&mut answer).is_ok() {
        lock(beats).record(Instant::now());
        thread::sleep(PING_PAUSE);
    }
}

/// Records beats of the runtime until the pulse is dropped.
async fn record_runtime_beats(beats: Weak<Mutex<Beats>>) {
    while let Some(beats) = beats.upgrade() {
        lock(&beats).record(Instant::now());
        drop(beats);
        tokio::time::sleep(PING_PAUSE).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_intervals_are_recorded_and_returned_since_a_given_time() {
        let began = Instant::now().checked_sub(Duration::from_secs(60)).expect("it runs for a minute");
        let at = |millis| began + Duration::from_millis(millis);
        let mut beats = Beats { last: at(0), late: Vec::new() };
        for millis in [3, 6, 46, 49, 69] {
            beats.record(at(millis));
        }
        assert_eq!(beats.late, [(at(6), at(46)), (at(49), at(69))]);
        let ended: Vec<_> = beats.since(at(47)).skip(1).collect();
        assert_eq!(ended, [(at(49), at(69))], "and one that goes on is first");
    }
}
