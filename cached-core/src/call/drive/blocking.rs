//! The rest of a call of a function that is not async, which blocks where it has to wait.
//!
//! While the body runs, the stack holds no frame of the path of the call, so that each level of a recursive
//! function takes little.

use std::{sync::Arc, thread};

use pollster::block_on;

use super::{CallEnd, CallState, act};
use crate::{
    call::{
        PreparedCall,
        control::{Reply, Terms},
        load::Panicked,
        pending::PendingLoad,
    },
    value::policy::{ResultPolicy, ResultSlot, TypedSlot},
    warm::report::Warmed,
};

/// The rest of a call of a function that is not async, up to the run of its body.
///
/// Blocks where the call has to wait.
#[inline(never)]
fn decide_now(
    prepared: PreparedCall,
    terms: Terms,
    slot: &mut dyn ResultSlot,
) -> Result<Result<CallEnd, PendingLoad>, Panicked> {
    let mut state = CallState::from(prepared.decide(terms, None));
    loop {
        let decision = match state {
            CallState::Decided(decision) => decision,
            CallState::Deciding(deciding) => block_on(deciding)?,
            CallState::Running(mut load) => {
                if load.begin_now(slot) {
                    return Ok(Err(load));
                }
                return end_now(load, Ok(()), slot).map(Ok);
            }
            CallState::Publishing(..) | CallState::Ended => return Err(Panicked::Lost),
        };
        match act(decision, slot)? {
            Ok(end) => return Ok(Ok(end)),
            Err(next) => state = next,
        }
    }
}

/// Ends a load of which the body has run, or was not to run.
#[inline(never)]
fn end_now(
    load: PendingLoad,
    ran: thread::Result<()>,
    slot: &mut dyn ResultSlot,
) -> Result<CallEnd, Panicked> {
    let loaded = match &load {
        PendingLoad::Led(led, _) => Some(ran.and_then(|()| led.split_now(slot))),
        PendingLoad::Alone(_) | PendingLoad::Bypass(_) => None,
    };
    let (end, rest) = load.end(loaded, slot)?;
    if let Some(rest) = rest {
        block_on(rest);
    }
    Ok(end)
}

/// Makes the rest of a call of a function that is not async.
pub(crate) fn call_now<R>(
    prepared: PreparedCall,
    terms: Terms,
    policy: Arc<dyn ResultPolicy<R>>,
    body: impl FnOnce() -> R,
) -> Result<Reply<R>, Panicked> {
    let mut slot = TypedSlot::new(policy);
    let end = run_now(prepared, terms, &mut slot, body)?;
    slot.take().map(|value| Reply::new(value, end.outcome)).ok_or(Panicked::Lost)
}

/// Makes the rest of such a call, and discards the value.
pub(crate) fn warm_now<R>(
    prepared: PreparedCall,
    terms: Terms,
    policy: Arc<dyn ResultPolicy<R>>,
    body: impl FnOnce() -> R,
) -> Warmed {
    let mut slot = TypedSlot::new(policy);
    match run_now(prepared, terms, &mut slot, body) {
        Ok(end) => end.warmed(&mut slot),
        Err(_) => Warmed::Panicked,
    }
}

fn run_now<R>(
    prepared: PreparedCall,
    terms: Terms,
    slot: &mut TypedSlot<R>,
    body: impl FnOnce() -> R,
) -> Result<CallEnd, Panicked> {
    let load = match decide_now(prepared, terms, slot)? {
        Ok(end) => return Ok(end),
        Err(load) => load,
    };
    let ran = load.run_now(body).map(|result| slot.put(result));
    end_now(load, ran, slot)
}
