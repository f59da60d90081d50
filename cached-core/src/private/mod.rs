//! What generated code names. Nothing here is stable.

#![allow(missing_docs)]
#![allow(
    clippy::unnecessary_wraps,
    clippy::return_self_not_must_use,
    reason = "methods come in pairs of one signature"
)]

mod after;
mod argument;
mod keep;
mod load;
mod probe;
mod scope;

pub use std::{
    boxed::Box, future::Future, future::Ready, option::Option, result::Result, string::String, time::Duration,
};

pub use crate::base::planted::is_planted;
pub use after::{After, Always, Outcome, Settle, invalidation};
pub use argument::{
    Arg, Hold, HoldOption, KeyArg, LendArg, OptionArg, RefuseArg, RefuseKey, RefuseTag, mark,
};
pub use keep::{Again, Copies, KeepArg, KeepCopy, RefuseKeep};
pub use load::{Detached, Inline, detached, edge, place};
pub use probe::{
    AnyHeap, KeepsTarget, KeepsWords, NeverEmpty, NeverHit, NoArgumentsHere, NoError, NoErrorToShare,
    NoOption, NoWords, PlainKind, Probe, RefuseShared, RefuseTimeout, RefuseValue, SureValue, Unshared,
    UnsharedError, WordsOfTarget, WordsOfText, error_of, value_of,
};
pub use scope::{free_scope, method_scope, name_of};

pub use crate::{
    api::function::{Call, Intent, Started, SyncCall},
    cache::{Cache, invalidation::Invalidation},
    call::{
        CallSpec,
        control::{CacheControl, LoadRule, Reply},
        keep_warm::Recipe,
        load::{Load, LoadTask, Spawn},
        run::{LoadOutput, LoadRun},
    },
    error::Error,
    key::{KeyPart, Literal, Scope, ScopeValue, flaw, tag::Tag},
    l2::tags::Tags,
    spec::FunctionSpec,
    value::{
        erased::{ErasedValue, Failure, Freshness, Value},
        policy::{Dates, Encoder, LoadContext, LoadedValue, Sharing, TypedPolicy, ValuePolicy, Words},
    },
    warm::report::Warmed,
};

/// What `tag!` makes of a template without a flaw.
pub fn tag(template: &str, parts: &[&dyn KeyPart]) -> Tag {
    Tag::new(template, parts)
}

/// The process default where nobody says what it is: an in-process cache.
#[inline]
pub fn default_cache() -> &'static Cache {
    Cache::default_or(|| Cache::builder().build_or_warn())
}
