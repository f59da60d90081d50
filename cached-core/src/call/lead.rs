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
    spec: &FunctionSpec,
    reason: Reason,
    load: Load<R, F>,
) -> Reply<R>
where
    F: Future<Output = R>,
{
    cache.count_of(spec, Count::Bypass);
    Reply::new(load.run_in_caller().await, CacheOutcome::Bypass(reason))
}

impl<R> CallContext<R> {
    /// Takes the steps of a call from L1 on. `renewer` is registered if a hit makes its key one of the most
    /// used.
    pub(crate) async fn run<F: Future<Output = R>>(
        self: Box<Self>,
        renewer: Option<Arc<dyn Renewer>>,
        is_absent: bool,
        load: Load<R, F>,
    ) -> Result<Reply<R>, Panicked> {
        let suspect = match if is_absent { Local::Nothing } else { self.lookup_l1() } {
            Local::Hit(entry, reply) => {
                if entry.add_heat()
                    && let Some(renewer) = renewer
                {
                    self.cache.keep_warm(&self.spec, &self.entry_key.key, &entry, renewer);
                }
                return Ok(reply);
            }
            Local::Due(entry) => {
                entry.add_heat();
                return Box::pin(self.renew(entry, load)).await;
            }
            Local::Suspect(entry) => {
                entry.add_heat();
                Some(entry)
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
        let joined = match self.try_lead() {
            Ok(leader) => Joined::Lead(leader),
            Err(follower) => Box::pin(self.join(follower)).await?,
        };
        match joined {
            Joined::Lead(leader) => self.lead(leader, None, load).await,
            Joined::Reply(reply) => Ok(reply),
            Joined::Alone => Ok(Box::pin(self.load_alone(load)).await),
            Joined::Recurse => Ok(Box::pin(bypass(&self.cache, &self.spec, Reason::Recursion, load)).await),
        }
    }

    /// Gets the value for this call and all followers, from a tier or from a load.
    ///
    /// With a `fallback` entry, only a newer value is acceptable, and the entry is served if the load fails.
    pub(crate) async fn lead<F: Future<Output = R>>(
        mut self: Box<Self>,
        leader: Leader,
        fallback: Option<Arc<Entry>>,
        load: Load<R, F>,
    ) -> Result<Reply<R>, Panicked> {
        // An earlier flight may have ended between the look into L1 and the join.
        let is_in_l1 = self.cache.l1().has(&self.entry_key.key);
        let suspect = match if is_in_l1 { self.lookup_l1() } else { Local::Nothing } {
            Local::Hit(entry, reply) => {
                Self::land_entry(leader, &entry);
                return Ok(reply);
            }
            Local::Due(entry) | Local::Suspect(entry) => Some(entry),
            Local::Nothing => None,
        };
        if fallback.is_some() {
            self.acceptable = Acceptable::Newer;
        }
        let mut turn = self.turn(&leader);
        let answer = match &fallback {
            None => self.query_l2(&leader, suspect, &mut turn).await,
            Some(entry) => {
                match Box::pin(self.query_l2_for_renewal(&leader, suspect, &mut turn, entry)).await {
                    Ok(answer) => answer,
                    Err(reply) => return Ok(reply),
                }
            }
        };
        let fill_right = match answer {
            Ok(SharedAnswer::FillRight(fill_right)) => fill_right,
            Ok(SharedAnswer::Hit(found, reply)) => {
                self.land_found(leader, found);
                if matches!(reply.outcome, CacheOutcome::Stale { .. }) {
                    self.start_renewal(load);
                }
                return Ok(reply);
            }
            Ok(SharedAnswer::Entry(entry, reply)) => {
                Self::land_entry(leader, &entry);
                return Ok(reply);
            }
            Ok(SharedAnswer::Failed(loaded)) => {
                let output = self.land_failed(leader, *loaded);
                let Reply { value, outcome } = self.settle(Ok(output), fallback.as_ref())?;
                // The load was that of another call.
                let outcome = if outcome == CacheOutcome::Miss { CacheOutcome::Joined } else { outcome };
                return Ok(Reply::new(value, outcome));
            }
            Err(panic) => {
                leader.fail(FlightResult::Panicked);
                return Err(Panicked::Here(panic));
            }
        };
        self.report(Count::Miss);
        leader.expect_poll();
        let load_run = LoadRun::new(self.clone(), leader, fill_right, turn, fallback.clone());
        let result = match load {
            // Boxed, so that nested loads do not add up on the stack.
            Load::Inline(future) => Box::pin(load_run.run(future)).await,
            Load::Detached(future, spawn) => match Handle::try_current() {
                Ok(runtime) => match spawn(&runtime, load_run.into_detached(), future).await {
                    Ok(result) => result,
                    Err(lost) => return Err(lost.try_into_panic().map_or(Panicked::Lost, Panicked::Here)),
                },
                Err(_) => Box::pin(load_run.run(future)).await,
            },
        };
        self.settle(result, fallback.as_ref())
    }

    /// Returns the result of a load, or the value of `fallback` if the load failed.
    pub(crate) fn settle(
        &self,
        result: thread::Result<LoadOutput<R>>,
        fallback: Option<&Arc<Entry>>,
    ) -> Result<Reply<R>, Panicked> {
        let (has_failed, may_serve_fallback) =
            result.as_ref().map_or((true, false), |output| (output.is_error, output.may_serve_fallback));
        let fallback = fallback.filter(|_| has_failed);
        let reply = fallback.and_then(|entry| {
            if may_serve_fallback { self.fallback_reply_unchecked(entry) } else { self.fallback_reply(entry) }
        });
        if let Some(reply) = reply {
            return Ok(reply);
        }
        let output = result.map_err(Panicked::Here)?;
        Ok(Reply::new(output.value, CacheOutcome::Miss))
    }

    /// Loads for this caller only: the value is neither stored nor shared.
    async fn load_alone<F: Future<Output = R>>(&self, load: Load<R, F>) -> Reply<R> {
        self.report(Count::Miss);
        let mut span = LoadSpan::new(self.cache.clock(), self.cache.function(&self.spec));
        let limit = self.policy.load_timeout();
        let clock = self.cache.clock();
        let mut turn =
            self.cache.permits().turn(&self.spec, clock, flight::is_inside_load(), pending(), limit);
        let load = span.instrument(load.run_in_caller());
        let value = self.run_in_turn(&mut turn, &mut span, load).await;
        span.finish_unexamined();
        Reply::new(value, CacheOutcome::Miss)
    }
}
