//! Fuzz target for the pushes of a server.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arbitrary::{Result, Unstructured};
use cached_core::tier::{Attachment, ChangeListener};
use redis::{PushInfo, PushKind, Value};

use super::value::{any_push_kind, any_value};
use crate::tracking::push::{PushListener, PushRouter};

const NAMESPACE: &str = "fuzz";

/// Checks the handling of arbitrary pushes.
///
/// Asserts three properties. Each key in an invalidation push is delivered, except for keys that the
/// processes themselves share. An invalidation push that is not a list of keys counts as a change of every
/// key. No other push has an effect.
///
/// # Panics
/// If one of these properties does not hold.
pub fn pushes(data: &[u8]) {
    let _ = check(&mut Unstructured::new(data));
}

fn check(input: &mut Unstructured<'_>) -> Result<()> {
    let detached = PushListener::new(Arc::default());
    let (router, recorder) = (Arc::new(PushRouter::default()), Arc::new(Recorder::default()));
    router.attach(Attachment {
        max_bytes: 1 << 20,
        listener: recorder.clone(),
        namespace: NAMESPACE.to_owned(),
        journal: format!("{NAMESPACE}:%tags"),
        bound: Duration::from_secs(1),
        grace: Duration::ZERO,
    });
    let listener = PushListener::new(Arc::clone(&router));
    let count = input.int_in_range(1..=4)?;
    for _ in 0..count {
        let push = push(input)?;
        let expected = Effects::of(&push);
        listener.reset_echo();
        listener.receive(&push);
        let received = recorder.take();
        let effects = Effects {
            keys: received.keys,
            all_changes: received.all_changes,
            has_echoed: listener.has_echoed(),
            has_barrier: router.take_barrier(),
            is_registry_lost: router.take_registry_loss(),
        };
        assert!(effects == expected, "the push had other effects");
        detached.receive(&push);
        assert!(!detached.has_echoed());
    }
    Ok(())
}

/// Effects of a push.
#[derive(Default, PartialEq)]
struct Effects {
    keys: Vec<Vec<u8>>,
    all_changes: usize,
    has_echoed: bool,
    has_barrier: bool,
    is_registry_lost: bool,
}

impl Effects {
    /// Returns the effects that the push must have.
    fn of(push: &PushInfo) -> Self {
        if push.kind != PushKind::Invalidate {
            return Self::default();
        }
        let everything = || Self {
            all_changes: 1,
            has_echoed: true,
            has_barrier: true,
            is_registry_lost: true,
            ..Self::default()
        };
        let Some(Value::Array(keys)) = push.data.first() else { return everything() };
        let mut effects = Self::default();
        for key in keys {
            let Value::BulkString(key) = key else { return everything() };
            let has_prefix = |name: &str| key.starts_with(format!("{NAMESPACE}:%{name}").as_bytes());
            effects.has_echoed |= has_prefix("echo");
            effects.has_barrier |= has_prefix("poke");
            if !["echo", "poke", "members"].into_iter().any(has_prefix) {
                effects.keys.push(key.clone());
            }
        }
        effects
    }
}

/// Listener that records the delivered changes.
#[derive(Debug, Default)]
struct Recorder(Mutex<Received>);

#[derive(Debug, Default)]
struct Received {
    keys: Vec<Vec<u8>>,
    all_changes: usize,
}

impl Recorder {
    fn take(&self) -> Received {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ChangeListener for Recorder {
    fn changed(&self, key: &[u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys.push(key.to_vec());
    }

    fn all_changed(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).all_changes += 1;
    }

    fn restored(&self) {}
}

fn push(input: &mut Unstructured<'_>) -> Result<PushInfo> {
    let kind = any_push_kind(input)?;
    let count = input.int_in_range(0..=2)?;
    let data = (0..count).map(|_| if input.arbitrary()? { keys(input) } else { any_value(input) });
    Ok(PushInfo { kind, data: data.collect::<Result<_>>()? })
}

/// Generates a list of keys, usually as a server sends it.
fn keys(input: &mut Unstructured<'_>) -> Result<Value> {
    let count = input.int_in_range(0..=5)?;
    let key = |_| {
        Ok(match input.int_in_range(0..=9)? {
            0 => any_value(input)?,
            1 => Value::BulkString(input.arbitrary()?),
            _ => {
                let prefix = *input.choose(&[
                    "",
                    "fuzz:",
                    "fuzz:%",
                    "fuzz:%echo",
                    "fuzz:%poke",
                    "fuzz:%members",
                    "fuzz:%tag:",
                ])?;
                Value::BulkString([prefix.as_bytes(), input.arbitrary::<&[u8]>()?].concat())
            }
        })
    };
    Ok(Value::Array((0..count).map(key).collect::<Result<_>>()?))
}
