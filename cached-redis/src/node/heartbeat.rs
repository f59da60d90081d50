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
//! from 2 on belong to `Heartbeat::questions` and `Heartbeat::conclude`; without a cache there is a `PING`
//! instead of them.
//!
//! 1. The server's clock, and the map of the cluster.
//! 2. The barrier number. The registration of a later heartbeat acknowledges it, see `tracking::acks`.
//! 3. The eviction count, if `NOLOOP` is in use.
//! 4. The push self-test, see `tracking::echo`.
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
    availability::awaited::within,
    connect::{
        cause,
        settings::{HEARTBEAT, LONGEST, Settings, millis},
    },
    node::{link::Link, session::Session},
    protocol::{
        batch::{Batch, Replies},
        failure::{Failure, Verdict},
        random,
        scripts::BEAT,
    },
    tracking::{
        acks::{AckDelay, BarrierAcks},
        attachment::{AttachedCache, Registry},
        cluster_view::OwnedSlots,
        echo::{Echo, SelfTest},
        mode::Tracking,
        push::{PushListener, PushRouter},
        trial,
    },
};

/// Lifetime of the registry after the last process has ended.
pub(crate) const KEEP_MEMBERS: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Interval at which the lifetime of the registry is renewed.
const KEEP_AGAIN: Duration = Duration::from_secs(60 * 60);

/// Time without use after which a process is quiet, or calm.
const QUIET: Duration = Duration::from_secs(5);

/// Interval of the connection checks while there is no use for the watermark.
const SIGN_OF_LIFE: Duration = Duration::from_secs(20);

/// Interval at which an untracked connection tries tracking again.
const TRY_AGAIN: Duration = Duration::from_secs(3);

/// This process among the processes that share a namespace.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: String,
    registration: Mutex<Option<Registration>>,
    /// Set when the process deregisters: it registers no more.
    is_leaving: AtomicBool,
}

/// The registration of a process.
#[derive(Clone, Debug)]
struct Registration {
    post: usize,
    /// Key of the registry.
    members: String,
    /// Expiry, by the clock of this process.
    until: Instant,
}

impl Member {
    pub(crate) fn new(id: String) -> Self {
        Self { id, registration: Mutex::new(None), is_leaving: AtomicBool::new(false) }
    }

    /// Returns the number of the registry that must contain this process, unless that registry was lost.
    pub(crate) fn registered_at(&self) -> Option<usize> {
        self.registration().as_ref().filter(|own| Instant::now() < own.until).map(|own| own.post)
    }

    /// Prevents further registrations, and returns the command that removes the current one, if any.
    pub(crate) fn leave(&self) -> Option<redis::Cmd> {
        self.is_leaving.store(true, Ordering::Release);
        let registration = self.registration().take().filter(|own| Instant::now() < own.until)?;
        Some(redis::cmd("HDEL").arg(registration.members).arg(&self.id).clone())
    }

    fn registration(&self) -> MutexGuard<'_, Option<Registration>> {
        self.registration.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns a unique name for a process.
pub(crate) fn identity() -> String {
    format!("{:016x}{:016x}", random::number(), random::number())
}

/// The heartbeat of one connection.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Heartbeat {
    pub(crate) settings: Arc<Settings>,
    pub(crate) link: Arc<Link>,
    pub(crate) watch: Arc<PushRouter>,
    pub(crate) member: Arc<Member>,
    pub(crate) session: Session,
    pub(crate) ear: Arc<PushListener>,
    pub(crate) tracking: Tracking,
    /// Set if `NOLOOP` may be used, so that own writes are not tracked.
    pub(crate) may_narrow: bool,
    pub(crate) echo: Echo,
    pub(crate) times: Times,
    /// Last attempt to start tracking.
    pub(crate) last_try: Instant,
    pub(crate) readings: BarrierAcks,
    /// Set if the server does not permit reading the barrier key. A process that cannot acknowledge barriers
    /// must not register.
    pub(crate) is_blind: bool,
    /// Set if the server rejected the last registration. Each heartbeat retries it, so that the process
    /// recovers soon after the server does.
    pub(crate) is_unregistered: bool,
    /// Set until the first heartbeat over this connection has been answered.
    pub(crate) is_first: bool,
    /// Slots of the server, if it is in a cluster.
    pub(crate) slots: Option<Box<dyn OwnedSlots>>,
    /// Number of the current registry, if the server is in a cluster.
    pub(crate) post: Option<usize>,
    /// Set if RESP2 is in use only because the server did not support RESP3.
    pub(crate) is_makeshift: bool,
    /// Most important refusal of the last heartbeat.
    pub(crate) refusal: Option<TierCause>,
}

/// Times of the events that determine the schedule.
#[derive(Debug)]
pub(crate) struct Times {
    /// Last request over the connection.
    asked: Instant,
    /// Last request, or last use of a watermark to serve an entry from memory.
    wanted: Instant,
    /// Last answered heartbeat that was full, which means that it registers if it may.
    full: Option<Instant>,
    /// Last attempt to advance the watermark, or to do other work that is due as often.
    tried: Instant,
    /// Last heartbeat with a passed self-test of the pushes.
    heard: Option<Instant>,
    /// Last renewal of the registry's lifetime.
    kept: Option<Instant>,
    /// Last reading of the server's clock.
    clock: Option<Instant>,
}

impl Times {
    pub(crate) fn new(now: Instant) -> Self {
        Self { asked: now, wanted: now, tried: now, full: None, heard: None, kept: None, clock: None }
    }
}

/// Contents of one heartbeat.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a question of its own")]
struct Plan {
    sent: Instant,
    post: Option<Registry>,
    asks_time: bool,
    reads_poke: bool,
    /// Reads the eviction count.
    asks_evicted: bool,
    /// Advances the watermark if all is well.
    proves: bool,
    /// Self-test of the pushes.
    echo: Option<SelfTest>,
    /// Switches to the other tracking mode.
    turns: bool,
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
    pub(crate) async fn keep(&mut self) -> End {
        loop {
            let began = Instant::now();
            self.link.give_sign();
            self.look_for_use(began);
            let beaten = if self.is_quiet(began) && !self.has_to_say(began) {
                self.check().await
            } else {
                self.beat().await
            };
            if let Err(end) = beaten {
                return end;
            }
            self.rest(began).await;
        }
    }

    /// Waits until the next heartbeat is due. An urgent event notifies `pulse`.
    async fn rest(&mut self, began: Instant) {
        loop {
            let now = Instant::now();
            let (is_quiet, is_calm) = (self.is_quiet(now), self.is_calm(now));
            self.link.set_calm(is_calm);
            // Only after `set_calm`: a later request wakes a calm heartbeat.
            let is_asked = self.look_for_use(now);
            let is_over = (is_quiet && !self.is_quiet(now)) || (is_asked && is_calm && self.is_wide());
            let pause = self.due(began, is_quiet).saturating_duration_since(now);
            if is_over || pause.is_zero() {
                return;
            }
            if timeout(pause.min(HEARTBEAT), self.watch.pulse.notified()).await.is_ok() {
                return;
            }
            self.link.give_sign();
        }
    }

    fn due(&self, began: Instant, is_quiet: bool) -> Instant {
        let mut next = if is_quiet { began + SIGN_OF_LIFE } else { self.times.tried + self.watch.interval() };
        if self.may_say(is_quiet)
            && let Some(due) = self.delay().and_then(|delay| self.readings.due(delay))
        {
            next = next.min(due);
        }
        if let Some(due) = self.link.gate.probe_due() {
            next = next.min(due);
        }
        next
    }

    /// Returns whether anything was requested since the last call. Also records uses of the watermark.
    fn look_for_use(&mut self, now: Instant) -> bool {
        let is_asked = self.link.take_use();
        // A load under way counts as a request, since it writes its lease.
        if is_asked || self.watch.has_loads() {
            self.times.asked = now;
        }
        if self.watch.take_use() || is_asked {
            self.times.wanted = now;
        }
        is_asked
    }

    /// Returns whether there was no use for watermarks lately.
    ///
    /// An untracked connection is never quiet, since only polling detects new barriers. Neither is one with
    /// an open breaker, since heartbeats probe whether the server is fast again.
    fn is_quiet(&self, now: Instant) -> bool {
        let is_told = self.watch.attached().is_none() || self.session.is_tracking;
        // If no scripts run, only a heartbeat detects that they run again.
        let is_of_use = !self.link.condition.runs_no_scripts();
        is_told
            && is_of_use
            && !self.link.gate.is_open()
            && now.saturating_duration_since(self.times.wanted) >= QUIET
    }

    /// Returns whether nothing was requested lately and no load is under way.
    ///
    /// A calm process has not written anything either.
    fn is_calm(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.times.asked) >= QUIET
    }

    /// Returns whether own writes are pushed although `NOLOOP` may be used.
    fn is_wide(&self) -> bool {
        self.may_narrow && self.tracking == Tracking::All
    }

    /// Returns whether other processes wait for acknowledgements of this one.
    fn may_say(&self, is_quiet: bool) -> bool {
        // A process that does not register acknowledges nothing, and the others ignore an expired
        // registration.
        self.registers() && (!is_quiet || self.member.registered_at().is_some())
    }

    fn has_to_say(&self, now: Instant) -> bool {
        self.may_say(true) && (self.watch.is_poked() || self.has_news(now))
    }

    /// Returns whether another barrier number may be acknowledged.
    fn has_news(&self, now: Instant) -> bool {
        self.delay().and_then(|delay| self.readings.due(delay)).is_some_and(|due| due <= now)
    }

    /// Checks that the connection still works.
    async fn check(&mut self) -> Result<(), End> {
        if !self.may_say(true) {
            self.watch.take_poke();
        }
        let sent = Instant::now();
        let (mut replies, was_late) = self.ask(Batch::of(redis::cmd("TIME")), sent).await?;
        self.learn_time(replies.next(), sent);
        self.tell_beaten(sent, was_late);
        Ok(())
    }

    /// Sends a batch, and returns the replies and whether this process itself was late.
    ///
    /// If it was late, the replies do not show how long the server took.
    async fn ask(&mut self, batch: Batch, sent: Instant) -> Result<(Replies, bool), End> {
        // A large value may precede the batch. The limit keeps the supervisor's signs of life frequent
        // enough.
        let before = self.link.transfers.time().min(self.settings.sign_of_life() / 2);
        let mut answers = pin!(batch.send(&mut self.session.connection));
        // The budget of a caller, since the reply decides whether the breaker admits callers.
        let budget = self.settings.read_timeout.min(self.settings.check_timeout);
        let (in_time, vigil) = within(answers.as_mut(), sent, budget).await;
        let was_late = vigil.was_late(Instant::now());
        let answers = match in_time {
            Some(answers) => answers,
            None => timeout_at((sent + self.settings.check_timeout + before).into(), answers)
                .await
                .map_err(|_| End::Broken)?,
        };
        answers.map(|replies| (replies, was_late)).map_err(|_| End::Broken)
    }

    /// Records the server's time. Without the right to use `TIME`, `PTTL` is queried for each value instead.
    #[allow(clippy::needless_pass_by_value, reason = "an answer is read once")]
    fn learn_time(&mut self, time: RedisResult<(u64, u64)>, sent: Instant) {
        if let Ok(time) = time {
            self.session.clock.learn(time, sent);
            self.times.clock = Some(sent);
        }
    }

    fn tell_beaten(&self, sent: Instant, was_late: bool) {
        if self.link.beaten(sent, was_late) {
            // The cache resends the invalidations that could not be delivered.
            self.watch.restored();
        }
    }

    /// Keeps the connection, but starts a new change feed for later reads.
    pub(crate) fn renew_line(&mut self) {
        self.session = self.link.renew(&self.session);
        (self.readings, self.times.full) = (BarrierAcks::default(), None);
    }

    /// Sends one heartbeat. Returns `Ok` if there was a reply, even if it is an error.
    pub(crate) async fn beat(&mut self) -> Result<(), End> {
        self.survey().await?;
        let sent = Instant::now();
        if planted!("proof-before-drain") {
            self.session.line.prove(sent);
        }
        let watch = Arc::clone(&self.watch);
        let attached = watch.attached();
        let mut batch = Batch::new();
        let plan = match attached {
            Some(attached) => self.questions(attached, &mut batch, sent),
            None => {
                self.times.tried = sent;
                Plan::alone(sent)
            }
        };
        let mut questions = Batch::new();
        if plan.asks_time {
            questions.add(redis::cmd("TIME"));
        }
        if let Some(slots) = &self.slots {
            slots.ask(&mut questions);
        }
        if attached.is_none() {
            questions.add(redis::cmd("PING"));
        }
        questions.append(batch);
        let (mut replies, was_late) = self.ask(questions, sent).await?;
        let refusals: Vec<_> = replies.refusals().collect();
        let of_state = refusals.iter().find(|refusal| Verdict::of(refusal) == Verdict::Refusing);
        // The last refusal is the one of the registration, if it was refused.
        self.refusal = of_state.or(refusals.last()).map(|refusal| cause::of_refusal(refusal));
        if plan.asks_time {
            self.learn_time(replies.next(), sent);
        }
        self.tell_beaten(sent, was_late);
        match self.slots.as_mut().map(|slots| slots.has_changed(&mut replies)) {
            Some(None) => {
                if plan.turns {
                    self.tracking.lose_turn();
                }
                self.refuse();
                return Ok(());
            }
            Some(Some(true)) => {
                if plan.turns {
                    self.tracking.lose_turn();
                }
                self.survey().await?;
            }
            Some(Some(false)) | None => {}
        }
        match attached {
            Some(attached) => self.conclude(attached, plan, &mut replies).await?,
            None => {
                self.note(verdict(replies.next::<Value>()).err());
                // There are no other processes to register with.
                self.link.tend(sent + LONGEST);
            }
        }
        self.is_first = false;
        Ok(())
    }

    /// Surveys the slots of the server, unless they are known.
    ///
    /// Lost slots belong to another server, and no push reports their keys one by one.
    async fn survey(&mut self) -> Result<(), End> {
        let Some(slots) = &mut self.slots else { return Ok(()) };
        let surveyed = timeout(self.settings.connect_timeout, slots.survey(&mut self.session.connection));
        let has_lost = surveyed.await.map_err(|_| End::Broken)?.map_err(|_| End::Broken)?;
        if has_lost { Err(End::Moved) } else { Ok(()) }
    }

    /// Returns the registry of this process.
    fn post(&mut self, attached: &AttachedCache) -> Option<Registry> {
        let Some(slots) = &mut self.slots else { return Some(attached.post.clone()) };
        let post = slots.post();
        let number = post.as_ref().map(|post| post.number);
        if number != self.post {
            // Barrier numbers of another registry do not apply here.
            (self.post, self.readings) = (number, BarrierAcks::default());
            (self.echo, self.times.full) = (Echo::default(), None);
        }
        post
    }

    /// Returns whether this process registers.
    ///
    /// It does not over an untracked connection while the breaker is open. Then earlier entries are served
    /// for the outage grace, and no pushes report their changes, so a barrier that was read is not handled.
    /// The registration expires as it does without a connection.
    fn registers(&self) -> bool {
        let may_serve_unheard = !self.session.is_tracking && self.link.gate.is_open();
        let is_leaving = self.member.is_leaving.load(Ordering::Acquire);
        !self.is_blind && !is_leaving && !may_serve_unheard && !planted!("member-not-registered")
    }

    /// Records whether the server answers, for a connection without a cache.
    fn note(&self, verdict: Option<Verdict>) {
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
    fn questions(&mut self, attached: &AttachedCache, batch: &mut Batch, now: Instant) -> Plan {
        let is_over = |last: Option<Instant>, pause| last.is_none_or(|last| now >= last + pause);
        let post = self.post(attached);
        let is_poked = self.watch.take_poke();
        let is_full = is_over(self.times.full, attached.term())
            || self.watch.take_loss()
            || self.is_unregistered
            || self.link.condition.runs_no_scripts();
        let is_tracking = self.session.is_tracking;
        let registers = post.is_some() && self.registers() && (is_full || self.has_news(now));
        let reads_poke = post.is_some() && (is_full || is_poked || !is_tracking);
        let wants_other =
            if self.tracking.is_partial() { self.is_calm(now) } else { self.is_wide() && !self.is_calm(now) };
        // A heartbeat that only acknowledges barriers need not advance the watermark if that was done just
        // now. It must not delay a request that waits for `NOLOOP`, though.
        let is_answer = !is_full
            && (is_poked || registers)
            && !(wants_other && self.is_wide())
            && !is_over(self.times.heard, self.watch.interval());
        let proves = is_tracking && !is_answer;
        if !is_answer {
            self.times.tried = now;
        }
        let mut plan = Plan {
            sent: now,
            proves,
            asks_time: is_over(self.times.clock, 2 * attached.term()),
            reads_poke,
            asks_evicted: self.tracking.is_partial() && (proves || reads_poke),
            echo: None,
            turns: proves && wants_other,
            registers,
            is_full,
            post,
        };
        if let Some(post) = plan.post.as_ref().filter(|_| plan.reads_poke) {
            batch.add(number_at(&post.poke));
        }
        if plan.asks_evicted {
            Tracking::ask(batch);
        }
        let Some(post) = &plan.post else { return Plan { turns: false, ..plan } };
        if proves {
            if self.ear.has_echoed() {
                // Another cause has changed the key, or all keys, so the server does not push the next
                // change.
                self.echo.is_told();
            }
            self.ear.forget();
            plan.echo = Some(self.echo.ask(batch, &self.tracking, &post.echo, is_full, now));
        }
        if plan.turns {
            self.tracking.ask_to_turn(batch);
        }
        if plan.registers {
            let handled = self.delay().map_or(0, |delay| self.readings.handled(delay, now));
            if handled > 0 {
                self.link.withdraw_grace();
            }
            let reach = attached.reach(self.settings.connect_timeout);
            let keep = reach.saturating_add(KEEP_MEMBERS);
            let registered = u8::from(self.member.registered_at() == Some(post.number));
            let keeps = is_over(self.times.kept, KEEP_AGAIN);
            self.times.kept = if keeps { Some(now) } else { self.times.kept };
            let args = (&self.member.id, millis(reach), handled, registered, millis(keep), u8::from(keeps));
            batch.add_script(&BEAT, &post.members, args);
        }
        plan
    }

    async fn conclude(
        &mut self,
        attached: &AttachedCache,
        plan: Plan,
        replies: &mut Replies,
    ) -> Result<(), End> {
        let Plan { sent, ref post, .. } = plan;
        let poke = plan.reads_poke.then(|| replies.next::<Option<Vec<u8>>>());
        let mut has_missed = plan.asks_evicted && self.tracking.has_missed(replies);
        let is_echo_due = plan.echo.as_ref().map(|asked| self.echo.is_due(replies, asked));
        if plan.turns {
            has_missed |= self.tracking.turn(replies);
        }
        if has_missed {
            self.may_narrow = false;
            if self.tracking.is_partial() {
                let widened = self.tracking.widen(&mut self.session.connection);
                let widened = timeout(self.settings.connect_timeout, widened).await;
                widened.map_err(|_| End::Broken)?.map_err(|_| End::Broken)?;
            }
            // Only after the switch: evictions until then were not pushed either.
            self.watch.all_changed();
        }
        match is_echo_due {
            // Pushes since the last heartbeat were lost. The next connection shows whether it is any better.
            Some(Ok(true)) if !self.ear.has_echoed() => return Err(End::Broken),
            Some(Err(Verdict::Broken)) => return Err(End::Broken),
            Some(Err(_)) => {
                self.refuse();
                return Ok(());
            }
            Some(Ok(_)) => {
                self.times.heard = Some(sent);
                self.ear.forget();
            }
            None => {}
        }
        let beat = plan.registers.then(|| replies.next::<(u64, u64)>());
        let refused = beat.as_ref().and_then(|beat| beat.as_ref().err()).map(cause::of_error);
        let runs_no_scripts = refused.is_some_and(|cause| cause::is_of_scripts(&cause));
        // A registry moves with its slot; the server may hold another one.
        let is_redirected = is_redirected(poke.as_ref()) || is_redirected(beat.as_ref());
        if is_redirected && let Some(slots) = &mut self.slots {
            slots.choose_another_post();
        }
        match poke.map(verdict) {
            Some(Ok(poke)) => {
                self.is_blind = false;
                self.readings.read(number(poke), Instant::now());
            }
            Some(Err(Verdict::Broken)) => return Err(End::Broken),
            Some(Err(Verdict::Sound)) => self.is_blind = !is_redirected,
            // The refusal is due to the server's state, as is that of the registration.
            Some(Err(Verdict::Refusing)) => {
                self.refuse();
                return Ok(());
            }
            None => {}
        }
        let is_registered = match (beat.map(verdict), post) {
            (Some(Ok(time)), Some(post)) => {
                self.learn_time(Ok(time), sent);
                let until = sent + attached.reach(self.settings.connect_timeout);
                let members = post.members.clone();
                *self.member.registration() = Some(Registration { post: post.number, members, until });
                !self.is_blind
            }
            (Some(Err(Verdict::Broken)), _) => return Err(End::Broken),
            // A replica may be cut off from the primary that the others write to.
            (Some(Err(Verdict::Refusing)), _) => {
                self.refuse();
                return Ok(());
            }
            (Some(Ok(_) | Err(Verdict::Sound)) | None, _) => false,
        };
        self.note_registration(&plan, is_registered, runs_no_scripts);
        if plan.turns && self.is_wide() && !self.is_calm(sent) {
            // The server does not accept `NOLOOP`.
            self.may_narrow = false;
        }
        // While the server pushes own writes, requests wait for `NOLOOP`: the push about an own lease would
        // invalidate its load. Without a registry, the mode cannot be switched.
        match self.times.full.filter(|_| !self.is_wide() || post.is_none()) {
            Some(full) => self.link.tend(full + attached.term() + self.settings.connect_timeout),
            None => self.link.untend(),
        }
        // An untracked feed proves nothing.
        if !self.session.is_tracking {
            if self.tracking_may_begin() && self.last_try.elapsed() >= TRY_AGAIN {
                let post = plan.post;
                self.try_again(post.as_ref()).await?;
            }
        } else if plan.proves {
            self.session.line.prove(sent);
        }
        Ok(())
    }

    /// Records that the server has answered all commands, and whether it has registered this process.
    fn note_registration(&mut self, plan: &Plan, is_registered: bool, runs_no_scripts: bool) {
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
                self.session.line.allow_grace(may_have_grace);
            }
        }
        if plan.registers {
            self.is_unregistered = !is_registered;
        }
        if plan.is_full {
            self.times.full = Some(plan.sent);
        }
    }

    /// Returns whether the protocol of this connection has pushes.
    fn tracking_may_begin(&self) -> bool {
        self.link.condition.facts().why.deaf != Some(TierCause::NoResp3)
    }

    /// Tries tracking again. If it works, a connection that is tracked from the start replaces this one.
    async fn try_again(&mut self, post: Option<&Registry>) -> Result<(), End> {
        self.last_try = Instant::now();
        let echo = post.map(|post| post.echo.as_str());
        let started = trial::start(&mut self.session.connection, &self.ear, echo);
        let tracking = timeout(self.settings.connect_timeout, started).await;
        if tracking.map_err(|_| End::Broken)?.map_err(|_| End::Broken)?.0.is_on() {
            self.link.note(&self.session, Verdict::Refusing);
        }
        Ok(())
    }

    /// Records that nothing is proven, and that there may be a better server.
    fn refuse(&self) {
        if self.session.is_tracking {
            self.session.line.allow_grace(false);
        }
        // The server still answers reads. Their results are not proven, so they are served for the staleness
        // bound at most. The next heartbeat extends this, or registers.
        self.link.tend(Instant::now() + self.watch.interval() + self.settings.connect_timeout);
        self.link.condition.update(|facts| {
            facts.refusing = true;
            facts.why.refusing = self.refusal.clone().or(Some(TierCause::ClusterDown));
        });
        self.link.report(&self.session, Verdict::Refusing);
    }

    fn delay(&self) -> Option<AckDelay> {
        let (is_tracking, last_end) = (self.session.is_tracking, self.link.last_end());
        self.watch.attached().map(|attached| AckDelay { bound: attached.bound(), is_tracking, last_end })
    }
}

impl Plan {
    /// Creates the plan of a connection without a cache, which nothing depends on.
    fn alone(sent: Instant) -> Self {
        Self {
            sent,
            post: None,
            asks_time: true,
            reads_poke: false,
            asks_evicted: false,
            proves: false,
            echo: None,
            turns: false,
            registers: false,
            is_full: false,
        }
    }
}

fn verdict<T>(answer: RedisResult<T>) -> Result<T, Verdict> {
    answer.map_err(|error: RedisError| Failure::from(error).verdict)
}

fn is_redirected<T>(answer: Option<&RedisResult<T>>) -> bool {
    matches!(answer, Some(Err(error)) if error.redirect_node().is_some())
}

/// Returns the command that reads a number, and one byte more, so that longer content shows.
pub(crate) fn number_at(key: &str) -> redis::Cmd {
    const DIGITS: usize = 20;

    redis::cmd("GETRANGE").arg(key).arg(0).arg(DIGITS).clone()
}

/// Parses a number. Other content was not written by this crate, and counts as 0.
pub(crate) fn number(poke: Option<Vec<u8>>) -> u64 {
    poke.and_then(|poke| String::from_utf8(poke).ok()?.parse().ok()).unwrap_or(0)
}
