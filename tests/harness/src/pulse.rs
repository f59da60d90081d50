//! How late the machine is by itself.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

use crate::RedisServer;

/// Between two questions.
const APART: Duration = Duration::from_millis(2);

/// Two answers that are further apart than this are late: on a machine that is not busy, it is half of that. A call may wait for
/// the machine several times, so a little counts as well.
const LATE: Duration = Duration::from_millis(5);

/// When the machine was late for so long, Redis may count as slow: a read may have used up its budget.
const SLOW: Duration = Duration::from_millis(25);

/// After that, for how long a client may not ask Redis again: until its breaker has been closed, or its connection replaced.
const RECOVERY: Duration = Duration::from_secs(3);

/// How late the machine is by itself.
///
/// A test shares it with Redis, with other tests and with whatever else runs there, so each of them may stand still for a time
/// that the code under test is not to blame for. The pulse is a question to a server of its own, to which nothing ever happens,
/// over a bare connection and from a thread of its own. Its answers come every few milliseconds; when one takes longer, that
/// time is the machine's, and not that of a runtime whose threads have too much to do. So a limit in time can be as strict as what is promised, on a busy machine as well:
///
/// ```
/// use std::time::Instant;
///
/// use redis_harness::Pulse;
///
/// let pulse = Pulse::start();
/// let began = Instant::now();
/// // ..something that is to be quick
/// assert!(pulse.took_since(began).as_millis() < 50);
/// ```
///
/// Dropping it ends it, and its server.
#[derive(Debug)]
pub struct Pulse {
    beats: Arc<Mutex<Beats>>,
    /// Of a runtime, if one is watched.
    runtime: OnceLock<Arc<Mutex<Beats>>>,
    _server: RedisServer,
}

#[derive(Debug)]
struct Beats {
    last: Instant,
    /// From one answer to the next one, of those that were late.
    late: Vec<(Instant, Instant)>,
}

impl Pulse {
    /// Starts it.
    ///
    /// # Panics
    /// As [`RedisServer::start`].
    #[must_use]
    pub fn start() -> Self {
        let server = RedisServer::start();
        let beats = Beats::begin();
        let connection = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port()));
        let (connection, noted) = (connection.expect("connecting to a server that runs"), beats.clone());
        thread::spawn(move || beat(connection, &noted));
        Self { beats, runtime: OnceLock::new(), _server: server }
    }

    /// Has [`was_slow`](Self::was_slow) count as well when the runtime of the caller is late, for a test that keeps it busy by
    /// itself: then it is the process that reads an answer too late.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn watch_runtime(&self) {
        self.runtime.get_or_init(|| {
            let beats = Beats::begin();
            tokio::spawn(beat_in_runtime(Arc::downgrade(&beats)));
            beats
        });
    }

    /// How much time has passed since then, without that in which the machine was late.
    pub fn took_since(&self, began: Instant) -> Duration {
        let now = Instant::now();
        now.duration_since(began).saturating_sub(self.late(began, now))
    }

    /// For how long between these two moments the machine was late.
    pub fn late(&self, from: Instant, to: Instant) -> Duration {
        let overlap =
            |(begin, end): (Instant, Instant)| end.min(to).saturating_duration_since(begin.max(from));
        lock(&self.beats).since(from).map(overlap).sum()
    }

    /// Whether Redis may have been slow at any time from `from` to now because the machine was, or whether a client
    /// may still have taken it for slow: half of the default budget of a read, and three seconds to get over it.
    pub fn was_slow(&self, from: Instant) -> bool {
        let from = from.checked_sub(RECOVERY).unwrap_or(from);
        let mut all = [Some(&self.beats), self.runtime.get()].into_iter().flatten();
        all.any(|beats| lock(beats).since(from).any(|(begin, end)| end.duration_since(begin) >= SLOW))
    }
}

impl Beats {
    fn begin() -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { last: Instant::now(), late: Vec::new() }))
    }

    fn note(&mut self, now: Instant) {
        if now.duration_since(self.last) >= LATE {
            self.late.push((self.last, now));
        }
        self.last = now;
    }

    /// The times in which it was late that end after `from`, the one that goes on now included.
    fn since(&self, from: Instant) -> impl Iterator<Item = (Instant, Instant)> {
        let now = Instant::now();
        let open = (now.duration_since(self.last) >= LATE).then_some((self.last, now));
        let is_in = move |(_, end): &(Instant, Instant)| *end > from;
        open.into_iter().chain(self.late.iter().rev().copied().take_while(is_in))
    }
}

/// Until the server is gone.
fn beat(mut connection: TcpStream, beats: &Mutex<Beats>) {
    let mut answer = [0; 7];
    while connection.write_all(b"PING\r\n").is_ok() && connection.read_exact(&mut answer).is_ok() {
        lock(beats).note(Instant::now());
        thread::sleep(APART);
    }
}

/// Until nobody looks at it any more.
async fn beat_in_runtime(beats: Weak<Mutex<Beats>>) {
    while let Some(beats) = beats.upgrade() {
        lock(&beats).note(Instant::now());
        drop(beats);
        tokio::time::sleep(APART).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_late_is_counted_within_the_limits_that_are_asked_for() {
        let began = Instant::now().checked_sub(Duration::from_secs(60)).expect("it runs for a minute");
        let at = |millis| began + Duration::from_millis(millis);
        let mut beats = Beats { last: at(0), late: Vec::new() };
        for millis in [3, 6, 46, 49, 69] {
            beats.note(at(millis));
        }
        assert_eq!(beats.late, [(at(6), at(46)), (at(49), at(69))]);
        let ended: Vec<_> = beats.since(at(47)).skip(1).collect();
        assert_eq!(ended, [(at(49), at(69))], "and one that goes on is first");
    }
}
