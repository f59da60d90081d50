//! The start of a call: the key, the look into L1, and the parts that only a miss needs.
//!
//! Generated code calls these methods in a chain. They take closures, so that a hit does not pay for the parts
//! of a miss.

use std::{future::Future, sync::Arc};

use crate::{
    api::function::{Call, Intent, Stage, SyncCall},
    cache::{Absent, Cache},
    call::{CallSpec, PreparedCall, drive::CallRun, hit, keep_warm::Recipe, load::Load},
    error::Error,
    key::{Parts, WriteKey},
    l1::entry::Entry,
    l2::tags::Tags,
    value::erased::ErasedValue,
};

/// A call with its key written.
///
/// From here on, its arguments may go into the load.
pub struct Started<R> {
    intent: Intent,
    call_spec: CallSpec<R>,
    stage: Stage<R, PreparedCall>,
}

impl<R> Started<R> {
    /// Writes the key, and for a plain call looks into L1.
    ///
    /// `restore` converts an erased value to the return value. Each function has a closure type of its own for
    /// it, and thereby a copy of this code of its own.
    #[allow(
        clippy::inline_always,
        reason = "the compiler then folds the constant fields of the `FunctionSpec`"
    )]
    #[inline(always)]
    pub fn new(
        intent: Intent,
        call_spec: CallSpec<R>,
        cache: &Cache,
        parts: &impl Parts,
        restore: impl Fn(&dyn ErasedValue) -> Option<R>,
    ) -> Self {
        let absent = match intent {
            Intent::Plain => match hit(cache, call_spec.spec, parts, |entry| restore(&*entry.erased)) {
                Ok(value) => return Self { intent, call_spec, stage: Stage::Hit(value) },
                Err(absent) => absent,
            },
            Intent::Companion => Absent(false),
        };
        Self { intent, call_spec, stage: Stage::Miss(prepare(intent, call_spec, cache, parts, absent)) }
    }

    /// Starts a call like [`new`](Self::new), and counts a hit as a use.
    ///
    /// For functions with `keep_warm`.
    #[allow(
        clippy::inline_always,
        reason = "the compiler then folds the constant fields of the `FunctionSpec`"
    )]
    #[inline(always)]
    pub fn counted(
        intent: Intent,
        call_spec: CallSpec<R>,
        cache: &Cache,
        parts: &impl Parts,
        restore: impl Fn(&dyn ErasedValue) -> Option<R>,
    ) -> Self {
        let take =
            |entry: &Arc<Entry>| Some((restore(&*entry.erased)?, entry.add_heat().then(|| entry.clone())));
        let absent = match intent {
            Intent::Plain => match hit(cache, call_spec.spec, parts, take) {
                Ok((value, None)) => return Self { intent, call_spec, stage: Stage::Hit(value) },
                Ok((value, Some(entry))) => {
                    let prepared = prepare(intent, call_spec, cache, parts, Absent(false));
                    let stage = Stage::Hot(value, Box::new((prepared, entry)));
                    return Self { intent, call_spec, stage };
                }
                Err(absent) => absent,
            },
            Intent::Companion => Absent(false),
        };
        Self { intent, call_spec, stage: Stage::Miss(prepare(intent, call_spec, cache, parts, absent)) }
    }

    /// Adds the tags of the call. A hit does not compute them.
    #[inline]
    #[must_use]
    pub fn tags(mut self, write: impl FnOnce(&mut Tags<'_>) -> Result<(), Error>) -> Self {
        if let Stage::Miss(prepared) = &mut self.stage {
            prepared.add_tags(write);
        }
        self
    }

    /// Adds the recipe to load the value again without a call.
    ///
    /// It is made for a hit that may make its key one of the most used.
    #[inline]
    #[must_use]
    pub fn recipe(self, recipe: impl FnOnce() -> Recipe<R>) -> Self
    where
        R: Send + 'static,
    {
        let Self { intent, call_spec, stage } = self;
        let stage = match stage {
            Stage::Hot(value, hot) => {
                let (prepared, entry) = *hot;
                prepared.keep_warm(&entry, call_spec.new_policy, recipe());
                Stage::Hit(value)
            }
            Stage::Miss(mut prepared) if matches!(intent, Intent::Companion) => {
                prepared.add_renewer(call_spec.new_policy, recipe);
                Stage::Miss(prepared)
            }
            stage => stage,
        };
        Self { intent, call_spec, stage }
    }

    /// Adds the load for a miss. A hit does not create it, and pays nothing for it.
    #[inline]
    pub fn load<F: Future<Output = R>>(self, load: impl FnOnce() -> Load<R, F>) -> Call<R, F> {
        Call(match self.stage {
            Stage::Hit(value) | Stage::Hot(value, _) => Stage::Hit(value),
            Stage::Miss(prepared) => Stage::Miss(missed(prepared, self.call_spec, load())),
        })
    }

    /// Adds the body of a function that is not async, for a miss.
    #[inline]
    pub fn body<F: FnOnce() -> R>(self, body: F) -> SyncCall<R, F> {
        SyncCall(match self.stage {
            Stage::Hit(value) | Stage::Hot(value, _) => Stage::Hit(value),
            Stage::Miss(prepared) => Stage::Miss((prepared, self.call_spec.new_policy, body)),
        })
    }
}

/// Prepares a call that is no hit. Kept out of the code of a hit.
#[cold]
fn prepare<R>(
    intent: Intent,
    call_spec: CallSpec<R>,
    cache: &Cache,
    parts: &dyn WriteKey,
    absent: Absent,
) -> PreparedCall {
    // A companion may return the name.
    let needs_name = matches!(intent, Intent::Companion);
    PreparedCall::of_function(call_spec, cache, parts, needs_name, absent)
}

/// Adds the load to a prepared call, in a box. Kept out of the code of a hit.
#[cold]
#[allow(clippy::unnecessary_box_returns, reason = "a caller holds a pointer")]
fn missed<R, F: Future<Output = R>>(
    prepared: PreparedCall,
    call_spec: CallSpec<R>,
    load: Load<R, F>,
) -> Box<CallRun<R, F>> {
    CallRun::of_function(prepared, call_spec.new_policy, load)
}
