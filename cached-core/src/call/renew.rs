//! Renewal of a due entry, while callers are served from it (stale-while-revalidate and refresh-ahead).

use std::{sync::Arc, time::Duration};

use tokio::runtime::Handle;

use crate::{
    cache::L1Lookup,
    call::{
        context::{CallContext, ErasedReply, SharedAnswer},
        decision::{Decision, settle},
        fallback::Fallback,
        join::follow,
        load::{Panicked, TaskBody},
        run::LoadRun,
    },
    flight::{FlightResult, FollowOutcome, Follower, Leader, Panic, Role, permits::LoadTurn},
    l1::entry::Entry,
};

impl CallContext {
    /// Serves `entry`, and starts a load that replaces it.
    ///
    /// A load in a task of its own runs in the background. An inline load makes its caller wait, and does not
    /// start while the entry is fresh. Other callers are served meanwhile.
    ///
    /// In all other cases, a caller waits for a fresh value for the `soft_timeout` of the function at most.
    /// It does not wait without a `soft_timeout`, or while the entry is fresh.
    pub(crate) async fn renew(
        self: Box<Self>,
        entry: Arc<Entry>,
        task: &mut Option<Box<dyn TaskBody>>,
    ) -> Result<Decision, Panicked> {
        let now = self.cache.clock().now();
        let is_fresh = entry.erased.freshness().is_fresh(now);
        let can_start = self.terms.store && !entry.is_backing_off(now);
        let runs_in_background = task.is_some() && Handle::try_current().is_ok();
        if !can_start || (is_fresh && !runs_in_background) {
            return self.fallback_or_miss(entry, task).await;
        }
        let soft_timeout = self.spec.own_soft_timeout().filter(|_| !is_fresh);
        match self.cache.flights().join(&self.entry_key.key, false) {
            Role::Lead(leader) => match task.take_if(|_| runs_in_background) {
                Some(body) => self.renew_in_background(entry, soft_timeout, leader, body).await,
                None => self.lead(leader, Some(entry), task).await,
            },
            Role::Follow(follower) => match self.wait_for_fresh(follower, soft_timeout).await {
                Some(reply) => Ok(Decision::reply(self, reply)),
                None => self.fallback_or_miss(entry, task).await,
            },
            Role::Recurse => self.fallback_or_miss(entry, task).await,
        }
    }

    /// Starts a load in the background, and waits for it for `soft_timeout` at most. Serves `entry` after
    /// that.
    async fn renew_in_background(
        self: Box<Self>,
        entry: Arc<Entry>,
        soft_timeout: Option<Duration>,
        leader: Leader,
        body: Box<dyn TaskBody>,
    ) -> Result<Decision, Panicked> {
        let Ok(runtime) = Handle::try_current() else { return Err(Panicked::Lost) };
        let mut task = runtime.spawn(LoadRun::renewing(self.clone(), leader, entry.clone()).run(body));
        if soft_timeout.is_none()
            && let Some(reply) = self.fallback_reply(&entry)
        {
            return Ok(Decision::reply(self, reply));
        }
        let clock = self.cache.clock();
        let ended = match clock.within(soft_timeout.unwrap_or_default(), &mut task).await {
            Some(ended) => ended,
            None => match self.fallback_reply(&entry) {
                Some(reply) => return Ok(Decision::reply(self, reply)),
                // The entry was invalidated meanwhile, or may not be served any longer.
                None => task.await,
            },
        };
        match ended {
            Ok(result) => settle(result, Some(&Fallback { context: self, entry })),
            Err(end) => Err(end.try_into_panic().map_or(Panicked::Lost, Panicked::Here)),
        }
    }

    /// Queries L2 like [`query_l2`](Self::query_l2), for an inline load that is to replace `entry`.
    ///
    /// Returns the reply with `entry` as an error if the call would have to wait too long for a permit or for
    /// another process: longer than the caller waits for a fresh value.
    pub(crate) async fn query_l2_for_renewal(
        &self,
        leader: &Leader,
        suspect: Option<Arc<Entry>>,
        turn: &mut LoadTurn,
        entry: &Arc<Entry>,
    ) -> Result<Result<SharedAnswer, Panic>, ErasedReply> {
        if let Some(soft_timeout) = self.spec.own_soft_timeout() {
            let answer = Box::pin(self.query_l2(leader, suspect.clone(), turn));
            if let Some(answer) = self.cache.clock().within(soft_timeout, answer).await {
                return Ok(answer);
            }
            if let Some(reply) = self.fallback_reply(entry) {
                return Err(reply);
            }
            // The entry was invalidated meanwhile, or may not be served any longer.
        }
        Ok(self.query_l2(leader, suspect, turn).await)
    }

    /// Serves `entry` if it may still be served, and otherwise goes on as after a miss.
    async fn fallback_or_miss(
        self: Box<Self>,
        entry: Arc<Entry>,
        task: &mut Option<Box<dyn TaskBody>>,
    ) -> Result<Decision, Panicked> {
        match self.fallback_reply(&entry) {
            Some(reply) => Ok(Decision::reply(self, reply)),
            None => Box::pin(self.miss(Some(entry), task)).await,
        }
    }

    /// Returns the fresh value of a load under way, if it arrives within `soft_timeout`.
    async fn wait_for_fresh(
        &self,
        follower: Follower,
        soft_timeout: Option<Duration>,
    ) -> Option<ErasedReply> {
        match self.cache.clock().within(soft_timeout?, follow(follower)).await? {
            FollowOutcome::Landed(FlightResult::Shared(erased)) if self.policy().is_value(&*erased) => self
                .fresh_enough(erased.freshness().age(self.cache.clock().now()))?
                .reply_joined(&erased, false),
            _ => None,
        }
    }

    /// Starts a load for a stale value that was found in L2, if it can run in the background.
    pub(crate) fn start_renewal(&self, task: &mut Option<Box<dyn TaskBody>>) {
        let Ok(runtime) = Handle::try_current() else { return };
        let L1Lookup::Due(entry) = self.cache.lookup(&self.spec, self.entry_key.key.as_ref()) else { return };
        if entry.is_backing_off(self.cache.clock().now()) {
            return;
        }
        if task.is_some()
            && let Role::Lead(leader) = self.cache.flights().join(&self.entry_key.key, false)
            && let Some(body) = task.take()
        {
            drop(runtime.spawn(LoadRun::renewing(Box::new(self.clone()), leader, entry).run(body)));
        }
    }
}
