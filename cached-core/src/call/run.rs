//! The run of one load, from its fill right to the end of its flight.
//!
//! 1. The flight is bound to the validity of the fill right. An invalidation from here on supersedes the
//!    flight.
//! 2. If there was an invalidation before that, the right is checked or requested again (`confirm_fill_right`).
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
        publish::{LoadResult, publish},
    },
    flight::{FlightResult, Leader, permits::LoadTurn},
    l1::entry::Entry,
    l2::lookup::Acceptable,
    telemetry::{stats::Count, step::LoadSpan},
    value::policy::{LoadContext, LoadedValue},
};

/// Idle time after which a load counts as abandoned: it could go on, and is not polled.
const ABANDONED_AFTER: Duration = Duration::from_secs(1);

/// Outcome of a load for its caller.
pub struct LoadOutput<R> {
    pub(crate) value: R,
    pub(crate) is_error: bool,
    /// An older value could still be served when the load had ended.
    pub(crate) may_serve_fallback: bool,
}

/// Fill right of a load, and its turn.
type Start = (FillRight, LoadTurn);

/// Runs a load and ends its flight, in the caller or in a task of its own.
pub struct LoadRun<R> {
    context: Box<CallContext<R>>,
    leader: Leader,
    /// Fill right and turn; `None` if L2 is still to be queried.
    granted: Option<Start>,
    /// Span of the load, inside its caller's span; `None` if no caller waits for the load.
    span: Option<LoadSpan>,
    /// Older entry that is served if the load fails.
    fallback: Option<Arc<Entry>>,
}

impl<R> LoadRun<R> {
    pub(crate) fn new(
        context: Box<CallContext<R>>,
        leader: Leader,
        fill_right: FillRight,
        turn: LoadTurn,
        fallback: Option<Arc<Entry>>,
    ) -> Self {
        let span = LoadSpan::new(context.cache.clock(), context.cache.function(&context.spec));
        Self { context, leader, granted: Some((fill_right, turn)), span: Some(span), fallback }
    }

    /// Creates a run that queries L2 before it loads.
    pub(crate) fn querying(context: Box<CallContext<R>>, leader: Leader, fallback: Arc<Entry>) -> Self {
        Self { context, leader, granted: None, span: None, fallback: Some(fallback) }
    }

    /// Prepares the run for a task of its own, and keeps the caller's span as the parent.
    pub(crate) fn into_detached(mut self) -> Self {
        self.span.iter_mut().for_each(LoadSpan::detach);
        self
    }

    /// Runs the load. Returns its outcome, or the payload of a panic.
    pub(crate) async fn run(self, load: impl Future<Output = R>) -> thread::Result<LoadOutput<R>> {
        let Self { context, leader, granted, span, fallback } = self;
        let (leader, (mut fill_right, mut turn)) = match granted {
            Some(start) if leader.bind(start.0.validity()) => (leader, start),
            // Boxed, so that nested loads do not add up on the stack.
            granted => match Box::pin(context.confirm_fill_right(leader, granted, fallback.clone())).await {
                Ok(start) => start,
                Err(end) => return end,
            },
        };
        let mut span = span
            .unwrap_or_else(|| LoadSpan::new(context.cache.clock(), context.cache.function(&context.spec)));
        let log_position = context.cache.shared().tag_log.position();
        if let FillRight::Everywhere(lease) = &mut fill_right {
            if context.spec.coalesces_locally() {
                lease.release_on_close();
            } else {
                lease.renew_while(leader.progress_check(ABANDONED_AFTER));
            }
        }
        // Policies are user code as well, so their panics are caught, too.
        let load = span.instrument(load);
        let settle = async {
            let value = context.run_in_turn(&mut turn, &mut span, load).await;
            context.policy.split_result(value, &LoadContext::new(context.cache.clock(), context.terms.ttl))
        };
        let loaded = leader.run(settle).await;
        // The permit is returned: the next load may begin.
        drop(turn);
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(panic) => {
                span.finish_panicked();
                fallback.inspect(|entry| context.back_off(entry));
                fill_right.fail();
                leader.fail(FlightResult::Panicked);
                return Err(panic);
            }
        };
        let is_error = loaded.is_error;
        span.finish(is_error);
        let mut ttl = loaded.ttl;
        let had_fallback = fallback.is_some();
        // Checked before the lease is released, because the release ends the epoch of the key.
        let may_serve_fallback =
            fallback.as_ref().is_some_and(|entry| context.cache.may_serve(&context.spec, entry));
        if let Some(entry) = fallback.filter(|_| is_error) {
            context.back_off(&entry);
            // An error does not replace a value that may still be served.
            ttl = None;
        }
        match (loaded.erased, ttl) {
            (Some(erased), ttl) => {
                let load_result = LoadResult { erased, ttl, is_error, had_fallback, log_position };
                // Boxed, so that nested loads do not add up on the stack.
                if let Some(rest) = publish(context, leader, fill_right, load_result) {
                    rest.await;
                }
            }
            (None, _) => {
                fill_right.fail_with(None);
                if leader.pass_lead() {
                    context.cache.function(&context.spec).warn_unshared_errors();
                }
            }
        }
        Ok(LoadOutput { value: loaded.result, is_error, may_serve_fallback })
    }
}

impl<R> CallContext<R> {
    /// Returns the fill right under which the load begins, or the outcome if there is a value already.
    ///
    /// An invalidation may come between the reply of L2 and the start of the load. A load that started
    /// regardless would be rejected, and its followers would wait in vain. So L2 is queried again. If each
    /// right is invalidated in turn, the followers start over, and the load runs for its own caller.
    async fn confirm_fill_right(
        &self,
        mut leader: Leader,
        mut granted: Option<Start>,
        fallback: Option<Arc<Entry>>,
    ) -> Result<(Leader, Start), thread::Result<LoadOutput<R>>> {
        const MAX_ATTEMPTS: usize = 3;

        let mut attempts = 0;
        loop {
            attempts += 1;
            let (fill_right, turn) = match granted.take() {
                Some(start) => start,
                None => {
                    let start;
                    (leader, start) = self.query_l2_before_load(leader, fallback.clone()).await?;
                    start
                }
            };
            if leader.bind(fill_right.validity()) {
                return Ok((leader, (fill_right, turn)));
            }
            match fill_right {
                FillRight::Everywhere(lease) if attempts < MAX_ATTEMPTS => {
                    // A release ends the epoch of the name, and must not supersede this flight.
                    leader.unbind();
                    match leader.run(lease.reconfirm()).await {
                        Ok(Some(lease)) => {
                            leader.bind(&lease.validity);
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
                fill_right @ FillRight::IfUnchanged(_) => return Ok((leader, (fill_right, turn))),
                fill_right if attempts >= MAX_ATTEMPTS => {
                    leader.supersede();
                    return Ok((leader, (fill_right, turn)));
                }
                _ => {}
            }
        }
    }

    /// Queries L2 for a load that has not done so. Returns the outcome instead if there is a value.
    async fn query_l2_before_load(
        &self,
        leader: Leader,
        fallback: Option<Arc<Entry>>,
    ) -> Result<(Leader, Start), thread::Result<LoadOutput<R>>> {
        let due_entry = fallback.clone();
        let mut turn = self.turn(&leader);
        let reply = match self.query_l2(&leader, fallback, &mut turn).await {
            Ok(SharedAnswer::FillRight(fill_right)) => return Ok((leader, (fill_right, turn))),
            Ok(SharedAnswer::Hit(found, reply)) => {
                self.land_found(leader, found);
                reply
            }
            Ok(SharedAnswer::Entry(entry, reply)) => {
                Self::land_entry(leader, &entry);
                reply
            }
            Ok(SharedAnswer::Failed(loaded)) => {
                if let Some(entry) = due_entry {
                    self.back_off(&entry);
                }
                return Err(Ok(self.land_failed(leader, *loaded)));
            }
            Err(panic) => {
                leader.fail(FlightResult::Panicked);
                return Err(Err(panic));
            }
        };
        Err(Ok(LoadOutput { value: reply.value, is_error: false, may_serve_fallback: false }))
    }

    /// Ends a flight with the error of a load in another process.
    pub(crate) fn land_failed(&self, leader: Leader, loaded: LoadedValue<R>) -> LoadOutput<R> {
        self.report(Count::Joined);
        match loaded.erased {
            Some(erased) => _ = leader.land(erased, || ()),
            None => _ = leader.pass_lead(),
        }
        LoadOutput { value: loaded.result, is_error: true, may_serve_fallback: false }
    }
}

impl<R> LoadRun<R> {
    /// Creates a run that replaces `entry`, unless L2 has a newer value.
    pub(crate) fn renewing(context: Box<CallContext<R>>, leader: Leader, entry: Arc<Entry>) -> Self {
        Self::replacing(context, Acceptable::Newer, leader, entry)
    }

    /// Creates a run that replaces `entry`, unless L2 has a value that satisfies `acceptable`.
    pub(crate) fn replacing(
        mut context: Box<CallContext<R>>,
        acceptable: Acceptable,
        leader: Leader,
        entry: Arc<Entry>,
    ) -> Self {
        context.acceptable = acceptable;
        leader.expect_poll();
        Self::querying(context, leader, entry)
    }
}
