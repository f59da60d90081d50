//! The rest of a call of a function that is not async, which blocks where it has to wait.
//!
//! While the body runs, the stack holds no frame of the path of the call, so that each level of a recursive
//! function takes little.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

use pollster::block_on;

use super::{CallEnd, CallState, act};
use crate::{
    call::{
        NewPolicy, PreparedCall,
        control::{CacheOutcome, Reply, Terms},
        load::Panicked,
        pending::PendingLoad,
    },
    value::policy::{ResultSlot, TypedSlot},
    warm::report::Warmed,
};

/// Takes the steps of a call up to the run of its body. Returns the load if there is one.
///
/// Blocks where the call has to wait. Otherwise the call has ended.
#[inline(never)]
fn decide_now(
    prepared: PreparedCall,
    terms: Terms,
    slot: &mut dyn ResultSlot,
    report: Option<&mut CallEnd>,
) -> Option<PendingLoad> {
    let mut state = CallState::from(prepared.decide(terms, None));
    loop {
        let decision = match state {
            CallState::Decided(decision) => Ok(decision),
            CallState::Deciding(deciding) => block_on(deciding),
            CallState::Running(mut load) => {
                let ran = match load.begin_now(slot) {
                    Ok(true) => return Some(load),
                    begun => begun.map(|_| ()),
                };
                end_now(load, ran, slot, report);
                return None;
            }
            CallState::Prepared(..) | CallState::Publishing(..) | CallState::Ended => Err(Panicked::Lost),
        };
        match decision.and_then(|decision| act(decision, slot)) {
            Ok(Ok(end)) => {
                if let Some(report) = report {
                    *report = end;
                }
                return None;
            }
            Ok(Err(next)) => state = next,
            Err(panicked) => panicked.resume(),
        }
    }
}

/// Ends a load of which the body has run, or was not to run.
#[inline(never)]
fn end_now(
    mut load: PendingLoad,
    ran: thread::Result<()>,
    slot: &mut dyn ResultSlot,
    report: Option<&mut CallEnd>,
) {
    let loaded = match &mut load {
        PendingLoad::Led(led) => Some(ran.and_then(|()| led.split_now(slot))),
        PendingLoad::Alone(_) | PendingLoad::Bypass(_) => None,
    };
    let (end, rest) = load.end(loaded, slot).unwrap_or_else(|panicked| panicked.resume());
    if let Some(rest) = rest {
        block_on(rest);
    }
    if let Some(report) = report {
        *report = end;
    }
}

/// Makes the rest of a call of a function that is not async, and reports its end.
///
/// # Panics
/// Panics with the payload of the load.
#[inline(always)]
#[allow(clippy::inline_always, reason = "each frame counts, as a function may call itself")]
fn run_now<R>(
    prepared: PreparedCall,
    terms: Terms,
    slot: &mut TypedSlot<R>,
    body: impl FnOnce() -> R,
    mut report: Option<&mut CallEnd>,
) {
    let Some(mut load) = decide_now(prepared, terms, slot, report.as_deref_mut()) else { return };
    let ran = load.run_now(body).map(|result| slot.put(result));
    end_now(load, ran, slot, report);
}

/// Returns the place of the result. Not inlined into the code of each body, and neither are the policies.
#[inline(never)]
fn slot_for<R>(prepared: &mut PreparedCall, new_policy: NewPolicy<R>) -> TypedSlot<R> {
    let policy = new_policy();
    prepared.set_policy(policy.clone());
    TypedSlot::new(policy)
}

/// Makes the rest of a plain call.
pub(crate) fn get_now<R>(
    mut prepared: PreparedCall,
    new_policy: NewPolicy<R>,
    body: impl FnOnce() -> R,
) -> R {
    let mut slot = slot_for(&mut prepared, new_policy);
    run_now(prepared, Terms::default(), &mut slot, body, None);
    slot.take().unwrap_or_else(|| Panicked::Lost.resume())
}

/// Makes the rest of a call, and returns the value with its origin.
pub(crate) fn call_now<R>(
    mut prepared: PreparedCall,
    terms: Terms,
    new_policy: NewPolicy<R>,
    body: impl FnOnce() -> R,
) -> Reply<R> {
    let mut slot = slot_for(&mut prepared, new_policy);
    let mut end = CallEnd::new(CacheOutcome::Miss, None);
    run_now(prepared, terms, &mut slot, body, Some(&mut end));
    Reply::new(slot.take().unwrap_or_else(|| Panicked::Lost.resume()), end.outcome)
}

/// Makes the rest of a call, and discards the value.
pub(crate) fn warm_now<R>(
    mut prepared: PreparedCall,
    terms: Terms,
    new_policy: NewPolicy<R>,
    body: impl FnOnce() -> R,
) -> Warmed {
    if !prepared.may_store() {
        return Warmed::Skipped;
    }
    let mut slot = slot_for(&mut prepared, new_policy);
    let mut end = CallEnd::new(CacheOutcome::Miss, None);
    let run = || run_now(prepared, terms, &mut slot, body, Some(&mut end));
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(()) => end.warmed(&mut slot),
        Err(_) => Warmed::Panicked,
    }
}
