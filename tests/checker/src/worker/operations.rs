//! The random operations of a worker.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use cached_aside::{CacheOutcome, Error, Layer};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    functions::{self, Found},
    load::{FIRST, Value},
    state::{Phase, State},
};
use crate::{
    clock::now,
    history::{Ack, Answer, Event, EventKind, Strength},
    rng::Rng,
    universe::{Flavor, Form, flavor, reaches},
};

/// Pause between two checks of the outbox.
const OUTBOX_POLL: Duration = Duration::from_millis(10);
/// Number of operations of a task in one season.
const SEASON_LENGTH: u64 = 300;

/// Performs operations until the worker is stopped.
///
/// They come in bursts on two keys, so that a change meets the reads around it.
pub(super) async fn perform(state: Arc<State>, task: u64) {
    let job = &state.job;
    let mut rng = Rng::derive(job.seed, &[job.slot as u64, job.restarts, task]);
    let each = Duration::from_secs(1) * u32::try_from(job.tasks).unwrap_or(1)
        / u32::try_from(job.rate).unwrap_or(1).max(1);
    // The tasks begin at different times.
    let first = f64::from(u32::try_from(rng.below(1_000_000)).unwrap_or(0))
        * 1e-6
        * f64::from(u32::try_from(job.burst).unwrap_or(0));
    let mut next = Instant::now() + each.mul_f64(first);
    let mut done = 0;
    loop {
        sleep_until(next).await;
        let count = rng.between(1, 1 + job.burst);
        let keys = [0; 2].map(|_: u32| u32::try_from(rng.below(u64::from(job.keys))).unwrap_or_default());
        let keys = job.only_key.map_or(keys, |only| [only; 2]);
        for _ in 0..count {
            if state.phase() >= Phase::Stop {
                return;
            }
            let key = keys[usize::from(rng.chance(200_000))];
            // The season depends on the seed and the number of the operation, but not on the time.
            let season =
                Rng::derive(job.seed, &[0x5EA, done / SEASON_LENGTH]).below(job.mix.seasons.len() as u64);
            let quiet = job.mix.seasons[usize::try_from(season).unwrap_or_default()];
            operation(&state, &mut rng, key, quiet).await;
            done += 1;
        }
        // A task that is late does not catch up: the operations that wait for Redis are the ones to observe.
        next = Instant::now().max(next + each * u32::try_from(count).unwrap_or(1));
    }
}

/// Reads until Redis has received all invalidations of this process: a call triggers a resend.
///
/// The time that this takes depends on the machine. The final reads come after it.
pub(super) async fn drain_outbox(state: &State) {
    while functions::has_undelivered() {
        for key in 0..state.job.keys {
            read(state, key, EventKind::Read).await;
        }
        sleep(OUTBOX_POLL).await;
    }
}

/// Ends when another task begins to read a key. Boxed because the type is recursive: a read contains a load.
pub(super) fn start_read(state: &Arc<State>, key: u32) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let (state, (begins, has_begun)) = (state.clone(), oneshot::channel());
    tokio::spawn(async move {
        let _ = begins.send(());
        read(&state, key, EventKind::Read).await;
    });
    Box::pin(async move { _ = has_begun.await })
}

/// Reads every key for the last time.
pub(super) async fn read_all(state: &State) {
    for key in 0..state.job.keys {
        read(state, key, EventKind::FinalRead).await;
    }
}

async fn operation(state: &State, rng: &mut Rng, key: u32, quiet: u32) {
    let mix = &state.job.mix;
    let writes = if state.phase() >= Phase::NoWrites { 0 } else { mix.write / quiet };
    let drawn = u32::try_from(rng.below(1_000_000)).unwrap_or_default();
    let cancel_after = Duration::from_micros(rng.below(2_000));
    if drawn < writes {
        let form = [Form::Key, Form::Tag, Form::Pattern, Form::Clear][rng.weighted(mix.forms.into_iter())];
        let is_confirmed = rng.chance(mix.confirmed);
        let strength = if is_confirmed { Strength::Confirmed } else { Strength::Plain };
        if flavor(key) == Flavor::Stored && rng.chance(500_000) {
            set(state, key).await;
        } else {
            write(state, key, form, strength).await;
        }
    } else if drawn < writes + mix.refresh {
        refresh(state, key).await;
    } else if drawn < writes + mix.refresh + mix.cancel {
        cancelled(state, key, cancel_after).await;
    } else {
        read(state, key, EventKind::Read).await;
    }
}

async fn read(state: &State, key: u32, kind: fn(Answer) -> EventKind) {
    let start = now();
    let found = catch_panic(functions::read(key)).await;
    record_read(state, key, kind, start, found.as_ref());
}

fn record_read(state: &State, key: u32, kind: fn(Answer) -> EventKind, start: u64, found: Option<&Found>) {
    let end = now();
    let (answer, value) = match found {
        Some(Found::Called(reply, outcome, edition)) => answer(key, *edition, reply.as_ref().ok(), *outcome),
        Some(Found::LookedUp(Some(value))) => (verified(key, FIRST, value, Answer::Found), Some(*value)),
        Some(Found::LookedUp(None)) => (Answer::Absent, None),
        None => (Answer::Panicked, None),
    };
    record(state, kind(answer), key, (start, end), value);
}

fn answer(key: u32, edition: u32, value: Option<&Value>, outcome: CacheOutcome) -> (Answer, Option<Value>) {
    let answer = match outcome {
        CacheOutcome::Hit { tier: Layer::L1, .. } => Answer::L1,
        CacheOutcome::Hit { tier: Layer::L2, .. } => Answer::L2,
        CacheOutcome::Miss => Answer::Miss,
        CacheOutcome::Joined => Answer::Joined,
        _ => Answer::Bypass,
    };
    match value {
        Some(value) => (verified(key, edition, value, answer), Some(*value)),
        None => (Answer::Failed, None),
    }
}

fn verified(key: u32, edition: u32, value: &Value, answer: Answer) -> Answer {
    if value.belongs_to(key, edition) { answer } else { Answer::Mixed }
}

/// Makes a call that is dropped if it takes longer than `cancel_after`.
async fn cancelled(state: &State, key: u32, cancel_after: Duration) {
    let start = now();
    match timeout(cancel_after, catch_panic(functions::read(key))).await {
        Ok(found) => record_read(state, key, EventKind::Read, start, found.as_ref()),
        Err(_) => record(state, EventKind::Read(Answer::Cancelled), key, (start, now()), None),
    }
}

async fn refresh(state: &State, key: u32) {
    let start = now();
    let found = catch_panic(functions::refresh(key)).await;
    let end = now();
    let (answer, value) = match found {
        Some(Some(Ok(value))) => (verified(key, FIRST, &value, Answer::Miss), Some(value)),
        Some(Some(Err(_))) => (Answer::Failed, None),
        Some(None) => return,
        None => (Answer::Panicked, None),
    };
    record(state, EventKind::Refresh(answer), key, (start, end), value);
}

async fn write(state: &State, key: u32, form: Form, strength: Strength) {
    let Ok(version) = state.write(key).await else { return };
    let start = now();
    let ack = ack(functions::invalidate(key, form, strength).await);
    let end = now();
    if ack == Ack::Done && reaches(form, key, key) {
        state.acknowledge(key, version).await;
    }
    let kind = EventKind::Invalidate(form, strength, ack);
    let event = Event { process: 0, kind, key, start, end, version, began: 0, load: 0 };
    state.log.write(&event);
}

async fn set(state: &State, key: u32) {
    let Ok(version) = state.write(key).await else { return };
    let start = now();
    let value = Value::new(key, version, start, state.next_load_id());
    let ack = ack(functions::set(key, value).await);
    record(state, EventKind::Set(ack), key, (start, now()), Some(value));
}

fn ack(result: Result<(), Error>) -> Ack {
    match result {
        Ok(()) => Ack::Done,
        Err(error) if error.is_not_confirmed() => Ack::NotConfirmed,
        Err(error) if error.is_not_propagated() || error.is_tier() => Ack::NotPropagated,
        Err(_) => Ack::Error,
    }
}

fn record(state: &State, kind: EventKind, key: u32, (start, end): (u64, u64), value: Option<Value>) {
    let (version, began, load) = value.map_or((0, 0, 0), |value| (value.version, value.began, value.load));
    state.log.write(&Event { process: 0, kind, key, start, end, version, began, load });
}

/// Returns the output of `future`; `None` if it panicked.
async fn catch_panic<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(value)) => Poll::Ready(Some(value)),
        Err(_) => Poll::Ready(None),
    })
    .await
}
