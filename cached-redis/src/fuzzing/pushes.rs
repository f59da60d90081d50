//! Fuzz target for the pushes of a server.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arbitrary::{Result, Unstructured};
use cached_core::{Attachment, ChangeListener};
use redis::{PushInfo, PushKind, Value};

use super::value::{kind, value};
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
    let (watch, recorder) = (Arc::new(PushRouter::default()), Arc::new(Recorder::default()));
    watch.attach(Attachment {
        max_bytes: 1 << 20,
        watcher: recorder.clone(),
        namespace: NAMESPACE.to_owned(),
        journal: format!("{NAMESPACE}:%tags"),
        bound: Duration::from_secs(1),
        grace: Duration::ZERO,
    });
    let ear = PushListener::new(Arc::clone(&watch));
    let count = input.int_in_range(1..=4)?;
    for _ in 0..count {
        let push = push(input)?;
        let expected = Heard::of(&push);
        ear.forget();
        ear.hear(&push);
        let told = recorder.take();
        let heard = Heard {
            keys: told.keys,
            all: told.all,
            has_echoed: ear.has_echoed(),
            is_poked: watch.take_poke(),
            is_lost: watch.take_loss(),
        };
        assert!(heard == expected, "it was taken for something else");
        detached.hear(&push);
        assert!(!detached.has_echoed());
    }
    Ok(())
}

/// Effects of a push.
#[derive(Default, PartialEq)]
struct Heard {
    keys: Vec<Vec<u8>>,
    all: usize,
    has_echoed: bool,
    is_poked: bool,
    is_lost: bool,
}

impl Heard {
    /// Returns the effects that the push must have.
    fn of(push: &PushInfo) -> Self {
        if push.kind != PushKind::Invalidate {
            return Self::default();
        }
        let everything =
            || Self { all: 1, has_echoed: true, is_poked: true, is_lost: true, ..Self::default() };
        let Some(Value::Array(keys)) = push.data.first() else { return everything() };
        let mut heard = Self::default();
        for key in keys {
            let Value::BulkString(key) = key else { return everything() };
            let begins = |own: &str| key.starts_with(format!("{NAMESPACE}:%{own}").as_bytes());
            heard.has_echoed |= begins("echo");
            heard.is_poked |= begins("poke");
            if !["echo", "poke", "members"].into_iter().any(begins) {
                heard.keys.push(key.clone());
            }
        }
        heard
    }
}

/// Listener that records the delivered changes.
#[derive(Debug, Default)]
struct Recorder(Mutex<Received>);

#[derive(Debug, Default)]
struct Received {
    keys: Vec<Vec<u8>>,
    all: usize,
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner).all += 1;
    }

    fn restored(&self) {}
}

fn push(input: &mut Unstructured<'_>) -> Result<PushInfo> {
    let kind = kind(input)?;
    let count = input.int_in_range(0..=2)?;
    let data = (0..count).map(|_| if input.arbitrary()? { keys(input) } else { value(input) });
    Ok(PushInfo { kind, data: data.collect::<Result<_>>()? })
}

/// Generates a list of keys, usually as a server sends it.
fn keys(input: &mut Unstructured<'_>) -> Result<Value> {
    let count = input.int_in_range(0..=5)?;
    let key = |_| {
        Ok(match input.int_in_range(0..=9)? {
            0 => value(input)?,
            1 => Value::BulkString(input.arbitrary()?),
            _ => {
                let begin = *input.choose(&[
                    "",
                    "fuzz:",
                    "fuzz:%",
                    "fuzz:%echo",
                    "fuzz:%poke",
                    "fuzz:%members",
                    "fuzz:%tag:",
                ])?;
                Value::BulkString([begin.as_bytes(), input.arbitrary::<&[u8]>()?].concat())
            }
        })
    };
    Ok(Value::Array((0..count).map(key).collect::<Result<_>>()?))
}
