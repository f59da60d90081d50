//! The start of one load, from its fill right to the run of its body; and its run in a task.
//!
//! 1. The flight is bound to the validity of the fill right. An invalidation from here on supersedes the
//!    flight.
//! 2. If there was an invalidation before that, the right is checked or requested again (`confirm_fill_right`).
//! 3. The lease, if there is one, is renewed for as long as the load is being polled.
//! 4. The load waits for its turn.
//! 5. The body runs, and the result is published, or the lease released: see `pending`.
//!
//! `flight::leader` has the ends of a flight.

use std::{future::poll_fn, sync::Arc, thread, time::Duration};

use crate::{
    call::{
        context::{CallContext, SharedAnswer},
        fallback::LoadOutput,
        fill_right::FillRight,
        load::TaskBody,
        pending::{BodyRun, LedLoad},
    },
    flight::{FlightResult, Leader, Panic, permits::LoadTurn},
    l1::entry::Entry,
    l2::lookup::Acceptable,
    telemetry::{stats::Count, step::LoadSpan},
    value::erased::ErasedValue,
};

/// Idle time after which a load counts as abandoned: it could go on, and is not polled.
const ABANDONED_AFTER: Duration = Duration::from_secs(1);

/// Outcome of a load in a task, or the payload of a panic.
pub(crate) type TaskResult = thread::Result<TaskOutput>;

/// Outcome of a load in a task.
pub(crate) struct TaskOutput {
    pub(crate) content: TaskContent,
    pub(crate) output: LoadOutput,
}

/// Place of the result of a load in a task.
pub(crate) enum TaskContent {
    /// The body has run, and has its result.
    Own(Box<dyn TaskBody>),
    /// The body has not run, because there was a value, or an error of another process, when it was to begin.
    Shared(Arc<dyn ErasedValue>),
}

/// Fill right of a load, and its turn.
type Start = (FillRight, LoadTurn);

/// A load that leads a flight and has not begun.
pub(crate) struct LoadRun {
    context: Box<CallContext>,
    leader: Leader,
    /// Fill right and turn; `None` if L2 is still to be queried.
    granted: Option<Start>,
    /// Span of the load, inside its caller's span; `None` if no caller waits for the load.
    span: Option<LoadSpan>,
    /// Older entry that is served if the load fails.
    fallback: Option<Arc<Entry>>,
}

/// Reason why the body of a load need not run. The flight has ended.
pub(crate) enum NoRun {
    /// There is a value.
    Found(Arc<dyn ErasedValue>),
    /// The load of another process has failed with this error.
    Failed(Arc<dyn ErasedValue>),
    Panicked(Panic),
}

impl LoadRun {
    pub(crate) fn new(
        context: Box<CallContext>,
        leader: Leader,
        fill_right: FillRight,
        turn: LoadTurn,
        fallback: Option<Arc<Entry>>,
    ) -> Self {
        let span = LoadSpan::new(context.cache.clock(), context.cache.function(&context.spec));
        Self { context, leader, granted: Some((fill_right, turn)), span: Some(span), fallback }
    }

    /// Creates a run that queries L2 before it loads.
    pub(crate) fn querying(context: Box<CallContext>, leader: Leader, fallback: Arc<Entry>) -> Self {
        Self { context, leader, granted: None, span: None, fallback: Some(fallback) }
    }

    /// Prepares the run for a task of its own, and keeps the caller's span as the parent.
    pub(crate) fn into_detached(mut self) -> Self {
        self.span.iter_mut().for_each(LoadSpan::detach);
        self
    }

    /// Takes the steps up to the run of the body, unless it turns out that the body need not run.
    pub(crate) async fn start(self) -> Result<Box<LedLoad>, (Box<CallContext>, NoRun)> {
        let Self { context, leader, granted, span, fallback } = self;
        let (leader, (mut fill_right, turn)) = match granted {
            Some(start) if leader.bind(start.0.validity()) => (leader, start),
            // Boxed, so that nested loads do not add up on the stack.
            granted => match Box::pin(context.confirm_fill_right(leader, granted, fallback.clone())).await {
                Ok(start) => start,
                Err(end) => return Err((context, end)),
            },
        };
        let span = span
            .unwrap_or_else(|| LoadSpan::new(context.cache.clock(), context.cache.function(&context.spec)));
        let log_position = context.log_position();
        if let FillRight::Everywhere(lease) = &mut fill_right {
            if context.spec.coalesces_locally() {
                lease.release_on_close();
            } else {
                lease.renew_while(leader.progress_check(ABANDONED_AFTER));
            }
        }
        let run = BodyRun::new(context, turn, span);
        let mut led =
            Box::new(LedLoad { run, fill_right, leader, fallback, served_fallback: None, log_position });
        let LedLoad { run, leader, .. } = &mut *led;
        // The wait for a permit runs no user code, so it cannot panic.
        let _ = leader.run(run.acquire_turn()).await;
        led.leader.expect_poll();
        Ok(led)
    }

    /// Runs the load, in a task of its own.
    pub(crate) async fn run(self, body: Box<dyn TaskBody>) -> TaskResult {
        // Boxed, so that nested loads do not add up on the stack.
        let mut led = match Box::pin(self.start()).await {
            Ok(led) => led,
            Err((_, end)) => return end.into_task_result(),
        };
        // Declared after the load: if the task is dropped, the body is dropped before its flight ends.
        let mut body = body;
        let loaded = poll_fn(|cx| led.poll(cx, &mut *body)).await;
        let (result, rest) = led.end(loaded);
        if let Some(rest) = rest {
            rest.await;
        }
        Ok(TaskOutput { content: TaskContent::Own(body), output: result? })
    }
}

impl NoRun {
    pub(crate) fn into_task_result(self) -> TaskResult {
        let (erased, is_error) = match self {
            Self::Found(erased) => (erased, false),
            Self::Failed(erased) => (erased, true),
            Self::Panicked(panic) => return Err(panic),
        };
        let output = LoadOutput { is_error, may_serve_fallback: false };
        Ok(TaskOutput { content: TaskContent::Shared(erased), output })
    }
}

impl CallContext {
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
    ) -> Result<(Leader, Start), NoRun> {
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
                            return Ok((leader, (FillRight::Everywhere(Box::new(lease)), turn)));
                        }
                        Ok(None) => {}
                        Err(panic) => {
                            leader.fail(FlightResult::Panicked);
                            return Err(NoRun::Panicked(panic));
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
    ) -> Result<(Leader, Start), NoRun> {
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
            Ok(SharedAnswer::Failed(erased)) => {
                if let Some(entry) = due_entry {
                    self.back_off(&entry);
                }
                self.land_failed(leader, erased.clone());
                return Err(NoRun::Failed(erased));
            }
            Err(panic) => {
                leader.fail(FlightResult::Panicked);
                return Err(NoRun::Panicked(panic));
            }
        };
        Err(NoRun::Found(reply.value))
    }

    /// Ends a flight with the error of a load in another process.
    pub(crate) fn land_failed(&self, leader: Leader, erased: Arc<dyn ErasedValue>) {
        self.report(Count::Joined);
        leader.land(erased, || ());
    }
}

impl LoadRun {
    /// Creates a run that replaces `entry`, unless L2 has a newer value.
    pub(crate) fn renewing(context: Box<CallContext>, leader: Leader, entry: Arc<Entry>) -> Self {
        Self::replacing(context, Acceptable::Newer, leader, entry)
    }

    /// Creates a run that replaces `entry`, unless L2 has a value that satisfies `acceptable`.
    pub(crate) fn replacing(
        mut context: Box<CallContext>,
        acceptable: Acceptable,
        leader: Leader,
        entry: Arc<Entry>,
    ) -> Self {
        context.acceptable = acceptable;
        leader.expect_poll();
        Self::querying(context, leader, entry)
    }
}
