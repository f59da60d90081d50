//! The heartbeat of a connection.
//!
//! It shows that the server answers, advances the watermark of the change feed, and registers this process.
//!
//! The cost follows the use. While entries are served from memory or anything is requested, the watermark
//! advances every three quarters of the staleness bound, and a registration follows every few seconds. While
//! watermarks are of no use (*quiet*), the connection is only checked every 20 seconds. Entries in memory are
//! then not served without asking L2, and the first request waits for a heartbeat that registers. While
//! nothing is requested (*calm*), `NOLOOP` is dropped as well, see `tracking::mode`.
//!
//! One heartbeat is one batch. `Heartbeat::beat` sends it, and reads the replies in the same order. The steps
//! from 2 on belong to `Heartbeat::plan` and `Heartbeat::process_replies`; without a cache there is a `PING`
//! instead of them.
//!
//! 1. The server's clock, and the map of the cluster.
//! 2. The barrier number. The registration of a later heartbeat acknowledges it, see `tracking::acks`.
//! 3. The eviction count, if `NOLOOP` is in use.
//! 4. The push self-test, see `tracking::self_test`.
//! 5. The switch of the tracking mode, if the other one is wanted.
//! 6. The registration, with the acknowledged barrier number.
//!
//! The watermark advances to the time at which the batch was *sent*: pushes and replies share one stream, so
//! each earlier change was handled before the replies. It does not advance if the push of the self-test is
//! missing; then the connection is replaced.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use cached_core::{TierCause, planted};
use redis::{RedisError, RedisResult, Value};
use tokio::time::{timeout, timeout_at};

use crate::{
    availability::wait::within,
    connect::{
        cause,
        settings::{MAX_DURATION, MAX_HEARTBEAT_INTERVAL, Settings, millis},
    },
    node::{link::Link, session::Session},
    protocol::{
        batch::{Batch, Replies},
        failure::{Failure, Verdict},
        random,
        scripts::REGISTER,
    },
    tracking::{
        acks::{AckDelay, BarrierAcks},
        attachment::{AttachedCache, Registry},
        cluster_view::OwnedSlots,
        mode::Tracking,
        push::{PushListener, PushRouter},
        self_test::{Echo, SelfTest},
        trial,
    },
};

/// Lifetime of the registry after the last process has ended.
pub(crate) const REGISTRY_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Interval at which the lifetime of the registry is renewed.
const REGISTRY_RENEWAL: Duration = Duration::from_secs(60 * 60);

/// Time without use after which a process is quiet, or calm.
const IDLE_TIME: Duration = Duration::from_secs(5);

/// Interval of the connection checks while there is no use for the watermark.
const QUIET_CHECK_INTERVAL: Duration = Duration::from_secs(20);

/// Interval at which an untracked connection tries tracking again.
const TRACKING_RETRY: Duration = Duration::from_secs(3);

/// This process among the processes that share a namespace.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: String,
    registration: Mutex<Option<Registration>>,
    /// Set when the process deregisters: it registers no more.
    is_deregistered: AtomicBool,
}

/// The registration of a process.
#[derive(Clone, Debug)]
struct Registration {
    registry_number: usize,
    /// Key of the registry.
    registry_key: String,
    /// Expiry, by the clock of this process.
    expires: Instant,
}

impl Member {
    pub(crate) fn new(id: String) -> Self {
        Self { id, registration: Mutex::new(None), is_deregistered: AtomicBool::new(false) }
    }

    /// Returns the number of the registry that must contain this process, unless that registry was lost.
    pub(crate) fn registry_number(&self) -> Option<usize> {
        self.registration().as_ref().filter(|own| Instant::now() < own.expires).map(|own| own.registry_number)
    }

    /// Prevents further registrations, and returns the command that removes the current one, if any.
    pub(crate) fn deregister(&self) -> Option<redis::Cmd> {
        self.is_deregistered.store(true, Ordering::Release);
        let registration = self.registration().take().filter(|own| Instant::now() < own.expires)?;
        Some(redis::cmd("HDEL").arg(registration.registry_key).arg(&self.id).clone())
    }

    fn registration(&self) -> MutexGuard<'_, Option<Registration>> {
        self.registration.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns a unique name for a process.
pub(crate) fn new_member_id() -> String {
    format!("{:016x}{:016x}", random::number(), random::number())
}

/// The heartbeat of one connection.
#[allow(clippy::struct_excessive_bools, reason = "the flags are independent")]
pub(crate) struct Heartbeat {
    pub(crate) settings: Arc<Settings>,
    pub(crate) link: Arc<Link>,
    pub(crate) router: Arc<PushRouter>,
    pub(crate) member: Arc<Member>,
    pub(crate) session: Session,
    pub(crate) listener: Arc<PushListener>,
    pub(crate) tracking: Tracking,
    /// Set if `NOLOOP` may be used, so that own writes are not tracked.
    pub(crate) may_use_noloop: bool,
    pub(crate) echo: Echo,
    pub(crate) times: Times,
    /// Last attempt to start tracking.
    pub(crate) last_tracking_attempt: Instant,
    pub(crate) barrier_acks: BarrierAcks,
    /// Set if the server does not permit reading the barrier key. A process that cannot acknowledge barriers
    /// must not register.
    pub(crate) is_barrier_unreadable: bool,
    /// Set if the server rejected the last registration. Each heartbeat retries it, so that the process
    /// recovers soon after the server does.
    pub(crate) is_unregistered: bool,
    /// Set until the first heartbeat over this connection has been answered.
    pub(crate) is_first: bool,
    /// Slots of the server, if it is in a cluster.
    pub(crate) slots: Option<Box<dyn OwnedSlots>>,
    /// Number of the current registry, if the server is in a cluster.
    pub(crate) registry_number: Option<usize>,
    /// Set if RESP2 is in use only because the server did not support RESP3.
    pub(crate) is_resp2_fallback: bool,
    /// Most important refusal of the last heartbeat.
    pub(crate) refusal: Option<TierCause>,
}

/// Times of the events that determine the schedule.
#[derive(Debug)]
pub(crate) struct Times {
    /// Last request over the connection.
    last_request: Instant,
    /// Last request, or last use of a watermark to serve an entry from memory.
    last_use: Instant,
    /// Last answered heartbeat that was full, which means that it registers if it may.
    last_full: Option<Instant>,
    /// Last attempt to advance the watermark, or to do other work that is due as often.
    last_attempt: Instant,
    /// Last heartbeat with a passed self-test of the pushes.
    last_self_test: Option<Instant>,
    /// Last renewal of the registry's lifetime.
    last_registry_renewal: Option<Instant>,
    /// Last reading of the server's clock.
    last_clock_reading: Option<Instant>,
}

impl Times {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            last_request: now,
            last_use: now,
            last_attempt: now,
            last_full: None,
            last_self_test: None,
            last_registry_renewal: None,
            last_clock_reading: None,
        }
    }
}

/// Contents of one heartbeat.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "the flags are independent")]
struct Plan {
    sent: Instant,
    registry: Option<Registry>,
    reads_clock: bool,
    reads_barrier: bool,
    /// Reads the eviction count.
    reads_evictions: bool,
    /// Advances the watermark if all is well.
    advances_watermark: bool,
    /// Self-test of the pushes.
    self_test: Option<SelfTest>,
    /// Switches to the other tracking mode.
    switches_mode: bool,
    registers: bool,
    /// Includes everything that is due every few seconds.
    is_full: bool,
}

/// Reason why a heartbeat ends.
#[derive(Debug)]
pub(crate) enum End {
    /// The connection does not work any more.
    Broken,
    /// The connection works, but another server now holds some of the slots that were read over it.
    Moved,
}

impl Heartbeat {
    /// Sends heartbeats until the connection is broken, or its server has lost slots.
    pub(crate) async fn run(&mut self) -> End {
        loop {
            let began = Instant::now();
            self.link.record_liveness();
            self.record_use(began);
            let outcome = if self.is_quiet(began) && !self.must_acknowledge(began) {
                self.check_connection().await
            } else {
                self.beat().await
            };
            if let Err(end) = outcome {
                return end;
            }
            self.wait_until_due(began).await;
        }
    }

    /// Waits until the next heartbeat is due. An urgent event notifies `heartbeat_due`.
    async fn wait_until_due(&mut self, began: Instant) {
        loop {
            let now = Instant::now();
            let (is_quiet, is_calm) = (self.is_quiet(now), self.is_calm(now));
            self.link.set_calm(is_calm);
            // Only after `set_calm`: a later request wakes a calm heartbeat.
            let has_request = self.record_use(now);
            let is_over =
                (is_quiet && !self.is_quiet(now)) || (has_request && is_calm && self.is_noloop_suspended());
            let pause = self.next_due(began, is_quiet).saturating_duration_since(now);
            if is_over || pause.is_zero() {
                return;
            }
            if timeout(pause.min(MAX_HEARTBEAT_INTERVAL), self.router.heartbeat_due.notified()).await.is_ok()
            {
                return;
            }
            self.link.record_liveness();
        }
    }

    fn next_due(&self, began: Instant, is_quiet: bool) -> Instant {
        let mut next = if is_quiet {
            began + QUIET_CHECK_INTERVAL
        } else {
            self.times.last_attempt + self.router.interval()
        };
        if self.may_acknowledge(is_quiet)
            && let Some(due) = self.ack_delay().and_then(|delay| self.barrier_acks.due(delay))
        {
            next = next.min(due);
        }
        if let Some(due) = self.link.gate.probe_due() {
            next = next.min(due);
        }
        next
    }

    /// Returns whether anything was requested since the last call. Also records uses of the watermark.
    fn record_use(&mut self, now: Instant) -> bool {
        let has_request = self.link.take_use();
        // A load under way counts as a request, since it writes its lease.
        if has_request || self.router.has_loads() {
            self.times.last_request = now;
        }
        if self.router.take_watermark_use() || has_request {
            self.times.last_use = now;
        }
        has_request
    }

    /// Returns whether there was no use for watermarks lately.
    ///
    /// An untracked connection is never quiet, since only polling detects new barriers. Neither is one with
    /// an open breaker, since heartbeats probe whether the server is fast again.
    fn is_quiet(&self, now: Instant) -> bool {
        let is_notified = self.router.attached().is_none() || self.session.is_tracking;
        // If no scripts run, only a heartbeat detects that they run again.
        let can_run_scripts = !self.link.condition.runs_no_scripts();
        is_notified
            && can_run_scripts
            && !self.link.gate.is_open()
            && now.saturating_duration_since(self.times.last_use) >= IDLE_TIME
    }

    /// Returns whether nothing was requested lately and no load is under way.
    ///
    /// A calm process has not written anything either.
    fn is_calm(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.times.last_request) >= IDLE_TIME
    }

    /// Returns whether own writes are pushed although `NOLOOP` may be used.
    fn is_noloop_suspended(&self) -> bool {
        self.may_use_noloop && self.tracking == Tracking::All
    }

    /// Returns whether other processes wait for acknowledgements of this one.
    fn may_acknowledge(&self, is_quiet: bool) -> bool {
        // A process that does not register acknowledges nothing, and the others ignore an expired
        // registration.
        self.may_register() && (!is_quiet || self.member.registry_number().is_some())
    }

    fn must_acknowledge(&self, now: Instant) -> bool {
        self.may_acknowledge(true) && (self.router.has_barrier() || self.is_acknowledgement_due(now))
    }

    /// Returns whether another barrier number may be acknowledged.
    fn is_acknowledgement_due(&self, now: Instant) -> bool {
        self.ack_delay().and_then(|delay| self.barrier_acks.due(delay)).is_some_and(|due| due <= now)
    }

    /// Checks that the connection still works.
    async fn check_connection(&mut self) -> Result<(), End> {
        if !self.may_acknowledge(true) {
            self.router.take_barrier();
        }
        let sent = Instant::now();
        let (mut replies, was_late) = self.send_batch(Batch::of(redis::cmd("TIME")), sent).await?;
        self.update_clock(replies.next(), sent);
        self.record_beat(sent, was_late);
        Ok(())
    }

    /// Sends a batch, and returns the replies and whether this process itself was late.
    ///
    /// If it was late, the replies do not show how long the server took.
    async fn send_batch(&mut self, batch: Batch, sent: Instant) -> Result<(Replies, bool), End> {
        // A large value may precede the batch. The limit keeps the supervisor's signs of life frequent
        // enough.
        let transfer_time = self.link.transfers.estimated_time().min(self.settings.liveness_timeout() / 2);
        let mut request = pin!(batch.send(&mut self.session.connection));
        // The budget of a caller, since the reply decides whether the breaker admits callers.
        let budget = self.settings.read_timeout.min(self.settings.check_timeout);
        let (in_time, wait) = within(request.as_mut(), sent, budget).await;
        let was_late = wait.was_late(Instant::now());
        let replies = match in_time {
            Some(replies) => replies,
            None => timeout_at((sent + self.settings.check_timeout + transfer_time).into(), request)
                .await
                .map_err(|_| End::Broken)?,
        };
        replies.map(|replies| (replies, was_late)).map_err(|_| End::Broken)
    }

    /// Records the server's time. Without the right to use `TIME`, `PTTL` is queried for each value instead.
    #[allow(clippy::needless_pass_by_value, reason = "each reply is read once")]
    fn update_clock(&mut self, time: RedisResult<(u64, u64)>, sent: Instant) {
        if let Ok(time) = time {
            self.session.clock.update(time, sent);
            self.times.last_clock_reading = Some(sent);
        }
    }

    fn record_beat(&self, sent: Instant, was_late: bool) {
        if self.link.record_beat(sent, was_late) {
            // The cache resends the invalidations that could not be delivered.
            self.router.notify_restored();
        }
    }

    /// Keeps the connection, but starts a new change feed for later reads.
    pub(crate) fn renew_feed(&mut self) {
        self.session = self.link.renew_session(&self.session);
        (self.barrier_acks, self.times.last_full) = (BarrierAcks::default(), None);
    }

    /// Sends one heartbeat. Returns `Ok` if there was a reply, even if it is an error.
    pub(crate) async fn beat(&mut self) -> Result<(), End> {
        self.survey_slots().await?;
        let sent = Instant::now();
        if planted!("proof-before-drain") {
            self.session.feed.advance(sent);
        }
        let router = Arc::clone(&self.router);
        let attached = router.attached();
        let mut batch = Batch::new();
        let plan = match attached {
            Some(attached) => self.plan(attached, &mut batch, sent),
            None => {
                self.times.last_attempt = sent;
                Plan::without_cache(sent)
            }
        };
        let mut commands = Batch::new();
        if plan.reads_clock {
            commands.add(redis::cmd("TIME"));
        }
        if let Some(slots) = &self.slots {
            slots.add_query(&mut commands);
        }
        if attached.is_none() {
            commands.add(redis::cmd("PING"));
        }
        commands.append(batch);
        let (mut replies, was_late) = self.send_batch(commands, sent).await?;
        let refusals: Vec<_> = replies.refusals().collect();
        let of_state = refusals.iter().find(|refusal| Verdict::of(refusal) == Verdict::Refusing);
        // The last refusal is the one of the registration, if it was refused.
        self.refusal = of_state.or(refusals.last()).map(|refusal| cause::of_refusal(refusal));
        if plan.reads_clock {
            self.update_clock(replies.next(), sent);
        }
        self.record_beat(sent, was_late);
        match self.slots.as_mut().map(|slots| slots.has_changed(&mut replies)) {
            Some(None) => {
                if plan.switches_mode {
                    self.tracking.mark_switch_unknown();
                }
                self.record_refusal();
                return Ok(());
            }
            Some(Some(true)) => {
                if plan.switches_mode {
                    self.tracking.mark_switch_unknown();
                }
                self.survey_slots().await?;
            }
            Some(Some(false)) | None => {}
        }
        match attached {
            Some(attached) => self.process_replies(attached, plan, &mut replies).await?,
            None => {
                self.record_verdict(verdict(replies.next::<Value>()).err());
                // There are no other processes to register with.
                self.link.set_usable_until(sent + MAX_DURATION);
            }
        }
        self.is_first = false;
        Ok(())
    }

    /// Surveys the slots of the server, unless they are known.
    ///
    /// Lost slots belong to another server, and no push reports their keys one by one.
    async fn survey_slots(&mut self) -> Result<(), End> {
        let Some(slots) = &mut self.slots else { return Ok(()) };
        let surveyed = timeout(self.settings.connect_timeout, slots.survey(&mut self.session.connection));
        let has_lost = surveyed.await.map_err(|_| End::Broken)?.map_err(|_| End::Broken)?;
        if has_lost { Err(End::Moved) } else { Ok(()) }
    }

    /// Returns the registry of this process.
    fn select_registry(&mut self, attached: &AttachedCache) -> Option<Registry> {
        let Some(slots) = &mut self.slots else { return Some(attached.registry.clone()) };
        let registry = slots.registry();
        let number = registry.as_ref().map(|registry| registry.number);
        if number != self.registry_number {
            // Barrier numbers of another registry do not apply here.
            (self.registry_number, self.barrier_acks) = (number, BarrierAcks::default());
            (self.echo, self.times.last_full) = (Echo::default(), None);
        }
        registry
    }

    /// Returns whether this process registers.
    ///
    /// It does not over an untracked connection while the breaker is open. Then earlier entries are served
    /// for the outage grace, and no pushes report their changes, so a barrier that was read is not handled.
    /// The registration expires as it does without a connection.
    fn may_register(&self) -> bool {
        let may_serve_unpushed = !self.session.is_tracking && self.link.gate.is_open();
        let is_deregistered = self.member.is_deregistered.load(Ordering::Acquire);
        !self.is_barrier_unreadable
            && !is_deregistered
            && !may_serve_unpushed
            && !planted!("member-not-registered")
    }

    /// Records whether the server answers, for a connection without a cache.
    fn record_verdict(&self, verdict: Option<Verdict>) {
        let is_refusing = verdict == Some(Verdict::Refusing);
        // A good reply clears the state only on a new connection: the server may still refuse writes, and
        // only another connection leads to another server.
        if is_refusing || self.is_first {
            self.link.condition.update(|facts| {
                facts.refusing = is_refusing;
                facts.why.refusing.clone_from(&self.refusal);
            });
        }
    }

    /// Builds the commands of this heartbeat.
    fn plan(&mut self, attached: &AttachedCache, batch: &mut Batch, now: Instant) -> Plan {
        let is_due = |last: Option<Instant>, pause| last.is_none_or(|last| now >= last + pause);
        let registry = self.select_registry(attached);
        let has_barrier = self.router.take_barrier();
        let is_full = is_due(self.times.last_full, attached.registration_interval())
            || self.router.take_registry_loss()
            || self.is_unregistered
            || self.link.condition.runs_no_scripts();
        let is_tracking = self.session.is_tracking;
        let registers =
            registry.is_some() && self.may_register() && (is_full || self.is_acknowledgement_due(now));
        let reads_barrier = registry.is_some() && (is_full || has_barrier || !is_tracking);
        let wants_other_mode = if self.tracking.is_noloop() {
            self.is_calm(now)
        } else {
            self.is_noloop_suspended() && !self.is_calm(now)
        };
        // A heartbeat that only acknowledges barriers need not advance the watermark if that was done just
        // now. It must not delay a request that waits for `NOLOOP`, though.
        let is_acknowledgement_only = !is_full
            && (has_barrier || registers)
            && !(wants_other_mode && self.is_noloop_suspended())
            && !is_due(self.times.last_self_test, self.router.interval());
        let advances_watermark = is_tracking && !is_acknowledgement_only;
        if !is_acknowledgement_only {
            self.times.last_attempt = now;
        }
        let mut plan = Plan {
            sent: now,
            advances_watermark,
            reads_clock: is_due(self.times.last_clock_reading, 2 * attached.registration_interval()),
            reads_barrier,
            reads_evictions: self.tracking.is_noloop() && (advances_watermark || reads_barrier),
            self_test: None,
            switches_mode: advances_watermark && wants_other_mode,
            registers,
            is_full,
            registry,
        };
        if let Some(registry) = plan.registry.as_ref().filter(|_| plan.reads_barrier) {
            batch.add(number_command(&registry.barrier));
        }
        if plan.reads_evictions {
            Tracking::add_eviction_query(batch);
        }
        let Some(registry) = &plan.registry else { return Plan { switches_mode: false, ..plan } };
        if advances_watermark {
            if self.listener.has_echoed() {
                // Another cause has changed the key, or all keys, so the server does not push the next
                // change.
                self.echo.record_push();
            }
            self.listener.reset_echo();
            plan.self_test =
                Some(self.echo.add_self_test(batch, &self.tracking, &registry.echo, is_full, now));
        }
        if plan.switches_mode {
            self.tracking.add_switch(batch);
        }
        if plan.registers {
            let handled = self.ack_delay().map_or(0, |delay| self.barrier_acks.acknowledge(delay, now));
            if handled > 0 {
                self.link.withdraw_grace();
            }
            let registration_lifetime = attached.registration_lifetime(self.settings.connect_timeout);
            let registry_lifetime = registration_lifetime.saturating_add(REGISTRY_LIFETIME);
            let registered = u8::from(self.member.registry_number() == Some(registry.number));
            let renews_registry = is_due(self.times.last_registry_renewal, REGISTRY_RENEWAL);
            self.times.last_registry_renewal =
                if renews_registry { Some(now) } else { self.times.last_registry_renewal };
            let args = (
                &self.member.id,
                millis(registration_lifetime),
                handled,
                registered,
                millis(registry_lifetime),
                u8::from(renews_registry),
            );
            batch.add_script(&REGISTER, &registry.members, args);
        }
        plan
    }

    async fn process_replies(
        &mut self,
        attached: &AttachedCache,
        plan: Plan,
        replies: &mut Replies,
    ) -> Result<(), End> {
        let Plan { sent, ref registry, .. } = plan;
        let barrier = plan.reads_barrier.then(|| replies.next::<Option<Vec<u8>>>());
        let mut may_have_missed = plan.reads_evictions && self.tracking.may_have_missed_changes(replies);
        let is_echo_due = plan.self_test.as_ref().map(|self_test| self.echo.expects_push(replies, self_test));
        if plan.switches_mode {
            may_have_missed |= self.tracking.apply_switch(replies);
        }
        if may_have_missed {
            self.may_use_noloop = false;
            if self.tracking.is_noloop() {
                let widened = self.tracking.track_all(&mut self.session.connection);
                let widened = timeout(self.settings.connect_timeout, widened).await;
                widened.map_err(|_| End::Broken)?.map_err(|_| End::Broken)?;
            }
            // Only after the switch: evictions until then were not pushed either.
            self.router.notify_all_changed();
        }
        match is_echo_due {
            // Pushes since the last heartbeat were lost. The next connection shows whether it is any better.
            Some(Ok(true)) if !self.listener.has_echoed() => return Err(End::Broken),
            Some(Err(Verdict::Broken)) => return Err(End::Broken),
            Some(Err(_)) => {
                self.record_refusal();
                return Ok(());
            }
            Some(Ok(_)) => {
                self.times.last_self_test = Some(sent);
                self.listener.reset_echo();
            }
            None => {}
        }
        let beat = plan.registers.then(|| replies.next::<(u64, u64)>());
        let refused = beat.as_ref().and_then(|beat| beat.as_ref().err()).map(cause::of_error);
        let runs_no_scripts = refused.is_some_and(|cause| cause::prevents_scripts(&cause));
        // A registry moves with its slot; the server may hold another one.
        let is_redirected = is_redirected(barrier.as_ref()) || is_redirected(beat.as_ref());
        if is_redirected && let Some(slots) = &mut self.slots {
            slots.choose_another_registry();
        }
        match barrier.map(verdict) {
            Some(Ok(barrier)) => {
                self.is_barrier_unreadable = false;
                self.barrier_acks.record(parse_number(barrier), Instant::now());
            }
            Some(Err(Verdict::Broken)) => return Err(End::Broken),
            Some(Err(Verdict::Sound)) => self.is_barrier_unreadable = !is_redirected,
            // The refusal is due to the server's state, as is that of the registration.
            Some(Err(Verdict::Refusing)) => {
                self.record_refusal();
                return Ok(());
            }
            None => {}
        }
        let is_registered = match (beat.map(verdict), registry) {
            (Some(Ok(time)), Some(registry)) => {
                self.update_clock(Ok(time), sent);
                let expires = sent + attached.registration_lifetime(self.settings.connect_timeout);
                let registry_key = registry.members.clone();
                *self.member.registration() =
                    Some(Registration { registry_number: registry.number, registry_key, expires });
                !self.is_barrier_unreadable
            }
            (Some(Err(Verdict::Broken)), _) => return Err(End::Broken),
            // A replica may be cut off from the primary that the others write to.
            (Some(Err(Verdict::Refusing)), _) => {
                self.record_refusal();
                return Ok(());
            }
            (Some(Ok(_) | Err(Verdict::Sound)) | None, _) => false,
        };
        self.record_registration(&plan, is_registered, runs_no_scripts);
        if plan.switches_mode && self.is_noloop_suspended() && !self.is_calm(sent) {
            // The server does not accept `NOLOOP`.
            self.may_use_noloop = false;
        }
        // While the server pushes own writes, requests wait for `NOLOOP`: the push about an own lease would
        // invalidate its load. Without a registry, the mode cannot be switched.
        match self.times.last_full.filter(|_| !self.is_noloop_suspended() || registry.is_none()) {
            Some(full) => self
                .link
                .set_usable_until(full + attached.registration_interval() + self.settings.connect_timeout),
            None => self.link.set_unusable(),
        }
        // An untracked feed proves nothing.
        if !self.session.is_tracking {
            if self.may_track() && self.last_tracking_attempt.elapsed() >= TRACKING_RETRY {
                let registry = plan.registry;
                self.retry_tracking(registry.as_ref()).await?;
            }
        } else if plan.advances_watermark {
            self.session.feed.advance(sent);
        }
        Ok(())
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
            self.is_unregistered = !is_registered;
        }
        if plan.is_full {
            self.times.last_full = Some(plan.sent);
        }
    }

    /// Returns whether the protocol of this connection has pushes.
    fn may_track(&self) -> bool {
        self.link.condition.facts().why.untracked != Some(TierCause::NoResp3)
    }

    /// Tries tracking again. If it works, a connection that is tracked from the start replaces this one.
    async fn retry_tracking(&mut self, registry: Option<&Registry>) -> Result<(), End> {
        self.last_tracking_attempt = Instant::now();
        let echo = registry.map(|registry| registry.echo.as_str());
        let started = trial::start(&mut self.session.connection, &self.listener, echo);
        let tracking = timeout(self.settings.connect_timeout, started).await;
        if tracking.map_err(|_| End::Broken)?.map_err(|_| End::Broken)?.0.is_on() {
            self.link.report_to_supervisor(&self.session, Verdict::Refusing);
        }
        Ok(())
    }

    /// Records that nothing is proven, and that there may be a better server.
    fn record_refusal(&self) {
        if self.session.is_tracking {
            self.session.feed.allow_grace(false);
        }
        // The server still answers reads. Their results are not proven, so they are served for the staleness
        // bound at most. The next heartbeat extends this, or registers.
        self.link.set_usable_until(Instant::now() + self.router.interval() + self.settings.connect_timeout);
        self.link.condition.update(|facts| {
            facts.refusing = true;
            facts.why.refusing = self.refusal.clone().or(Some(TierCause::ClusterDown));
        });
        self.link.report(&self.session, Verdict::Refusing);
    }

    fn ack_delay(&self) -> Option<AckDelay> {
        let (is_tracking, previous_end) = (self.session.is_tracking, self.link.previous_end());
        self.router.attached().map(|attached| AckDelay { bound: attached.bound(), is_tracking, previous_end })
    }
}

impl Plan {
    /// Creates the plan of a connection without a cache, which nothing depends on.
    fn without_cache(sent: Instant) -> Self {
        Self {
            sent,
            registry: None,
            reads_clock: true,
            reads_barrier: false,
            reads_evictions: false,
            advances_watermark: false,
            self_test: None,
            switches_mode: false,
            registers: false,
            is_full: false,
        }
    }
}

fn verdict<T>(reply: RedisResult<T>) -> Result<T, Verdict> {
    reply.map_err(|error: RedisError| Failure::from(error).verdict)
}

fn is_redirected<T>(reply: Option<&RedisResult<T>>) -> bool {
    matches!(reply, Some(Err(error)) if error.redirect_node().is_some())
}

/// Returns the command that reads a number, and one byte more, so that longer content shows.
pub(crate) fn number_command(key: &str) -> redis::Cmd {
    const DIGITS: usize = 20;

    redis::cmd("GETRANGE").arg(key).arg(0).arg(DIGITS).clone()
}

/// Parses a number. Other content was not written by this crate, and counts as 0.
pub(crate) fn parse_number(bytes: Option<Vec<u8>>) -> u64 {
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok()).unwrap_or(0)
}
