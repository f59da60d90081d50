//! Processing of the replies to a heartbeat, in the order of its commands.
//!
//! The order of the effects carries the guarantees. Missed changes are handled before a registration is
//! recorded, or anything is proven. A barrier number is recorded after the registration was sent, so only a
//! later one acknowledges it. The watermark advances last, after all that could end the processing.

use std::time::Instant;

use cached_core::{TierCause, planted};
use redis::RedisResult;
use tokio::time::timeout;

use crate::{
    connect::cause,
    node::heartbeat::{
        End, Heartbeat,
        plan::Plan,
        refusal::{is_redirected, verdict},
    },
    protocol::{batch::Replies, commands::parse_number, failure::Verdict},
    tracking::{
        attachment::{AttachedCache, Registry},
        self_test::SelfTest,
        trial,
    },
};

/// Reply with the barrier number.
type BarrierReply = RedisResult<Option<Vec<u8>>>;

/// Reply to a registration, with the server's time.
type RegistrationReply = RedisResult<(u64, u64)>;

impl Heartbeat {
    /// Processes the replies to the commands that belong to the cache.
    pub(super) async fn process_replies(
        &mut self,
        attached: &AttachedCache,
        plan: &Plan,
        self_test: Option<SelfTest>,
        replies: &mut Replies,
    ) -> Result<(), End> {
        match self.apply_replies(attached, plan, self_test, replies).await {
            Ok(()) => Ok(()),
            Err(Verdict::Broken) => Err(End::Broken),
            Err(Verdict::Refusing | Verdict::Sound) => {
                self.record_refusal();
                Ok(())
            }
        }
    }

    /// Takes the steps until all replies are processed, or until one shows that the others prove nothing.
    async fn apply_replies(
        &mut self,
        attached: &AttachedCache,
        plan: &Plan,
        self_test: Option<SelfTest>,
        replies: &mut Replies,
    ) -> Result<(), Verdict> {
        let barrier = plan.reads_barrier.then(|| replies.next());
        self.apply_pushes(plan, self_test, replies).await?;
        let registration = plan.registers.then(|| replies.next());
        let refused = registration.as_ref().and_then(|reply| reply.as_ref().err()).map(cause::of_error);
        let runs_no_scripts = refused.is_some_and(|cause| cause::prevents_scripts(&cause));
        // A registry moves with its slot; the server may hold another one.
        let is_redirected = is_redirected(barrier.as_ref()) || is_redirected(registration.as_ref());
        if is_redirected && let Some(slots) = &mut self.slots {
            slots.choose_another_registry();
        }
        self.apply_barrier(barrier, is_redirected)?;
        let is_registered = self.apply_registration(attached, plan, registration)?;
        self.record_registration(plan, is_registered, runs_no_scripts);
        if plan.switches_mode && self.mode.is_noloop_suspended() && !self.schedule.is_calm(plan.sent) {
            // The server does not accept `NOLOOP`.
            self.mode.forbid_noloop();
        }
        self.admit_requests(attached, plan);
        // An untracked feed proves nothing.
        if !self.session.is_tracking {
            self.retry_tracking(plan.registry.as_ref()).await?;
        } else if plan.advances_watermark {
            self.session.feed.advance(plan.sent);
        }
        Ok(())
    }

    /// Reads whether all changes were pushed: the eviction count, the self-test, and the switch of the mode.
    async fn apply_pushes(
        &mut self,
        plan: &Plan,
        self_test: Option<SelfTest>,
        replies: &mut Replies,
    ) -> Result<(), Verdict> {
        let mut may_have_missed = plan.reads_evictions && self.mode.tracking.may_have_missed_changes(replies);
        let is_echo_due = self_test.map(|self_test| self.echo.expects_push(replies, &self_test));
        if plan.switches_mode {
            may_have_missed |= self.mode.tracking.apply_switch(replies);
        }
        if may_have_missed {
            self.handle_missed_changes().await?;
        }
        match is_echo_due {
            // Pushes since the last heartbeat were lost. The next connection shows whether it is any better.
            Some(Ok(true)) if !self.listener.has_echoed() => return Err(Verdict::Broken),
            Some(Err(verdict)) => return Err(verdict),
            Some(Ok(_)) => {
                self.schedule.record_self_test(plan.sent);
                self.listener.reset_echo();
            }
            None => {}
        }
        Ok(())
    }

    /// Gives up `NOLOOP`, and notifies the cache that any key may have changed.
    async fn handle_missed_changes(&mut self) -> Result<(), Verdict> {
        self.mode.forbid_noloop();
        if self.mode.tracking.is_noloop() {
            let widened = self.mode.tracking.track_all(&mut self.session.connection);
            let widened = timeout(self.settings.connect_timeout, widened).await;
            widened.map_err(|_| Verdict::Broken)?.map_err(|_| Verdict::Broken)?;
        }
        // Only after the switch: evictions until then were not pushed either.
        self.router.notify_all_changed();
        Ok(())
    }

    fn apply_barrier(&mut self, barrier: Option<BarrierReply>, is_redirected: bool) -> Result<(), Verdict> {
        match barrier.map(verdict) {
            Some(Ok(barrier)) => self.registrar.record_barrier(parse_number(barrier), Instant::now()),
            Some(Err(Verdict::Sound)) => self.registrar.record_barrier_refusal(is_redirected),
            // A refusal is due to the server's state, as is that of the registration.
            Some(Err(verdict @ (Verdict::Broken | Verdict::Refusing))) => return Err(verdict),
            None => {}
        }
        Ok(())
    }

    /// Returns whether this process is registered, and can acknowledge barriers.
    fn apply_registration(
        &mut self,
        attached: &AttachedCache,
        plan: &Plan,
        registration: Option<RegistrationReply>,
    ) -> Result<bool, Verdict> {
        match (registration.map(verdict), &plan.registry) {
            (Some(Ok(time)), Some(registry)) => {
                self.update_clock(Ok(time), plan.sent);
                let expires = plan.sent + attached.registration_lifetime(self.settings.connect_timeout);
                self.member.record_registration(registry, expires);
                Ok(self.registrar.is_barrier_readable())
            }
            // A replica may be cut off from the primary that the others write to.
            (Some(Err(verdict @ (Verdict::Broken | Verdict::Refusing))), _) => Err(verdict),
            (Some(Ok(_) | Err(Verdict::Sound)) | None, _) => Ok(false),
        }
    }

    /// Records that the server has answered all commands, and whether it has registered this process.
    fn record_registration(&mut self, plan: &Plan, is_registered: bool, runs_no_scripts: bool) {
        self.link.condition.update(|facts| {
            facts.refusing = false;
            if plan.is_full || plan.registers {
                facts.registered = Some(is_registered);
                facts.why.unregistered.clone_from(&self.refusal);
                facts.runs_no_scripts = runs_no_scripts;
            }
        });
        if plan.is_full || plan.registers {
            // Does not apply to an untracked feed, since no entry is served on its watermark.
            let may_have_grace = is_registered || planted!("member-not-registered");
            if self.session.is_tracking {
                self.session.feed.allow_grace(may_have_grace);
            }
        }
        if plan.registers {
            self.registrar.record_outcome(is_registered);
        }
        if plan.is_full {
            self.schedule.record_full(plan.sent);
        }
    }

    /// Admits requests until the next full heartbeat is overdue.
    ///
    /// While the server pushes own writes, requests wait for `NOLOOP`: the push about an own lease would
    /// invalidate its load. Without a registry, the mode cannot be switched.
    fn admit_requests(&self, attached: &AttachedCache, plan: &Plan) {
        let may_admit = !self.mode.is_noloop_suspended() || plan.registry.is_none();
        match self.schedule.last_full().filter(|_| may_admit) {
            Some(full) => self
                .link
                .set_usable_until(full + attached.registration_interval() + self.settings.connect_timeout),
            None => self.link.set_unusable(),
        }
    }

    /// Tries tracking again from time to time, if the protocol of this connection has pushes.
    ///
    /// If it works, a connection that is tracked from the start replaces this one.
    async fn retry_tracking(&mut self, registry: Option<&Registry>) -> Result<(), Verdict> {
        let may_track = self.link.condition.facts().why.untracked != Some(TierCause::NoResp3);
        let now = Instant::now();
        if !may_track || !self.schedule.is_tracking_attempt_due(now) {
            return Ok(());
        }
        self.schedule.record_tracking_attempt(now);
        let echo = registry.map(|registry| registry.echo.as_str());
        let started = trial::start(&mut self.session.connection, &self.listener, echo);
        let tracking = timeout(self.settings.connect_timeout, started).await;
        if tracking.map_err(|_| Verdict::Broken)?.map_err(|_| Verdict::Broken)?.0.is_on() {
            self.link.report_to_supervisor(&self.session, Verdict::Refusing);
        }
        Ok(())
    }
}
