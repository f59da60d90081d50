//! The steps of a call beyond the hit path: it leads a flight, queries L2, and loads.
//!
//! A leader ends its flight on every path: with a value of a tier, with the result of its load, or by being
//! dropped, which passes the lead to a follower. `join` has the side of the followers, `run` has the load.

use std::{
    future::{Future, pending},
    panic::resume_unwind,
    sync::Arc,
};

use tokio::runtime::Handle;

use crate::{
    call::{
        context::{CallContext, Local, SharedAnswer},
        control::{CacheOutcome, Reason, Reply},
        decision::{Decision, settle},
        fallback::Fallback,
        join::Joined,
        load::{Panicked, TaskBody},
        pending::{BodyRun, LedLoad, PendingLoad},
        run::{LoadRun, NoRun},
    },
    flight,
    flight::{FlightResult, Leader, Role},
    l1::entry::Entry,
    l2::lookup::Acceptable,
    telemetry::{stats::Count, step::LoadSpan},
};

impl CallContext {
    /// Takes the steps of a call from L1 on.
    ///
    /// A load runs in a task of its own if there is a `task` for it, and otherwise in the caller. With a `role`,
    /// the call has looked into L1 and joined the flight of its key.
    pub(crate) async fn run(
        mut self: Box<Self>,
        role: Option<Box<Role>>,
        task: &mut Option<Box<dyn TaskBody>>,
    ) -> Result<Decision, Panicked> {
        if role.is_none() {
            let suspect = match if self.is_absent { Local::Nothing } else { self.lookup_l1() } {
                Local::Hit(entry, reply) => {
                    if entry.add_heat()
                        && let Some(renewer) = self.renewer.take()
                    {
                        self.cache.keep_warm(&self.spec, &self.entry_key.key, &entry, renewer);
                    }
                    return Ok(Decision::reply(self, reply));
                }
                Local::Due(entry) => {
                    entry.add_heat();
                    return Box::pin(self.renew(entry, task)).await;
                }
                Local::Suspect(entry) => {
                    entry.add_heat();
                    Some(entry)
                }
                Local::Nothing => None,
            };
            if !self.terms.store {
                return Ok(Box::pin(self.find_or_load(suspect)).await);
            }
        }
        // All paths but the lead are boxed separately, and the role is gone before it: the future of a hit in L2
        // should be small. An allocator hands out blocks of up to about 1 KB faster than larger ones.
        let leader = {
            match role.map_or_else(|| self.take_role(), |role| *role) {
                Role::Lead(leader) => leader,
                role => return Box::pin(self.join_or_lead(role, task)).await,
            }
        };
        self.lead(leader, None, task).await
    }

    /// Takes the steps of a call from single-flight on, as L1 has no value that may be served.
    ///
    /// The entry `suspect` may be served if L2 confirms it. A call that must not store (`no_store`) leads no
    /// flight.
    pub(crate) async fn miss(
        self: Box<Self>,
        suspect: Option<Arc<Entry>>,
        task: &mut Option<Box<dyn TaskBody>>,
    ) -> Result<Decision, Panicked> {
        if !self.terms.store {
            return Ok(self.find_or_load(suspect).await);
        }
        let role = self.take_role().expect_poll();
        self.join_or_lead(role, task).await
    }

    /// Gets the value from L2, or decides for a load whose value is not stored.
    async fn find_or_load(self: Box<Self>, suspect: Option<Arc<Entry>>) -> Decision {
        match self.find(suspect.as_ref()).await {
            Some(reply) => Decision::reply(self, reply),
            None => self.load_alone().await,
        }
    }

    /// Takes the steps of a call in its role: it waits for another call, or leads a flight.
    async fn join_or_lead(
        self: Box<Self>,
        role: Role,
        task: &mut Option<Box<dyn TaskBody>>,
    ) -> Result<Decision, Panicked> {
        match self.join(role).await? {
            // Boxed, as most calls that wait do not lead afterwards.
            Joined::Lead(leader) => Box::pin(self.lead(leader, None, task)).await,
            Joined::Reply(reply) => Ok(Decision::reply(self, reply)),
            Joined::TimedOut => Ok(Decision::TimedOut(CacheOutcome::Joined)),
            Joined::Alone => Ok(self.load_alone().await),
            Joined::Recurse => Ok(Decision::bypass(&self.cache, &self.spec, Reason::Recursion)),
        }
    }

    /// Decides at once if the call leads a load for this process only.
    ///
    /// The leader is at work then: a caller that does not go on at once has to call
    /// [`expect_poll`](DecisionStep::expect_poll).
    ///
    /// Otherwise, returns the context, with the role of the call if it has one already.
    pub(crate) fn try_lead_here(self: Box<Self>) -> Result<Decision, (Box<Self>, Option<Box<Role>>)> {
        let waits = self.uses_l2() || self.spec.own_max_loads().is_some();
        if waits || !self.is_absent || !self.terms.store {
            return Err((self, None));
        }
        let leader = match self.take_role() {
            // An earlier flight may have ended between the look into L1 and the join.
            Role::Lead(leader) if !self.cache.l1().has(&self.entry_key.key) => leader,
            role => return Err((self, Some(Box::new(role.expect_poll())))),
        };
        self.cache.resend();
        let validity = self.local_validity();
        if !leader.bind(&validity) {
            return Err((self, Some(Box::new(Role::Lead(leader).expect_poll()))));
        }
        self.report(Count::Miss);
        let led = LedLoad::for_this_process(self, leader, validity);
        Ok(Decision::Load(PendingLoad::Led(Box::new(led))))
    }

    /// Looks into L1, inside of the load: to restore an error may call cached functions.
    fn lookup_l1_inside(&self, leader: &mut Leader) -> Local {
        let found = leader.enter(|| self.lookup_l1());
        leader.expect_poll();
        found.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Gets the value for this call and all followers, from a tier or from a load.
    ///
    /// With a `fallback` entry, only a newer value is acceptable, and the entry is served if the load fails.
    #[allow(clippy::manual_async_fn, reason = "an `async fn` would hold its arguments twice")]
    pub(crate) fn lead(
        mut self: Box<Self>,
        mut leader: Leader,
        fallback: Option<Arc<Entry>>,
        task: &mut Option<Box<dyn TaskBody>>,
    ) -> impl Future<Output = Result<Decision, Panicked>> + Send {
        async move {
            // An earlier flight may have ended between the look into L1 and the join.
            let is_in_l1 = self.cache.l1().has(&self.entry_key.key);
            let found = if is_in_l1 { self.lookup_l1_inside(&mut leader) } else { Local::Nothing };
            let suspect = match found {
                Local::Hit(entry, reply) => {
                    Self::land_entry(leader, &entry);
                    return Ok(Decision::reply(self, reply));
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
                        Err(reply) => return Ok(Decision::reply(self, reply)),
                    }
                }
            };
            let fill_right = match answer {
                Ok(SharedAnswer::FillRight(fill_right)) => fill_right,
                Ok(SharedAnswer::Hit(found, reply)) => {
                    self.land_found(leader, found);
                    if matches!(reply.outcome, CacheOutcome::Stale { .. }) {
                        self.start_renewal(task);
                    }
                    return Ok(Decision::reply(self, reply));
                }
                Ok(SharedAnswer::Entry(entry, reply)) => {
                    Self::land_entry(leader, &entry);
                    return Ok(Decision::reply(self, reply));
                }
                Ok(SharedAnswer::Failed(erased)) => {
                    self.land_failed(leader, erased.clone());
                    let reply = fallback.as_ref().and_then(|entry| self.fallback_reply(entry));
                    // The load was that of another call.
                    let reply = reply.unwrap_or_else(|| Reply::new(erased, CacheOutcome::Joined));
                    return Ok(Decision::reply(self, reply));
                }
                Err(panic) => {
                    leader.fail(FlightResult::Panicked);
                    return Err(Panicked::Here(panic));
                }
            };
            self.report(Count::Miss);
            leader.expect_poll();
            let kept = fallback.clone().map(|entry| Fallback { context: self.clone(), entry });
            let load_run = LoadRun::new(self, leader, fill_right, turn, fallback);
            if task.is_some()
                && let Ok(runtime) = Handle::try_current()
                && let Some(body) = task.take()
            {
                return match runtime.spawn(load_run.into_detached().run(body)).await {
                    Ok(result) => settle(result, kept.as_ref()),
                    Err(lost) => Err(lost.try_into_panic().map_or(Panicked::Lost, Panicked::Here)),
                };
            }
            // Boxed, so that nested loads do not add up on the stack.
            let (context, end) = match Box::pin(load_run.start()).await {
                Ok(mut led) => {
                    led.served_fallback = kept;
                    return Ok(Decision::Load(PendingLoad::Led(led)));
                }
                Err(end) => end,
            };
            match (end, &kept) {
                (NoRun::Failed(erased), None) => {
                    Ok(Decision::reply(context, Reply::new(erased, CacheOutcome::Miss)))
                }
                (end, kept) => settle(end.into_task_result(), kept.as_ref()),
            }
        }
    }

    /// Decides for a load for this caller only: the value is neither stored nor shared.
    pub(crate) async fn load_alone(self: Box<Self>) -> Decision {
        self.report(Count::Miss);
        self.load_alone_uncounted().await
    }

    /// Decides like [`load_alone`](Self::load_alone), for a call that is counted already.
    pub(crate) async fn load_alone_uncounted(self: Box<Self>) -> Decision {
        let span = LoadSpan::new(self.cache.clock(), self.cache.function(&self.spec));
        let limit = self.policy().load_timeout();
        let clock = self.cache.clock();
        let turn = self.cache.permits().turn(&self.spec, clock, flight::is_inside_load(), pending(), limit);
        let mut run = Box::new(BodyRun::new(self, turn, span));
        Box::pin(run.acquire_turn()).await;
        Decision::Load(PendingLoad::Alone(run))
    }
}
