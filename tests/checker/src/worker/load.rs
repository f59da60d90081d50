//! Bodies of the cached functions. They read the database, with random pauses and random failures.

use std::{error, fmt, panic, sync::Arc, time::Duration};

use cached_aside::{Tag, tag};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::{
    job::{LONGEST_LOAD, Mix},
    operations,
    state::{Phase, State, published},
};
use crate::{
    clock::{ms, now},
    history::{Event, EventKind, LoadEnd},
    rng::Rng,
    universe::{Flavor, Label, flavor, group, label},
};

/// Cached value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Value {
    pub(super) key: u32,
    pub(super) version: u64,
    /// Time at which its load or `set` began.
    pub(super) began: u64,
    /// Identifier of its load or `set`.
    pub(super) load: u64,
    /// Version of the function that loaded it.
    pub(super) edition: u32,
    /// Field with a content that JSON cannot represent, for [some keys](blank).
    #[allow(clippy::option_option, reason = "it is what JSON has no form for")]
    pub(super) blank: Option<Option<u8>>,
}

/// Edition of all functions, and of the first version of a function that has two.
pub(super) const FIRST: u32 = 1;
/// Edition of the second version.
pub(super) const SECOND: u32 = 2;

/// Returns the `blank` field of all values of a key. JSON would write `Some(None)` as `null`, and read
/// `None`.
#[allow(clippy::option_option, reason = "it is what JSON has no form for")]
fn blank(key: u32) -> Option<Option<u8>> {
    (flavor(key) == Flavor::Plain).then_some(None)
}

impl Value {
    /// Creates the value of the load or `set` with the identifier `load`.
    pub(super) fn new(key: u32, version: u64, began: u64, load: u64) -> Self {
        Self { key, version, began, load, edition: FIRST, blank: blank(key) }
    }

    /// Returns whether a call of this key and edition may get this value.
    pub(super) fn belongs_to(&self, key: u32, edition: u32) -> bool {
        (self.key, self.edition, self.blank) == (key, edition, blank(key))
    }

    /// Returns the tags of the value's group.
    pub(super) fn tags(&self) -> Vec<Tag> {
        vec![tag!("t:{}", Label(label(group(self.key))))]
    }
}

/// Planned failure of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LoadFailed;

impl fmt::Display for LoadFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the load failed, as planned")
    }
}

impl error::Error for LoadFailed {}

pub(super) type Loaded = Result<Value, LoadFailed>;

const PLANNED: &str = "a load panics, as planned";

/// Loads a key.
pub(super) async fn load(key: u32) -> Loaded {
    let began = now();
    let state = published().await;
    let load_id = state.next_load_id();
    let mut guard = LoadGuard { state, key, began, load_id, version: 0, end: LoadEnd::Aborted };
    let mut rng = Rng::derive(state.job.seed, &[load_id]);
    let pause = pause(&state.job.mix, &mut rng);
    // In most loads the version is read before the pause, and may be outdated when the load ends.
    let is_late = rng.chance(200_000);
    if is_late {
        sleep(pause).await;
    }
    let version = state.version(key).await;
    if !is_late && !pause.is_zero() {
        sleep(pause).await;
    }
    if let Ok(version) = version
        && state.job.only_key == Some(key)
        && state.phase() < Phase::Stop
        && rng.chance(state.job.mix.held)
    {
        hold(state, key, version).await;
    }
    if rng.chance(state.job.mix.panic) {
        guard.end = LoadEnd::Panicked;
        drop(guard);
        panic!("{PLANNED}");
    }
    let version = match version {
        Ok(version) if !rng.chance(state.job.mix.fail) => version,
        _ => {
            guard.end = LoadEnd::Failed;
            return Err(LoadFailed);
        }
    };
    (guard.version, guard.end) = (version, LoadEnd::Done);
    Ok(Value::new(key, version, began, load_id))
}

/// Waits until the version that was read is superseded.
///
/// The load then ends just after an acknowledgement, and a call begins between the two. Gives up after
/// [`LONGEST_LOAD`], since there may be no writes.
async fn hold(state: &Arc<State>, key: u32, version: u64) {
    let began = now();
    while !state.is_superseded(key, version).await {
        if now() - began > ms(LONGEST_LOAD) {
            return;
        }
        sleep(Duration::from_millis(1)).await;
    }
    operations::start_read(state, key).await;
}

fn pause(mix: &Mix, rng: &mut Rng) -> Duration {
    let drawn = rng.below(1_000_000);
    if drawn < u64::from(mix.very_slow) {
        Duration::from_millis(LONGEST_LOAD)
    } else if drawn < u64::from(mix.very_slow + mix.slow) {
        Duration::from_micros(rng.below(20_000))
    } else {
        Duration::ZERO
    }
}

/// Guard that logs the load however it ends, even if it is dropped.
struct LoadGuard {
    state: &'static Arc<State>,
    key: u32,
    began: u64,
    load_id: u64,
    version: u64,
    end: LoadEnd,
}

impl Drop for LoadGuard {
    fn drop(&mut self) {
        let Self { key, began, load_id: load, version, .. } = *self;
        let kind = EventKind::Load(self.end);
        self.state.log.write(&Event {
            process: 0,
            kind,
            key,
            start: began,
            end: now(),
            version,
            began,
            load,
        });
    }
}

/// Keeps planned panics, and the panics that the cache makes of them, off stderr.
pub(super) fn silence_planned_panics() {
    let others = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let message =
            text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or_default();
        if message != PLANNED && !message.contains("panicked in another call") {
            others(info);
        }
    }));
}
