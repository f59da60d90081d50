//! The heartbeat of a connection: it shows that the server answers, proves that what was read still holds, and
//! registers this process with the others.
//!
//! It costs what it is of use for. While entries are served from memory or anything is asked, there is a proof every three
//! quarters of the bound, and a registration every few seconds. While there is no use for proofs, the connection is asked every
//! 20 seconds whether it is still there, and nothing else: what is in memory is not served then without a question, and the
//! first question waits for a heartbeat that registers.

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
        acks::{Delay, Readings},
        attachment::{Attached, Post},
        cluster_view::OwnedSlots,
        echo::{Asked, Echo},
        mode::Tracking,
        push::{Ear, Watch},
        trial,
    },
};

/// How long the register is kept when nobody is there any more.
pub(crate) const KEEP_MEMBERS: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How often it is said for how long.
const KEEP_AGAIN: Duration = Duration::from_secs(60 * 60);

/// After how long without use a heartbeat proves nothing any more, until there is use for it again.
const QUIET: Duration = Duration::from_secs(5);

/// How often a connection is checked then.
const SIGN_OF_LIFE: Duration = Duration::from_secs(20);

/// How long a connection that tells nothing serves until it is tried again whether it does.
const TRY_AGAIN: Duration = Duration::from_secs(3);

/// This process among those that share a namespace.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: String,
    registration: Mutex<Option<Registration>>,
    /// It takes leave, and registers no more.
    is_leaving: AtomicBool,
}

/// Where a process stands in the register.
#[derive(Clone, Debug)]
struct Registration {
    post: usize,
    /// The key of the register.
    members: String,
    /// By the clock of this process.
    until: Instant,
}

impl Member {
    pub(crate) fn new(id: String) -> Self {
        Self { id, registration: Mutex::new(None), is_leaving: AtomicBool::new(false) }
    }

    /// At which post it must stand in the register, unless that was lost.
    pub(crate) fn registered_at(&self) -> Option<usize> {
        self.registration().as_ref().filter(|own| Instant::now() < own.until).map(|own| own.post)
    }

    /// Takes leave: what removes it from the register, if it stands there.
    pub(crate) fn leave(&self) -> Option<redis::Cmd> {
        self.is_leaving.store(true, Ordering::Release);
        let registration = self.registration().take().filter(|own| Instant::now() < own.until)?;
        Some(redis::cmd("HDEL").arg(registration.members).arg(&self.id).clone())
    }

    fn registration(&self) -> MutexGuard<'_, Option<Registration>> {
        self.registration.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name that nobody else has.
pub(crate) fn identity() -> String {
    format!("{:016x}{:016x}", random::number(), random::number())
}

/// The heartbeat of one connection.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Heartbeat {
    pub(crate) settings: Arc<Settings>,
    pub(crate) link: Arc<Link>,
    pub(crate) watch: Arc<Watch>,
    pub(crate) member: Arc<Member>,
    pub(crate) session: Session,
    pub(crate) ear: Arc<Ear>,
    pub(crate) tracking: Tracking,
    /// Whether it may track less than everything.
    pub(crate) may_narrow: bool,
    pub(crate) echo: Echo,
    pub(crate) times: Times,
    /// When it was last tried to have the server tell what changes.
    pub(crate) last_try: Instant,
    pub(crate) readings: Readings,
    /// Whether the server does not let us read the poke. A process that cannot say what it has handled must not register.
    pub(crate) is_blind: bool,
    /// Whether the server did not take the last registration. It is tried again with each heartbeat, so that all is well soon after
    /// it may be.
    pub(crate) is_unregistered: bool,
    /// Whether nothing was asked over this connection yet.
    pub(crate) is_first: bool,
    /// What the server has of its cluster, if it is in one.
    pub(crate) slots: Option<Box<dyn OwnedSlots>>,
    /// Where this process registered the last time, if its server is in a cluster.
    pub(crate) post: Option<usize>,
    /// Whether it speaks an older protocol only because the server did not know the newer one.
    pub(crate) is_makeshift: bool,
    /// What weighs most of what the server refused at the last beat.
    pub(crate) refusal: Option<TierCause>,
}

/// When what was.
#[derive(Debug)]
pub(crate) struct Times {
    /// Something was last asked over the connection.
    asked: Instant,
    /// That, or entries in memory were served on a proof.
    wanted: Instant,
    /// A heartbeat that registers, if it may, was last sent and answered.
    full: Option<Instant>,
    /// A proof was last asked for, or whatever else is done as often.
    tried: Instant,
    /// The server was last seen to tell.
    heard: Option<Instant>,
    /// It was last said how long the register is kept.
    kept: Option<Instant>,
    /// The server last said what time it is.
    clock: Option<Instant>,
}

impl Times {
    pub(crate) fn new(now: Instant) -> Self {
        Self { asked: now, wanted: now, tried: now, full: None, heard: None, kept: None, clock: None }
    }
}

/// What a heartbeat asks.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a question of its own")]
struct Plan {
    sent: Instant,
    post: Option<Post>,
    asks_time: bool,
    reads_poke: bool,
    /// Asks what was evicted.
    asks_evicted: bool,
    /// What is read over the connection is proven if all is well.
    proves: bool,
    /// Has the server tell of a change.
    echo: Option<Asked>,
    /// Has it track in the other mode from then on.
    turns: bool,
    registers: bool,
    /// All that has to be done every few seconds.
    is_full: bool,
}

/// Why a heartbeat ends.
#[derive(Debug)]
pub(crate) enum End {
    /// The connection does not work any more.
    Broken,
    /// It works, but some of what was read over it is another server's now.
    Moved,
}

impl Heartbeat {
    /// Beats until the connection is broken, or proves nothing any more of what was read.
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

    /// Waits until the next heartbeat is due. What wants one at once says so.
    async fn rest(&mut self, began: Instant) {
        loop {
            let now = Instant::now();
            let (is_quiet, is_calm) = (self.is_quiet(now), self.is_calm(now));
            self.link.set_calm(is_calm);
            // Only now: what is asked after this wakes a calm heartbeat.
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

    /// Whether anything was asked over the connection since the last look. What was served on a proof is noted as well.
    fn look_for_use(&mut self, now: Instant) -> bool {
        let is_asked = self.link.take_use();
        // A load that is under way has a lease, which it writes.
        if is_asked || self.watch.has_loads() {
            self.times.asked = now;
        }
        if self.watch.take_use() || is_asked {
            self.times.wanted = now;
        }
        is_asked
    }

    /// Whether there was no use for proofs lately. Over a connection that tells nothing, only looking shows what others want to
    /// know; and while the breaker is open, it is asked whether the server is as fast as before.
    fn is_quiet(&self, now: Instant) -> bool {
        let is_told = self.watch.attached().is_none() || self.session.is_tracking;
        // Whether scripts run by now, only a heartbeat finds out.
        let is_of_use = !self.link.condition.runs_no_scripts();
        is_told
            && is_of_use
            && !self.link.gate.is_open()
            && now.saturating_duration_since(self.times.wanted) >= QUIET
    }

    /// Whether nothing was asked lately and no load is under way, so that this process has written nothing either.
    fn is_calm(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.times.asked) >= QUIET
    }

    /// Whether it is told of what it writes itself, and need not be.
    fn is_wide(&self) -> bool {
        self.may_narrow && self.tracking == Tracking::All
    }

    /// Whether the others wait for what this process says.
    fn may_say(&self, is_quiet: bool) -> bool {
        // A process that does not register has nothing to say, and of one that is not registered any more it is not asked.
        self.registers() && (!is_quiet || self.member.registered_at().is_some())
    }

    fn has_to_say(&self, now: Instant) -> bool {
        self.may_say(true) && (self.watch.is_poked() || self.has_news(now))
    }

    /// Whether there is another number to say.
    fn has_news(&self, now: Instant) -> bool {
        self.delay().and_then(|delay| self.readings.due(delay)).is_some_and(|due| due <= now)
    }

    /// Whether the connection is still there.
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

    /// The answers; and whether the process itself was late, so that they do not show how long the server took.
    async fn ask(&mut self, batch: Batch, sent: Instant) -> Result<(Replies, bool), End> {
        // A large value may be before it. The limit is for a supervisor to be known as one that runs.
        let before = self.link.transfers.time().min(self.settings.sign_of_life() / 2);
        let mut answers = pin!(batch.send(&mut self.session.connection));
        // As a caller waits, whom the breaker is to let in or not.
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

    /// A user without the right to ask for the time asks how much is left of each value.
    #[allow(clippy::needless_pass_by_value, reason = "an answer is read once")]
    fn learn_time(&mut self, time: RedisResult<(u64, u64)>, sent: Instant) {
        if let Ok(time) = time {
            self.session.clock.learn(time, sent);
            self.times.clock = Some(sent);
        }
    }

    fn tell_beaten(&self, sent: Instant, was_late: bool) {
        if self.link.beaten(sent, was_late) {
            // What could not be told meanwhile is told now.
            self.watch.restored();
        }
    }

    /// The connection stays, and what is read over it from now on is proven anew.
    pub(crate) fn renew_line(&mut self) {
        self.session = self.link.renew(&self.session);
        (self.readings, self.times.full) = (Readings::default(), None);
    }

    /// One heartbeat; `Ok` if there was an answer, even if it is an error.
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
        // The registration comes last.
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

    /// Finds out what the server has of its cluster, unless that is known. What it does not have any more is another one's,
    /// and nobody says so of each key.
    async fn survey(&mut self) -> Result<(), End> {
        let Some(slots) = &mut self.slots else { return Ok(()) };
        let surveyed = timeout(self.settings.connect_timeout, slots.survey(&mut self.session.connection));
        let has_lost = surveyed.await.map_err(|_| End::Broken)?.map_err(|_| End::Broken)?;
        if has_lost { Err(End::Moved) } else { Ok(()) }
    }

    /// Where this process registers.
    fn post(&mut self, attached: &Attached) -> Option<Post> {
        let Some(slots) = &mut self.slots else { return Some(attached.post.clone()) };
        let post = slots.post();
        let number = post.as_ref().map(|post| post.number);
        if number != self.post {
            // Another one's number says nothing here.
            (self.post, self.readings) = (number, Readings::default());
            (self.echo, self.times.full) = (Echo::default(), None);
        }
        post
    }

    /// Whether this process registers. Over a connection that tells nothing it does not while Redis is not asked because it
    /// is slow: what was read before is served for the grace then, and its changes are not heard of, so that
    /// reading the poke does not mean to have handled it. As without a connection, its registration runs out.
    fn registers(&self) -> bool {
        let may_serve_unheard = !self.session.is_tracking && self.link.gate.is_open();
        let is_leaving = self.member.is_leaving.load(Ordering::Acquire);
        !self.is_blind && !is_leaving && !may_serve_unheard && !planted!("member-not-registered")
    }

    /// Notes whether the server answers, of a connection without a cache.
    fn note(&self, verdict: Option<Verdict>) {
        let is_refusing = verdict == Some(Verdict::Refusing);
        // It may refuse to write all the same, and only another connection leads to another server.
        if is_refusing || self.is_first {
            self.link.condition.update(|facts| {
                facts.refusing = is_refusing;
                facts.why.refusing.clone_from(&self.refusal);
            });
        }
    }

    /// What is asked now.
    fn questions(&mut self, attached: &Attached, batch: &mut Batch, now: Instant) -> Plan {
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
        // What only answers others need not prove anything, if that was done just now. A question that waits for the other mode is
        // not kept waiting by that.
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
                // Something else has changed the key, or everything, so that this connection is not told of the next change.
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

    async fn conclude(&mut self, attached: &Attached, plan: Plan, replies: &mut Replies) -> Result<(), End> {
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
            // Only now: what the server evicted until then was not told either.
            self.watch.all_changed();
        }
        match is_echo_due {
            // What was told since the last heartbeat was not heard. The next connection finds out whether it is any better.
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
        // A post moves with its slot; there may be another one.
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
            // It speaks of the server's state, and so does the other answer.
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
            // A replica may be cut off from where others write.
            (Some(Err(Verdict::Refusing)), _) => {
                self.refuse();
                return Ok(());
            }
            (Some(Ok(_) | Err(Verdict::Sound)) | None, _) => false,
        };
        self.note_registration(&plan, is_registered, runs_no_scripts);
        if plan.turns && self.is_wide() && !self.is_calm(sent) {
            // The server does not do without.
            self.may_narrow = false;
        }
        // While the server tells what this process writes itself, a question waits until it does not: the word about a lease of
        // one's own would overtake the load. Without a post the server has nothing to turn with.
        match self.times.full.filter(|_| !self.is_wide() || post.is_none()) {
            Some(full) => self.link.tend(full + attached.term() + self.settings.connect_timeout),
            None => self.link.untend(),
        }
        // A line that tells nothing proves nothing.
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

    /// Notes that the server has answered all that was asked, and whether it has this process in the register.
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
            // What a line that tells nothing may serve, it does not prove.
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

    /// Whether the protocol of this connection has a way to tell.
    fn tracking_may_begin(&self) -> bool {
        self.link.condition.facts().why.deaf != Some(TierCause::NoResp3)
    }

    /// Whether the server tells now what changes; then a connection that is told everything from its beginning takes the place
    /// of this one.
    async fn try_again(&mut self, post: Option<&Post>) -> Result<(), End> {
        self.last_try = Instant::now();
        let echo = post.map(|post| post.echo.as_str());
        let started = trial::start(&mut self.session.connection, &self.ear, echo);
        let tracking = timeout(self.settings.connect_timeout, started).await;
        if tracking.map_err(|_| End::Broken)?.map_err(|_| End::Broken)?.0.is_on() {
            self.link.note(&self.session, Verdict::Refusing);
        }
        Ok(())
    }

    /// Nothing is proven, and there may be a better server.
    fn refuse(&self) {
        if self.session.is_tracking {
            self.session.line.allow_grace(false);
        }
        // It still answers reads. What they find is not proven, and so is served for the bound at most. The next heartbeat says so
        // again, or registers.
        self.link.tend(Instant::now() + self.watch.interval() + self.settings.connect_timeout);
        self.link.condition.update(|facts| {
            facts.refusing = true;
            facts.why.refusing = self.refusal.clone().or(Some(TierCause::ClusterDown));
        });
        self.link.report(&self.session, Verdict::Refusing);
    }

    fn delay(&self) -> Option<Delay> {
        let (is_tracking, last_end) = (self.session.is_tracking, self.link.last_end());
        self.watch.attached().map(|attached| Delay { bound: attached.bound(), is_tracking, last_end })
    }
}

impl Plan {
    /// That of a connection without a cache: nothing stands on it.
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

/// Asks for a number, or for so much that it shows that there is none.
pub(crate) fn number_at(key: &str) -> redis::Cmd {
    const DIGITS: usize = 20;

    redis::cmd("GETRANGE").arg(key).arg(0).arg(DIGITS).clone()
}

/// What is no number was not written by any of us.
pub(crate) fn number(poke: Option<Vec<u8>>) -> u64 {
    poke.and_then(|poke| String::from_utf8(poke).ok()?.parse().ok()).unwrap_or(0)
}
