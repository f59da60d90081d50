//! A load, and what becomes of its value.

use std::{future::Future, sync::Arc, thread, time::Duration};

use crate::{
    call::{
        context::{Asked, CallContext},
        fill_right::FillRight,
        publish::{Loaded, land},
    },
    flight::{FlightResult, Leader, permits::LoadTurn},
    l1::entry::Entry,
    l2::lookup::Acceptable,
    telemetry::{stats::Count, step::LoadSpan},
    value::policy::{LoadContext, LoadedValue},
};

/// A load that could have gone on for so long and did not has been abandoned.
const ABANDONED: Duration = Duration::from_secs(1);

/// What a load has come to.
pub struct LoadOutput<R> {
    pub(crate) out: R,
    pub(crate) is_error: bool,
    /// When it had ended, an older value could still be served.
    pub(crate) may_spare: bool,
}

/// What a load stands on, and its turn.
type Start = (FillRight, LoadTurn);

/// Runs a load and lands its flight: in the caller, or in a task of its own.
pub struct LoadRun<R> {
    desk: Box<CallContext<R>>,
    leader: Leader,
    /// `None` if it is still to be asked for.
    asked: Option<Start>,
    /// In the span of its caller, if one waits for it.
    loading: Option<LoadSpan>,
    /// A value that is served if the load fails.
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

    /// One that asks the shared tier first.
    pub(crate) fn unasked(desk: Box<CallContext<R>>, leader: Leader, spare: Arc<Entry>) -> Self {
        Self { desk, leader, asked: None, loading: None, spare: Some(spare) }
    }

    /// For a task of its own, with what the caller has around it.
    pub(crate) fn apart(mut self) -> Self {
        self.loading.iter_mut().for_each(LoadSpan::leave_caller);
        self
    }

    /// The result, or what the load panicked with.
    pub(crate) async fn land(self, load: impl Future<Output = R>) -> thread::Result<LoadOutput<R>> {
        let Self { desk, leader, asked, loading, spare } = self;
        let (leader, (mut ground, mut turn)) = match asked {
            Some(start) if leader.stand_on(start.0.claim()) => (leader, start),
            // Boxed, so that loads inside of loads do not add up on the stack.
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
        // The policies are the user's code as well.
        let load = loading.around(load);
        let settle = async {
            let out = desk.in_turn(&mut turn, &mut loading, load).await;
            desk.shape.settle(out, &LoadContext::now(desk.cache.clock(), desk.terms.ttl))
        };
        let settled = leader.watch(settle).await;
        // The next load may begin.
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
        // Asked before the lease is given back, as that is a word about the name.
        let may_spare = spare.as_ref().is_some_and(|kept| desk.cache.may_serve(&desk.site, kept));
        if let Some(kept) = spare.filter(|_| is_error) {
            desk.let_rest(&kept);
            // It does not take the place of a value that may still be served.
            ttl = None;
        }
        match (settled.slot, ttl) {
            (Some(slot), ttl) => {
                let value = Loaded { slot, ttl, is_error, had_spare, since };
                // Boxed, so that loads inside of loads do not add up on the stack.
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
    /// What a load stands on when it begins, or its end, if there is a value.
    ///
    /// An invalidation may come between the answer of the tier and this. A load that began all the same would be refused, and those
    /// that follow would wait for it in vain: so the tier is asked again. If that falls time and again, they start over.
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
                    // To give it back is a word about its name.
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
                // It was about the lease of the load beside which this one is. To ask again would be to wait for that.
                ground @ FillRight::IfUnchanged(_) => return Ok((leader, (ground, turn))),
                ground if tries >= TRIES => {
                    leader.fall();
                    return Ok((leader, (ground, turn)));
                }
                _ => {}
            }
        }
    }

    /// What a load stands on that has asked nobody yet; or its end, if there is a value.
    async fn ask_first(
        &self,
        leader: Leader,
        spare: Option<Arc<Entry>>,
    ) -> Result<(Leader, Start), thread::Result<LoadOutput<R>>> {
        let rested = spare.clone();
        let mut turn = self.turn(&leader);
        let reply = match self.ask(&leader, spare, &mut turn).await {
            Ok(Asked::FillRight(ground)) => return Ok((leader, (ground, turn))),
            Ok(Asked::Hit(found, reply)) => {
                self.land_found(leader, found);
                reply
            }
            Ok(Asked::Entry(kept, reply)) => {
                leader.land(kept.slot.clone(), || ());
                reply
            }
            Ok(Asked::Failed(settled)) => {
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

    /// Ends a flight with an error of another process.
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
    /// Asks the shared tier itself before it loads.
    pub(crate) fn renewing(desk: Box<CallContext<R>>, leader: Leader, kept: Arc<Entry>) -> Self {
        Self::replacing(desk, Acceptable::Newer, leader, kept)
    }

    /// The same, where the caller knows what will do instead.
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
