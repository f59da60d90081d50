//! The steps of a call beyond the hit path: it leads a flight, queries L2, and loads.
//!
//! A leader ends its flight on every path: with a value of a tier, with the result of its load, or by being
//! dropped, which passes the lead to a follower. `join` has the side of the followers, `run` has the load.

use std::{
    future::{Future, pending},
    sync::Arc,
    thread,
};

use tokio::runtime::Handle;

use crate::{
    cache::Cache,
    call::{
        context::{CallContext, Local, SharedAnswer},
        control::{CacheOutcome, Reason, Reply},
        join::Joined,
        load::{Load, Panicked},
        run::{LoadOutput, LoadRun},
    },
    flight,
    flight::{FlightResult, Leader},
    l1::{entry::Entry, hot_keys::Renewer},
    l2::lookup::Acceptable,
    spec::FunctionSpec,
    telemetry::{stats::Count, step::LoadSpan},
};

/// Runs the function as if it had no attribute.
pub(crate) async fn bypass<R, F>(
    cache: &Cache,
    site: &FunctionSpec,
    reason: Reason,
    load: Load<R, F>,
) -> Reply<R>
where
    F: Future<Output = R>,
{
    cache.count_of(site, Count::Bypass);
    Reply::new(load.here().await, CacheOutcome::Bypass(reason))
}

impl<R> CallContext<R> {
    /// Takes the steps of a call from L1 on. `keeper` is registered if a hit makes its key one of the most
    /// used.
    pub(crate) async fn run<F: Future<Output = R>>(
        self: Box<Self>,
        keeper: Option<Arc<dyn Renewer>>,
        is_absent: bool,
        load: Load<R, F>,
    ) -> Result<Reply<R>, Panicked> {
        let suspect = match if is_absent { Local::Nothing } else { self.ask_l1() } {
            Local::Hit(kept, reply) => {
                if kept.used()
                    && let Some(keeper) = keeper
                {
                    self.cache.keep_warm(&self.site, &self.entry.key, &kept, keeper);
                }
                return Ok(reply);
            }
            Local::Due(kept) => {
                kept.used();
                return Box::pin(self.renew(kept, load)).await;
            }
            Local::Suspect(kept) => {
                kept.used();
                Some(kept)
            }
            Local::Nothing => None,
        };
        self.miss(suspect, load).await
    }

    /// Takes the steps of a call from single-flight on, as L1 has no value that may be served.
    ///
    /// The entry `suspect` may be served if L2 confirms it. A call that must not store (`no_store`) leads no
    /// flight.
    pub(crate) async fn miss<F: Future<Output = R>>(
        self: Box<Self>,
        suspect: Option<Arc<Entry>>,
        load: Load<R, F>,
    ) -> Result<Reply<R>, Panicked> {
        if !self.terms.store {
            return Ok(match Box::pin(self.find(suspect.as_ref())).await {
                Some(reply) => reply,
                None => Box::pin(self.load_alone(load)).await,
            });
        }
        // All paths but the lead are boxed separately, to keep the future of a hit in L2 small.
        let joined = match self.begin() {
            Ok(leader) => Joined::Lead(leader),
            Err(follower) => Box::pin(self.join(follower)).await?,
        };
        match joined {
            Joined::Lead(leader) => self.lead(leader, None, load).await,
            Joined::Reply(reply) => Ok(reply),
            Joined::Alone => Ok(Box::pin(self.load_alone(load)).await),
            Joined::Recurse => Ok(Box::pin(bypass(&self.cache, &self.site, Reason::Recursion, load)).await),
        }
    }

    /// Gets the value for this call and all followers, from a tier or from a load.
    ///
    /// With a `spare` entry, only a newer value is acceptable, and the entry is served if the load fails.
    pub(crate) async fn lead<F: Future<Output = R>>(
        mut self: Box<Self>,
        leader: Leader,
        spare: Option<Arc<Entry>>,
        load: Load<R, F>,
    ) -> Result<Reply<R>, Panicked> {
        // An earlier flight may have ended between the look into L1 and the join.
        let is_there = self.cache.l1().has(&self.entry.key);
        let suspect = match if is_there { self.ask_l1() } else { Local::Nothing } {
            Local::Hit(kept, reply) => {
                leader.land(kept.slot.clone(), || ());
                return Ok(reply);
            }
            Local::Due(kept) | Local::Suspect(kept) => Some(kept),
            Local::Nothing => None,
        };
        if spare.is_some() {
            self.wants = Acceptable::Newer;
        }
        let mut turn = self.turn(&leader);
        let asked = match &spare {
            None => self.ask(&leader, suspect, &mut turn).await,
            Some(kept) => match Box::pin(self.ask_beside(&leader, suspect, &mut turn, kept)).await {
                Ok(asked) => asked,
                Err(reply) => return Ok(reply),
            },
        };
        let ground = match asked {
            Ok(SharedAnswer::FillRight(ground)) => ground,
            Ok(SharedAnswer::Hit(found, reply)) => {
                self.land_found(leader, found);
                if matches!(reply.outcome, CacheOutcome::Stale { .. }) {
                    self.begin_renewal(load);
                }
                return Ok(reply);
            }
            Ok(SharedAnswer::Entry(kept, reply)) => {
                leader.land(kept.slot.clone(), || ());
                return Ok(reply);
            }
            Ok(SharedAnswer::Failed(settled)) => {
                let landed = self.land_failed(leader, *settled);
                let Reply { value, outcome } = self.settle(Ok(landed), spare.as_ref())?;
                // The load was that of another call.
                let outcome = if outcome == CacheOutcome::Miss { CacheOutcome::Joined } else { outcome };
                return Ok(Reply::new(value, outcome));
            }
            Err(panic) => {
                leader.fail(FlightResult::Panicked);
                return Err(Panicked::Here(panic));
            }
        };
        self.note(Count::Miss);
        leader.expect_poll();
        let lander = LoadRun::new(self.clone(), leader, ground, turn, spare.clone());
        let end = match load {
            // Boxed, so that nested loads do not add up on the stack.
            Load::Inline(future) => Box::pin(lander.land(future)).await,
            Load::Detached(future, spawn) => match Handle::try_current() {
                Ok(runtime) => match spawn(&runtime, lander.apart(), future).await {
                    Ok(end) => end,
                    Err(lost) => return Err(lost.try_into_panic().map_or(Panicked::Lost, Panicked::Here)),
                },
                Err(_) => Box::pin(lander.land(future)).await,
            },
        };
        self.settle(end, spare.as_ref())
    }

    /// Returns the result of a load, or the spare value if the load failed.
    pub(crate) fn settle(
        &self,
        landed: thread::Result<LoadOutput<R>>,
        spare: Option<&Arc<Entry>>,
    ) -> Result<Reply<R>, Panicked> {
        let (has_failed, may_spare) =
            landed.as_ref().map_or((true, false), |landed| (landed.is_error, landed.may_spare));
        let spare = spare.filter(|_| has_failed);
        let reply = spare.and_then(|kept| if may_spare { self.reply_spare(kept) } else { self.spare(kept) });
        if let Some(reply) = reply {
            return Ok(reply);
        }
        let landed = landed.map_err(Panicked::Here)?;
        Ok(Reply::new(landed.out, CacheOutcome::Miss))
    }

    /// Loads for this caller only: the value is neither stored nor shared.
    async fn load_alone<F: Future<Output = R>>(&self, load: Load<R, F>) -> Reply<R> {
        self.note(Count::Miss);
        let mut loading = LoadSpan::new(self.cache.clock(), self.cache.function(&self.site));
        let limit = self.shape.load_timeout();
        let clock = self.cache.clock();
        let mut turn = self.cache.places().turn(&self.site, clock, flight::is_inside(), pending(), limit);
        let load = loading.around(load.here());
        let value = self.in_turn(&mut turn, &mut loading, load).await;
        loading.returned();
        Reply::new(value, CacheOutcome::Miss)
    }
}
