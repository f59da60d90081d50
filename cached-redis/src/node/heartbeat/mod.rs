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
//! from 2 on belong to a connection with a cache; without one there is a `PING` instead of them.
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
//!
//! Some files only decide, without I/O and without a clock of their own:
//!
//! * `schedule` has the times of past events, and derives the times of the next ones.
//! * `selected_mode` has the tracking mode, and decides whether the other one is wanted.
//! * `registrar` decides whether this process registers, and has the barrier numbers to acknowledge.
//! * `plan` derives the contents of one heartbeat from these three.
//!
//! The others act:
//!
//! * `pace` waits until a heartbeat is due, and `duties` determines which heartbeat that is.
//! * `compose` turns a plan into commands, `exchange` sends them, and `replies` processes the replies.
//! * `slots` checks the slots of a server in a cluster, and `refusal` reports a server that refuses.
//! * `member` is this process in the registry, which outlives its connections.

mod compose;
mod duties;
mod exchange;
mod member;
mod pace;
mod plan;
mod refusal;
mod registrar;
mod replies;
mod schedule;
mod selected_mode;
mod slots;

use std::{sync::Arc, time::Instant};

use cached_core::{TierCause, planted};
use redis::Value;

use crate::{
    connect::settings::{MAX_DURATION, Settings},
    node::{
        establish::Connected,
        heartbeat::{
            refusal::verdict, registrar::Registrar, schedule::Schedule, selected_mode::SelectedMode,
        },
        link::Link,
        session::Session,
    },
    tracking::{
        cluster_view::OwnedSlots,
        push::{PushListener, PushRouter},
        self_test::Echo,
    },
};

pub(crate) use self::{
    member::{Member, new_member_id},
    registrar::REGISTRY_LIFETIME,
};

/// The heartbeat of one connection.
pub(super) struct Heartbeat {
    settings: Arc<Settings>,
    link: Arc<Link>,
    router: Arc<PushRouter>,
    member: Arc<Member>,
    pub(super) session: Session,
    listener: Arc<PushListener>,
    schedule: Schedule,
    mode: SelectedMode,
    echo: Echo,
    registrar: Registrar,
    /// Slots of the server, if it is in a cluster.
    slots: Option<Box<dyn OwnedSlots>>,
    /// Set until the first heartbeat over this connection has been answered.
    is_first: bool,
    /// Set if RESP2 is in use only because the server did not support RESP3.
    pub(super) is_resp2_fallback: bool,
    /// Most important refusal of the last heartbeat.
    refusal: Option<TierCause>,
}

/// Reason why a heartbeat ends.
#[derive(Debug)]
pub(super) enum End {
    /// The connection does not work any more.
    Broken,
    /// The connection works, but another server now holds some of the slots that were read over it.
    Moved,
}

impl Heartbeat {
    /// Creates the heartbeat of a new connection.
    pub(super) fn new(
        settings: Arc<Settings>,
        link: Arc<Link>,
        router: Arc<PushRouter>,
        member: Arc<Member>,
        connected: Connected,
    ) -> Self {
        let Connected { connection, listener, tracking, untracked, is_resp2_fallback, slots } = connected;
        let session = link.new_session(connection, untracked);
        Self {
            settings,
            link,
            router,
            member,
            session,
            listener,
            schedule: Schedule::new(Instant::now()),
            mode: SelectedMode::new(tracking),
            echo: Echo::default(),
            registrar: Registrar::default(),
            slots,
            is_first: true,
            is_resp2_fallback,
            refusal: None,
        }
    }

    /// Sends heartbeats until the connection is broken, or its server has lost slots.
    pub(super) async fn run(&mut self) -> End {
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

    /// Sends one heartbeat. Returns `Ok` if there was a reply, even if it is an error.
    pub(super) async fn beat(&mut self) -> Result<(), End> {
        self.survey_slots().await?;
        let sent = Instant::now();
        if planted!("proof-before-drain") {
            self.session.feed.advance(sent);
        }
        let router = Arc::clone(&self.router);
        let attached = router.attached();
        let plan = self.plan(attached, sent);
        let (batch, self_test) = self.compose(attached, &plan);
        let (mut replies, was_late) = self.send_batch(batch, sent).await?;
        self.refusal = refusal::most_important(&replies);
        if plan.reads_clock {
            self.update_clock(replies.next(), sent);
        }
        self.record_beat(sent, was_late);
        if !self.check_slots(&plan, &mut replies).await? {
            self.record_refusal();
            return Ok(());
        }
        match attached {
            Some(attached) => self.process_replies(attached, &plan, self_test, &mut replies).await?,
            None => {
                self.record_verdict(verdict(replies.next::<Value>()).err());
                // There are no other processes to register with.
                self.link.set_usable_until(sent + MAX_DURATION);
            }
        }
        self.is_first = false;
        Ok(())
    }

    /// Keeps the connection, but starts a new change feed for later reads.
    pub(super) fn renew_feed(&mut self) {
        self.session = self.link.renew_session(&self.session);
        self.registrar.forget_barriers();
        self.schedule.require_full();
    }
}
