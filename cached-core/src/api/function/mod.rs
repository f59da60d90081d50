//! The handle of a function under `#[cached]`: one call with its arguments, and its operations.
//!
//! Generated code makes a `Started` of the arguments, which looks into L1, and a `Call` or `SyncCall` of
//! that. A hit runs inlined in its caller. All other state is boxed, and all other code is out of line, so
//! that it takes no space in the frames and futures of callers. `call` has the path beyond the hit.
//!
//! * `started`: writes the key, looks into L1, and takes the parts that a miss needs.
//! * `call`: the operations of an async function.
//! * `sync_call`: the same operations of a function that is not async, which block.

mod call;
mod started;
mod sync_call;

use std::{future::Future, pin::Pin, sync::Arc};

pub use self::{call::Call, started::Started, sync_call::SyncCall};
use crate::{
    cache::{Absent, Cache},
    call::{
        CallSpec, PreparedCall,
        control::{Reply, Terms},
        load::{Load, Panicked},
        schema,
    },
    key::WriteKey,
    l1::entry::Entry,
};

/// Purpose of a call that is being started.
#[derive(Clone, Copy, Debug)]
pub enum Intent {
    /// The function is called: L1 is asked at once.
    Plain,
    /// A companion of the function is called.
    Companion,
}

/// Progress of a call.
enum Stage<R, M> {
    Hit(R),
    /// A hit that may make its key one of the most used.
    Hot(R, Box<(Missed<R>, Arc<Entry>)>),
    /// No hit. The state is in boxes, so that a caller holds little.
    Miss(M),
}

/// A call that L1 did not answer, or that belongs to a companion.
struct Missed<R> {
    call_spec: CallSpec<R>,
    intent: Intent,
    prepared: PreparedCall,
}

impl<R> Missed<R> {
    /// Creates the state in a box, or each caller would reserve space for it.
    #[cold]
    fn new(
        intent: Intent,
        call_spec: CallSpec<R>,
        cache: &Cache,
        parts: &dyn WriteKey,
        Absent(is_absent): Absent,
    ) -> Box<Self> {
        let prepared = PreparedCall::new(cache, call_spec.spec, parts, || schema(call_spec));
        let prepared = PreparedCall { is_absent, ..prepared };
        Box::new(Self { call_spec, intent, prepared })
    }
}

/// Creates the boxed future of a call, which thereby takes no space in the frames that poll it.
///
/// Kept out of the code of a hit.
#[cold]
#[allow(clippy::boxed_local, reason = "the callers pass boxes")]
fn run<R, F: Future<Output = R>>(
    missed: Box<Missed<R>>,
    load: Box<Load<R, F>>,
    terms: Terms,
) -> Pin<Box<impl Future<Output = Result<Reply<R>, Panicked>>>> {
    let Missed { call_spec, prepared, .. } = *missed;
    Box::pin(prepared.run(terms, (call_spec.new_policy)(), *load))
}
