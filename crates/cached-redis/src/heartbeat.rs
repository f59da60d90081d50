//! The heartbeat of a connection: it shows that the server answers, proves that what was read still holds, and
//! registers this process with the others.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use cached_core::{TierCause, planted};
use redis::{RedisError, RedisResult, Value};
use tokio::time::timeout;

use crate::{
    batch::{Batch, Replies},
    cause,
    cluster::Territory,
    echo,
    failure::{Failure, Verdict},
    link::{Link, Session},
    random,
    readings::{Delay, Readings},
    scripts::BEAT,
    settings::{Settings, millis},
    tracking::Tracking,
    watch::{Attached, Ear, Post, Watch},
};

/// How long the register is kept when nobody is there any more.
pub(crate) const KEEP_MEMBERS: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How long a connection that tells nothing serves until it is tried again whether it does.
const TRY_AGAIN: Duration = Duration::from_secs(3);

/// This process among those that share a namespace.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: String,
    /// At which post it stands in the register, and until when by the clock of this process.
    registration: Mutex<Option<(usize, Instant)>>,
}

impl Member {
    pub(crate) fn new(id: String) -> Self {
        Self { id, registration: Mutex::new(None) }
    }

    /// At which post it must stand in the register, unless that was lost.
    pub(crate) fn registered_at(&self) -> Option<usize> {
        self.registration().filter(|(_, until)| Instant::now() < *until).map(|(post, _)| post)
    }

    fn registration(&self) -> MutexGuard<'_, Option<(usize, Instant)>> {
        self.registration.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name that nobody else has.
pub(crate) fn identity() -> String {
    format!("{:016x}{:016x}", random::number(), random::number())
}

/// The heartbeat of one connection.
pub(crate) struct Heartbeat {
    pub(crate) settings: Arc<Settings>,
    pub(crate) link: Arc<Link>,
    pub(crate) watch: Arc<Watch>,
    pub(crate) member: Arc<Member>,
    pub(crate) session: Session,
    pub(crate) ear: Arc<Ear>,
    pub(crate) tracking: Tracking,
    /// When it was last tried to have the server tell what changes.
    pub(crate) last_try: Instant,
    pub(crate) readings: Readings,
    /// Whether the server does not let us read the poke. Who cannot say what he has handled must not register.
    pub(crate) is_blind: bool,
    /// Whether nothing was asked over this connection yet.
    pub(crate) is_first: bool,
    /// What the server has of its cluster, if it is in one.
    pub(crate) territory: Option<Territory>,
    /// Where this process registered the last time, if its server is in a cluster.
    pub(crate) post: Option<usize>,
    /// Whether it speaks an older protocol only because the server did not know the newer one.
    pub(crate) is_makeshift: bool,
    /// What weighs most of what the server refused at the last beat.
    pub(crate) refusal: Option<TierCause>,
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
            if let Err(end) = self.beat().await {
                return end;
            }
            let mut next = began + self.watch.interval();
            // Who does not register has nothing to say.
            if self.registers()
                && let Some(due) = self.delay().and_then(|delay| self.readings.due(delay))
            {
                next = next.min(due);
            }
            if let Some(due) = self.link.gate.probe_due() {
                next = next.min(due);
            }
            let pause = next.saturating_duration_since(Instant::now());
            // Whoever wants a heartbeat at once says so.
            let _ = timeout(pause, self.watch.pulse.notified()).await;
        }
    }

    /// The connection stays, and what is read over it from now on is proven anew.
    pub(crate) fn renew_line(&mut self) {
        self.session = self.link.renew(&self.session);
        self.readings = Readings::default();
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
        let post = attached.and_then(|attached| self.post(attached));
        let registers = post.is_some() && self.registers();
        let mut batch = Batch::of(redis::cmd("TIME"));
        if let Some(territory) = &self.territory {
            territory.ask(&mut batch);
        }
        if attached.is_none() {
            batch.add(redis::cmd("PING"));
        }
        if let Some(attached) = attached {
            self.questions(attached, post.as_ref(), &mut batch, sent, registers);
        }
        let answers = batch.send(&mut self.session.connection);
        let answers = timeout(self.settings.connect_timeout, answers).await;
        let mut replies = answers.map_err(|_| End::Broken)?.map_err(|_| End::Broken)?;
        let refusals: Vec<_> = replies.refusals().collect();
        let of_state = refusals.iter().find(|refusal| Verdict::of(refusal) == Verdict::Refusing);
        // The registration comes last.
        self.refusal = of_state.or(refusals.last()).map(|refusal| cause::of_refusal(refusal));
        // Who may not ask for the time asks how much is left, of each value.
        if let Ok(time) = replies.next() {
            self.session.clock.learn(time, sent);
        }
        if self.link.beaten(sent) {
            // What could not be told meanwhile is told now.
            self.watch.restored();
        }
        match self.territory.as_mut().map(|territory| territory.has_changed(&mut replies)) {
            Some(None) => {
                self.refuse();
                return Ok(());
            }
            Some(Some(true)) => self.survey().await?,
            Some(Some(false)) | None => {}
        }
        match attached {
            Some(attached) => self.conclude(attached, post, &mut replies, sent, registers).await?,
            None => self.note(verdict(replies.next::<Value>()).err()),
        }
        self.is_first = false;
        Ok(())
    }

    /// Finds out what the server has of its cluster, unless that is known. What it does not have any more is another one's,
    /// and nobody says so of each key.
    async fn survey(&mut self) -> Result<(), End> {
        let Some(territory) = &mut self.territory else { return Ok(()) };
        let surveyed = timeout(self.settings.connect_timeout, territory.survey(&mut self.session.connection));
        let has_lost = surveyed.await.map_err(|_| End::Broken)?.map_err(|_| End::Broken)?;
        if has_lost { Err(End::Moved) } else { Ok(()) }
    }

    /// Where this process registers.
    fn post(&mut self, attached: &Attached) -> Option<Post> {
        let Some(territory) = &mut self.territory else { return Some(attached.post.clone()) };
        let post = territory.post();
        let number = post.as_ref().map(|post| post.number);
        if number != self.post {
            // Another one's number says nothing here.
            (self.post, self.readings) = (number, Readings::default());
        }
        post
    }

    /// Whether this process registers. Over a connection that tells nothing it does not while Redis is not asked because it
    /// is slow: what was read before is served for the grace then, and its changes are not heard of, so that
    /// reading the poke does not mean to have handled it. As without a connection, its registration runs out.
    fn registers(&self) -> bool {
        let may_serve_unheard = !self.session.is_tracking && self.link.gate.is_open();
        !self.is_blind && !may_serve_unheard && !planted!("member-not-registered")
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

    fn questions(
        &mut self,
        attached: &Attached,
        post: Option<&Post>,
        batch: &mut Batch,
        now: Instant,
        registers: bool,
    ) {
        if let Some(post) = post {
            batch.add(redis::cmd("GET").arg(&post.poke).clone());
        }
        if self.tracking.is_partial() {
            Tracking::ask(batch);
        }
        if let Some(post) = post.filter(|_| self.session.is_tracking) {
            self.ear.forget();
            echo::ask(batch, &self.tracking, &post.echo);
        }
        if let Some(post) = post.filter(|_| registers) {
            let handled = self.delay().map_or(0, |delay| self.readings.handled(delay, now));
            if handled > 0 {
                self.link.withdraw_grace();
            }
            let reach = attached.reach(self.settings.connect_timeout);
            let keep = reach.saturating_add(KEEP_MEMBERS);
            let registered = u8::from(self.member.registered_at() == Some(post.number));
            let args = (&self.member.id, millis(reach), handled, registered, millis(keep));
            batch.add_script(&BEAT, &post.members, args);
        }
    }

    async fn conclude(
        &mut self,
        attached: &Attached,
        post: Option<Post>,
        replies: &mut Replies,
        sent: Instant,
        registers: bool,
    ) -> Result<(), End> {
        let poke = post.as_ref().map(|_| replies.next::<Option<Vec<u8>>>());
        // Before anything else changes what is tracked.
        let asked = self.tracking.clone();
        if self.tracking.has_missed(replies) {
            let widened = self.tracking.widen(&mut self.session.connection);
            let widened = timeout(self.settings.connect_timeout, widened).await;
            widened.map_err(|_| End::Broken)?.map_err(|_| End::Broken)?;
            // Only now: what the server evicted until then was not told either.
            self.watch.all_changed();
        }
        let is_echo_due = self.session.is_tracking && post.is_some() && echo::is_due(replies, &asked);
        if is_echo_due && !self.ear.has_echoed() {
            // What was told since the last heartbeat was not heard. The next connection finds out whether it is any better.
            return Err(End::Broken);
        }
        let beat = registers.then(|| replies.next::<i64>());
        // A post moves with its slot; there may be another one.
        let is_redirected = is_redirected(poke.as_ref()) || is_redirected(beat.as_ref());
        if is_redirected && let Some(territory) = &mut self.territory {
            territory.choose_another_post();
        }
        match poke.map(verdict) {
            Some(Ok(poke)) => self.readings.read(number(poke), Instant::now()),
            Some(Err(Verdict::Broken)) => return Err(End::Broken),
            Some(Err(Verdict::Sound)) => self.is_blind = !is_redirected,
            // It speaks of the server's state, and so does the other answer.
            Some(Err(Verdict::Refusing)) => {
                self.refuse();
                return Ok(());
            }
            None => {}
        }
        let is_registered = match (beat.map(verdict), &post) {
            (Some(Ok(_)), Some(post)) => {
                let until = sent + attached.reach(self.settings.connect_timeout);
                *self.member.registration() = Some((post.number, until));
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
        self.link.condition.update(|facts| {
            facts.refusing = false;
            facts.registered = Some(is_registered);
            facts.why.unregistered.clone_from(&self.refusal);
        });
        // A line that tells nothing proves nothing.
        if self.session.is_tracking {
            self.session.line.allow_grace(is_registered || planted!("member-not-registered"));
            self.session.line.prove(sent);
        } else if self.tracking_may_begin() && self.last_try.elapsed() >= TRY_AGAIN {
            self.try_again(post.as_ref()).await?;
        }
        Ok(())
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
        let started = Tracking::start(&mut self.session.connection, &self.ear, echo);
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

fn verdict<T>(answer: RedisResult<T>) -> Result<T, Verdict> {
    answer.map_err(|error: RedisError| Failure::from(error).verdict)
}

fn is_redirected<T>(answer: Option<&RedisResult<T>>) -> bool {
    matches!(answer, Some(Err(error)) if error.redirect_node().is_some())
}

/// What is no number was not written by any of us.
pub(crate) fn number(poke: Option<Vec<u8>>) -> u64 {
    poke.and_then(|poke| String::from_utf8(poke).ok()?.parse().ok()).unwrap_or(0)
}
