//! Invalidations in the shared tier: send, or queue for another attempt, and confirm.
//!
//! The steps run in a task of their own, so that a caller that goes away does not stop them half-way.

use tokio::runtime::Handle;

use crate::{
    base::planted::planted,
    cache::{
        Cache,
        invalidation::{InvalidationTarget, Work, target::function_of},
    },
    coherence::outbox::OutboxItem,
    error::{Error, tier::TierError},
    telemetry::{span::Span, stats::Count, step::TimedSpan},
    tier::Tier,
};

impl Cache {
    /// Runs the steps for one cache to their end, in a task of its own if there is a runtime.
    ///
    /// Otherwise a caller that goes away would stop them half-way.
    pub(super) fn run_to_completion(self, targets: Vec<InvalidationTarget>, is_confirmed: bool) -> Work {
        // An invalidation of this process alone completes at its first poll, so that a function which is not
        // async may wait for it.
        let needs_tier = is_confirmed || !self.outbox_items(&targets).is_empty();
        let (sender, lost_targets) = (self.clone(), targets.clone());
        // The span is created here, so that it is a child of the caller's span.
        let mut step = TimedSpan::begin(Span::invalidate(function_of(&targets)), self.clock());
        let work = async move {
            let done = step.instrument(sender.clone().send_and_confirm(targets, is_confirmed)).await;
            step.end(match &done {
                Ok(()) => "ok",
                Err(error) if error.is_not_confirmed() => "not_confirmed",
                Err(_) => "not_propagated",
            });
            done
        };
        match Handle::try_current() {
            Ok(runtime) if needs_tier => {
                let job = self.shared().background.begin();
                let task = runtime.spawn(async move {
                    let _job = job;
                    work.await
                });
                let cache = self.clone();
                Box::pin(async move {
                    task.await.unwrap_or_else(|_| {
                        // The runtime of the task was shut down.
                        cache.enqueue(&lost_targets);
                        cache.invalidate_local(&lost_targets);
                        Err(Error::not_propagated(TierError::Unavailable))
                    })
                })
            }
            _ => Box::pin(work),
        }
    }

    async fn send_and_confirm(
        self,
        targets: Vec<InvalidationTarget>,
        is_confirmed: bool,
    ) -> Result<(), Error> {
        let sent = self.send_or_enqueue(&targets).await.map_err(Error::not_propagated);
        if !planted!("not-propagated-as-ok") {
            sent?;
        }
        if is_confirmed {
            self.shared().tier.confirm().await.map_err(Error::not_confirmed)?;
        }
        Ok(())
    }

    /// Sends the invalidation to the shared tier, and queues it for another attempt if that fails.
    async fn send_or_enqueue(&self, targets: &[InvalidationTarget]) -> Result<(), TierError> {
        self.report_invalidations(targets);
        let sent = self.send(targets).await;
        if sent.is_err() {
            self.count_not_propagated(targets);
            self.enqueue(targets);
        }
        // Values that were read from the tier before it had the invalidation must not stay, and a tier sends
        // no push for the process's own changes.
        self.invalidate_local(targets);
        sent
    }

    async fn send(&self, targets: &[InvalidationTarget]) -> Result<(), TierError> {
        let items = self.outbox_items(targets);
        let (mut keys, mut patterns) = (Vec::new(), Vec::new());
        for item in items {
            match item {
                OutboxItem::Key(key) => keys.push(key),
                OutboxItem::Matching(pattern) => patterns.push(pattern),
            }
        }
        self.shared().delete(keys).await?;
        for pattern in patterns {
            self.shared().sweep(&pattern).await?;
        }
        Ok(())
    }

    pub(super) fn report_invalidations(&self, targets: &[InvalidationTarget]) {
        for target in targets {
            match target {
                InvalidationTarget::Entry(spec, entry_key) => {
                    self.report(Count::Invalidate, spec, entry_key.key.as_ref());
                }
                _ => self.report_many(Count::Invalidate),
            }
        }
    }

    fn count_not_propagated(&self, targets: &[InvalidationTarget]) {
        match targets {
            [InvalidationTarget::Entry(spec, _)] => self.count_of(spec, Count::NotPropagated),
            _ => self.count(Count::NotPropagated),
        }
    }
}
