//! What the server says unasked, and whom it is told.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cached_core::{Attachment, planted};
use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;

use crate::{
    random,
    settings::{HEARTBEAT, LONGEST},
};

/// The shortest pause between two heartbeats, however small the bound.
const SHORTEST_BEAT: Duration = Duration::from_millis(5);

/// Listens on every connection of a tier.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    attached: OnceLock<Attached>,
    /// A heartbeat is due at once.
    pub(crate) pulse: Notify,
}

/// The cache that the tier is a part of.
#[derive(Debug)]
pub(crate) struct Attached {
    attachment: Attachment,
    /// What begins so is no value: it is a tag, or one of those below.
    pub(crate) reserved: String,
    /// A hash of all processes that share the namespace: who may serve until when, and what he has handled.
    pub(crate) members: String,
    /// A number that grows when somebody wants to know who has handled everything up to then.
    pub(crate) poke: String,
    /// A key of this process alone, whose changes it has the server tell of, to see whether that arrives.
    pub(crate) echo: String,
}

/// Listens on one connection.
#[derive(Debug)]
pub(crate) struct Ear {
    watch: Arc<Watch>,
    has_echoed: AtomicBool,
}

impl Ear {
    pub(crate) fn new(watch: Arc<Watch>) -> Self {
        Self { watch, has_echoed: AtomicBool::new(false) }
    }

    /// Called by the driver of a connection, which hands over each push before it reads what the server sent after
    /// it: see `send_result` in redis-rs. So when an answer arrives, the changes before it have been handled.
    pub(crate) fn hear(&self, push: &PushInfo) {
        if self.watch.hear(push) {
            self.has_echoed.store(true, Ordering::Release);
        }
    }

    /// What was told until now does not count.
    pub(crate) fn forget(&self) {
        self.has_echoed.store(false, Ordering::Release);
    }

    /// Whether a change of the echo was told since, or of everything.
    pub(crate) fn has_echoed(&self) -> bool {
        self.has_echoed.load(Ordering::Acquire)
    }
}

impl Watch {
    /// A tier belongs to one cache; further attachments change nothing. Whether it was the first.
    pub(crate) fn attach(&self, attachment: Attachment) -> bool {
        let reserved = format!("{}:%", attachment.namespace);
        let members = format!("{reserved}members");
        let poke = format!("{reserved}poke");
        let echo = format!("{reserved}echo:{:016x}", random::number());
        self.attached.set(Attached { attachment, reserved, members, poke, echo }).is_ok()
    }

    pub(crate) fn attached(&self) -> Option<&Attached> {
        self.attached.get()
    }

    /// How often a connection is checked, and proven to be fresh.
    pub(crate) fn interval(&self) -> Duration {
        self.attached()
            .map_or(HEARTBEAT, |attached| (attached.attachment.bound / 4).clamp(SHORTEST_BEAT, HEARTBEAT))
    }

    /// The connection is there again.
    pub(crate) fn restored(&self) {
        if let Some(attached) = self.attached() {
            attached.attachment.watcher.restored();
        }
    }

    /// Anything may have changed.
    pub(crate) fn all_changed(&self) {
        if let Some(attached) = self.attached() {
            attached.attachment.watcher.all_changed();
        }
    }

    /// Hands on what was told, and says whether the echo was a part of it.
    fn hear(&self, push: &PushInfo) -> bool {
        let (Some(attached), PushKind::Invalidate) = (self.attached(), &push.kind) else { return false };
        let mut has_echo = false;
        match push.data.first() {
            Some(Value::Array(keys)) => {
                for key in keys {
                    if let Value::BulkString(key) = key {
                        has_echo |= key == attached.echo.as_bytes();
                        self.changed(attached, key);
                    }
                }
            }
            _ if planted!("flush-ignored") => {}
            // The whole database was emptied, and with it the register of members.
            _ => {
                self.all_changed();
                self.pulse.notify_one();
                has_echo = true;
            }
        }
        has_echo
    }

    fn changed(&self, attached: &Attached, key: &[u8]) {
        let is_own = [&attached.members, &attached.echo].iter().any(|own| key == own.as_bytes());
        if key == attached.poke.as_bytes() {
            self.pulse.notify_one();
        } else if !is_own && !planted!("push-ignored") {
            attached.attachment.watcher.changed(key);
        }
    }
}

impl Attached {
    /// Which tags were invalidated, in order.
    pub(crate) fn journal(&self) -> &str {
        &self.attachment.journal
    }

    /// How long what was read may be served after the last proof.
    pub(crate) fn bound(&self) -> Duration {
        self.attachment.bound.min(LONGEST)
    }

    /// How long after a heartbeat this process may serve what it has read. Until the connection is found broken, it
    /// may have read something; and then that holds for the bound and the grace.
    pub(crate) fn reach(&self, connect_timeout: Duration) -> Duration {
        let terms = [self.attachment.grace, HEARTBEAT, connect_timeout];
        terms.into_iter().fold(self.bound(), Duration::saturating_add).min(LONGEST)
    }
}
