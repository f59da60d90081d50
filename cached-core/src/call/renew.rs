//! Renewal of a due entry, while callers are served from it (stale-while-revalidate and refresh-ahead).

use std::{future::Future, sync::Arc, time::Duration};

use tokio::runtime::Handle;

use crate::{
    cache::L1Lookup,
    call::{
        context::{CallContext, SharedAnswer},
        control::Reply,
        join::arrive,
        load::{Load, LoadTask, Panicked},
        run::LoadRun,
    },
    flight::{FlightResult, FollowOutcome, Follower, Leader, Panic, Role, permits::LoadTurn},
    l1::entry::Entry,
};

impl<R> CallContext<R> {
    /// Serves `kept`, and starts a load that replaces it.
    ///
    /// A load in a task of its own runs in the background. An inline load makes its caller wait, and does not
    /// start while the entry is fresh. Other callers are served meanwhile.
    ///
    /// In all other cases, a caller waits for a fresh value for the `soft_timeout` of the function at most.
    /// It does not wait without a `soft_timeout`, or while the entry is fresh.
    pub(crate) async fn renew<F: Future<Output = R>>(
        self: Box<Self>,
        kept: Arc<Entry>,
        load: Load<R, F>,
    ) -> Result<Reply<R>, Panicked> {
        let now = self.cache.clock().now();
        let is_fresh = kept.slot.meta().is_fresh(now);
        let can_begin = self.terms.store && !kept.is_resting(now);
        let runs_beside = matches!(load, Load::Detached(..)) && Handle::try_current().is_ok();
        if !can_begin || (is_fresh && !runs_beside) {
            return self.spare_or_miss(kept, load).await;
        }
        let patience = self.site.patience().filter(|_| !is_fresh);
        match (self.cache.flights().join(&self.entry.key, false), load) {
            (Role::Lead(leader), Load::Detached(future, spawn)) if runs_beside => {
                self.renew_beside(kept, patience, |desk, runtime, kept| {
                    spawn(runtime, LoadRun::renewing(desk, leader, kept), future)
                })
                .await
            }
            (Role::Lead(leader), load) => self.lead(leader, Some(kept), load).await,
            (Role::Follow(follower), load) => match self.wait_for(follower, patience).await {
                Some(reply) => Ok(reply),
                None => self.spare_or_miss(kept, load).await,
            },
            (Role::Recurse, load) => self.spare_or_miss(kept, load).await,
        }
    }

    /// Starts a load in the background, and waits for it for `patience` at most. Serves `kept` after that.
    async fn renew_beside(
        self: Box<Self>,
        kept: Arc<Entry>,
        patience: Option<Duration>,
        begin: impl FnOnce(Box<Self>, &Handle, Arc<Entry>) -> LoadTask<R>,
    ) -> Result<Reply<R>, Panicked> {
        let Ok(runtime) = Handle::try_current() else { return Err(Panicked::Lost) };
        let mut loading = begin(self.clone(), &runtime, kept.clone());
        if patience.is_none()
            && let Some(reply) = self.spare(&kept)
        {
            return Ok(reply);
        }
        let clock = self.cache.clock();
        let ended = match clock.within(patience.unwrap_or_default(), &mut loading).await {
            Some(ended) => ended,
            None => match self.spare(&kept) {
                Some(reply) => return Ok(reply),
                // The entry was invalidated meanwhile, or may not be served any longer.
                None => loading.await,
            },
        };
        match ended {
            Ok(landed) => self.settle(landed, Some(&kept)),
            Err(end) => Err(end.try_into_panic().map_or(Panicked::Lost, Panicked::Here)),
        }
    }

    /// Queries L2 like [`ask`](Self::ask), for an inline load that is to replace `kept`.
    ///
    /// Returns the reply with `kept` as an error if the call would have to wait too long for a permit or for
    /// another process: longer than the caller waits for a fresh value.
    pub(crate) async fn ask_beside(
        &self,
        leader: &Leader,
        suspect: Option<Arc<Entry>>,
        turn: &mut LoadTurn,
        kept: &Arc<Entry>,
    ) -> Result<Result<SharedAnswer<R>, Panic>, Reply<R>> {
        if let Some(patience) = self.site.patience() {
            let asked = self.ask(leader, suspect.clone(), turn);
            if let Some(asked) = self.cache.clock().within(patience, asked).await {
                return Ok(asked);
            }
            if let Some(reply) = self.spare(kept) {
                return Err(reply);
            }
            // The entry was invalidated meanwhile, or may not be served any longer.
        }
        Ok(self.ask(leader, suspect, turn).await)
    }

    /// Serves `kept` if it may still be served, and otherwise goes on as after a miss.
    async fn spare_or_miss<F: Future<Output = R>>(
        self: Box<Self>,
        kept: Arc<Entry>,
        load: Load<R, F>,
    ) -> Result<Reply<R>, Panicked> {
        match self.spare(&kept) {
            Some(reply) => Ok(reply),
            None => Box::pin(self.miss(Some(kept), load)).await,
        }
    }

    /// Returns the fresh value of a load under way, if it arrives within `patience`.
    async fn wait_for(&self, follower: Follower, patience: Option<Duration>) -> Option<Reply<R>> {
        match self.cache.clock().within(patience?, arrive(follower)).await? {
            FollowOutcome::Landed(FlightResult::Shared(slot)) if self.shape.is_value(&*slot) => {
                self.fresh_enough(slot.meta().age(self.cache.clock().now()))?.reply_joined(&*slot, false)
            }
            _ => None,
        }
    }

    /// Starts a load for a stale value that was found in L2, if it can run in the background.
    pub(crate) fn begin_renewal<F: Future<Output = R>>(self: Box<Self>, load: Load<R, F>) {
        let (Load::Detached(future, spawn), Ok(runtime)) = (load, Handle::try_current()) else { return };
        let L1Lookup::Due(kept) = self.cache.look(&self.site, self.entry.key.as_ref()) else { return };
        if kept.is_resting(self.cache.clock().now()) {
            return;
        }
        if let Role::Lead(leader) = self.cache.flights().join(&self.entry.key, false) {
            drop(spawn(&runtime, LoadRun::renewing(self, leader, kept), future));
        }
    }
}
