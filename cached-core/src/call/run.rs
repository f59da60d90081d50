//! The run of one load, from its fill right to the end of its flight.
//!
//! 1. The flight is bound to the validity of the fill right. An invalidation from here on supersedes the
//!    flight.
//! 2. If there was an invalidation before that, the right is checked or requested again (`stand`).
//! 3. The lease, if there is one, is renewed for as long as the load is being polled.
//! 4. The body runs in its turn. Panics of the body and of the policies are caught.
//! 5. The permit is returned, and the result is published, or the lease released.
//!
//! `publish` has step 5, `flight::leader` has the ends of a flight.

use std::{future::Future, sync::Arc, thread, time::Duration};

use crate::{
    call::{
        context::{CallContext, SharedAnswer},
        fill_right::FillRight,
        publish::{Loaded, land},
    },
    flight::{FlightResult, Leader, permits::LoadTurn},
    l1::entry::Entry,
    l2::lookup::Acceptable,
    telemetry::{stats::Count, step::LoadSpan},
    value::policy::{LoadContext, LoadedValue},
};

/// Idle time after which a load counts as abandoned: it could go on, and is not polled.
const ABANDONED: Duration = Duration::from_secs(1);

/// Outcome of a load for its caller.
pub struct LoadOutput<R> {
    pub(crate) out: R,
    pub(crate) is_error: bool,
    /// An older value could still be served when the load had ended.
    pub(crate) may_spare: bool,
}

/// Fill right of a load, and its turn.
type Start = (FillRight, LoadTurn);

/// Runs a load and ends its flight, in the caller or in a task of its own.
pub struct LoadRun<R> {
    desk: Box<CallContext<R>>,
    leader: Leader,
    /// Fill right and turn; `None` if L2 is still to be queried.
    asked: Option<Start>,
    /// Span of the load, inside its caller's span; `None` if no caller waits for the load.
    loading: Option<LoadSpan>,
    /// Older entry that is served if the load fails.
    spare: Option<Arc<Entry>>,
}

impl<R> LoadRun<R> {
    pub(crate) fn new(
        desk: Box<CallContext<R>>,
        leader: Leader,
        ground: FillRight,
        turn: LoadTurn,
        spare: Option<Arc<Entry>>,
    ) -> Self {
        let loading = LoadSpan::new(desk.cache.clock(), desk.cache.function(&desk.site));
        Self { desk, leader, asked: Some((ground, turn)), loading: Some(loading), spare }
    }

    /// Creates a run that queries L2 before it loads.
    pub(crate) fn unasked(desk: Box<CallContext<R>>, leader: Leader, spare: Arc<Entry>) -> Self {
        Self { desk, leader, asked: None, loading: None, spare: Some(spare) }
    }

    /// Prepares the run for a task of its own, and keeps the caller's span as the parent.
    pub(crate) fn apart(mut self) -> Self {
        self.loading.iter_mut().for_each(LoadSpan::leave_caller);
        self
    }

    /// Runs the load. Returns its outcome, or the payload of a panic.
    pub(crate) async fn land(self, load: impl Future<Output = R>) -> thread::Result<LoadOutput<R>> {
        let Self { desk, leader, asked, loading, spare } = self;
        let (leader, (mut ground, mut turn)) = match asked {
            Some(start) if leader.stand_on(start.0.claim()) => (leader, start),
            // Boxed, so that nested loads do not add up on the stack.
            asked => match Box::pin(desk.stand(leader, asked, spare.clone())).await {
                Ok(start) => start,
                Err(end) => return end,
            },
        };
        let mut loading =
            loading.unwrap_or_else(|| LoadSpan::new(desk.cache.clock(), desk.cache.function(&desk.site)));
        let since = desk.cache.shared().said.now();
        if let FillRight::Everywhere(lease) = &mut ground {
            if desk.site.coalesces_here() {
                lease.give_back_at_close();
            } else {
                lease.keep(leader.is_at_work(ABANDONED));
            }
        }
        // Policies are user code as well, so their panics are caught, too.
        let load = loading.around(load);
        let settle = async {
            let out = desk.in_turn(&mut turn, &mut loading, load).await;
            desk.shape.settle(out, &LoadContext::now(desk.cache.clock(), desk.terms.ttl))
        };
        let settled = leader.watch(settle).await;
        // The permit is returned: the next load may begin.
        drop(turn);
        let settled = match settled {
            Ok(settled) => settled,
            Err(panic) => {
                loading.panicked();
                spare.inspect(|kept| desk.let_rest(kept));
                ground.fail();
                leader.fail(FlightResult::Panicked);
                return Err(panic);
            }
        };
        let is_error = settled.is_error;
        loading.ended(is_error);
        let mut ttl = settled.ttl;
        let had_spare = spare.is_some();
        // Checked before the lease is released, because the release ends the epoch of the key.
        let may_spare = spare.as_ref().is_some_and(|kept| desk.cache.may_serve(&desk.site, kept));
        if let Some(kept) = spare.filter(|_| is_error) {
            desk.let_rest(&kept);
            // An error does not replace a value that may still be served.
            ttl = None;
        }
        match (settled.slot, ttl) {
            (Some(slot), ttl) => {
                let value = Loaded { slot, ttl, is_error, had_spare, since };
                // Boxed, so that nested loads do not add up on the stack.
                if let Some(rest) = land(desk, leader, ground, value) {
                    rest.await;
                }
            }
            (None, _) => {
                ground.fail_with(None);
                if leader.hand_on() {
                    desk.cache.function(&desk.site).warn_of_errors();
                }
            }
        }
        Ok(LoadOutput { out: settled.out, is_error, may_spare })
    }
}

impl<R> CallContext<R> {
    /// Returns the fill right under which the load begins, or the outcome if there is a value already.
    ///
    /// An invalidation may come between the reply of L2 and the start of the load. A load that started
    /// regardless would be rejected, and its followers would wait in vain. So L2 is queried again. If each
    /// right is invalidated in turn, the followers start over, and the load runs for its own caller.
    async fn stand(
        &self,
        mut leader: Leader,
        mut asked: Option<Start>,
        spare: Option<Arc<Entry>>,
    ) -> Result<(Leader, Start), thread::Result<LoadOutput<R>>> {
        const TRIES: usize = 3;

        let mut tries = 0;
        loop {
            tries += 1;
            let (ground, turn) = match asked.take() {
                Some(start) => start,
                None => {
                    let start;
                    (leader, start) = self.ask_first(leader, spare.clone()).await?;
                    start
                }
            };
            if leader.stand_on(ground.claim()) {
                return Ok((leader, (ground, turn)));
            }
            match ground {
                FillRight::Everywhere(lease) if tries < TRIES => {
                    // A release ends the epoch of the name, and must not supersede this flight.
                    leader.stand_down();
                    match leader.watch(lease.reassured()).await {
                        Ok(Some(lease)) => {
                            leader.stand_on(&lease.claim);
                            return Ok((leader, (FillRight::Everywhere(lease), turn)));
                        }
                        Ok(None) => {}
                        Err(panic) => {
                            leader.fail(FlightResult::Panicked);
                            return Err(Err(panic));
                        }
                    }
                }
                // The change concerned the lease of the other load. Another query would only wait for that
                // load.
                ground @ FillRight::IfUnchanged(_) => return Ok((leader, (ground, turn))),
                ground if tries >= TRIES => {
                    leader.fall();
                    return Ok((leader, (ground, turn)));
                }
                _ => {}
            }
        }
    }

    /// Queries L2 for a load that has not done so. Returns the outcome instead if there is a value.
    async fn ask_first(
        &self,
        leader: Leader,
        spare: Option<Arc<Entry>>,
    ) -> Result<(Leader, Start), thread::Result<LoadOutput<R>>> {
        let rested = spare.clone();
        let mut turn = self.turn(&leader);
        let reply = match self.ask(&leader, spare, &mut turn).await {
            Ok(SharedAnswer::FillRight(ground)) => return Ok((leader, (ground, turn))),
            Ok(SharedAnswer::Hit(found, reply)) => {
                self.land_found(leader, found);
                reply
            }
            Ok(SharedAnswer::Entry(kept, reply)) => {
                leader.land(kept.slot.clone(), || ());
                reply
            }
            Ok(SharedAnswer::Failed(settled)) => {
                if let Some(kept) = rested {
                    self.let_rest(&kept);
                }
                return Err(Ok(self.land_failed(leader, *settled)));
            }
            Err(panic) => {
                leader.fail(FlightResult::Panicked);
                return Err(Err(panic));
            }
        };
        Err(Ok(LoadOutput { out: reply.value, is_error: false, may_spare: false }))
    }

    /// Ends a flight with the error of a load in another process.
    pub(crate) fn land_failed(&self, leader: Leader, settled: LoadedValue<R>) -> LoadOutput<R> {
        self.note(Count::Joined);
        match settled.slot {
            Some(slot) => _ = leader.land(slot, || ()),
            None => _ = leader.hand_on(),
        }
        LoadOutput { out: settled.out, is_error: true, may_spare: false }
    }
}

impl<R> LoadRun<R> {
    /// Creates a run that replaces `kept`, unless L2 has a newer value.
    pub(crate) fn renewing(desk: Box<CallContext<R>>, leader: Leader, kept: Arc<Entry>) -> Self {
        Self::replacing(desk, Acceptable::Newer, leader, kept)
    }

    /// Creates a run that replaces `kept`, unless L2 has a value that satisfies `wants`.
    pub(crate) fn replacing(
        mut desk: Box<CallContext<R>>,
        wants: Acceptable,
        leader: Leader,
        kept: Arc<Entry>,
    ) -> Self {
        desk.wants = wants;
        leader.expect_poll();
        Self::unasked(desk, leader, kept)
    }
}
