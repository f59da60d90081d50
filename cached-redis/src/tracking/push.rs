//! What the server says unasked, and whom it is told.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use cached_core::{Attachment, planted};
use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;

use crate::{
    connect::settings::HEARTBEAT,
    tracking::{attachment::Attached, cluster_view::ClusterView},
};

/// The shortest pause between two heartbeats, however small the bound.
const SHORTEST_BEAT: Duration = Duration::from_millis(5);

/// Listens on every connection to a server.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    attached: OnceLock<Attached>,
    /// A heartbeat is due at once.
    pub(crate) pulse: Notify,
    /// How much use the cache had made of proofs when that was last asked.
    served: AtomicU64,
    /// It was told that another process wants to know what was handled.
    is_poked: AtomicBool,
    /// It was told that the register is lost.
    is_lost: AtomicBool,
    /// Whom to tell what this server knows of its cluster, if it is in one.
    pub(crate) cluster: Option<Box<dyn ClusterView>>,
    /// It is for a connection over which nothing is told.
    pub(crate) is_mute: bool,
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
    /// Of a connection that only carries values.
    pub(crate) fn mute() -> Self {
        Self { is_mute: true, ..Self::default() }
    }

    /// Of a server in a cluster.
    #[cfg(feature = "cluster")]
    pub(crate) fn of_cluster(view: impl ClusterView + 'static) -> Self {
        Self { cluster: Some(Box::new(view)), ..Self::default() }
    }

    /// A tier belongs to one cache; further attachments change nothing. Whether it was the first.
    pub(crate) fn attach(&self, attachment: Attachment) -> bool {
        self.attached.set(Attached::new(attachment)).is_ok()
    }

    pub(crate) fn attached(&self) -> Option<&Attached> {
        self.attached.get()
    }

    /// How often a connection is checked, and proven to be fresh, while that is of use: often enough that a proof is there
    /// before the one before it is too old, if the answer takes no longer than a quarter of the bound.
    pub(crate) fn interval(&self) -> Duration {
        self.attached()
            .map_or(HEARTBEAT, |attached| (attached.bound() * 3 / 4).clamp(SHORTEST_BEAT, HEARTBEAT))
    }

    /// Whether the cache has made use of proofs since this was asked, or does so in any case.
    pub(crate) fn take_use(&self) -> bool {
        let Some(attached) = self.attached() else { return false };
        let served = attached.attachment.watcher.served();
        served.is_none_or(|served| self.served.swap(served, Ordering::Relaxed) != served)
    }

    /// Whether loads are under way, or it is not known.
    pub(crate) fn has_loads(&self) -> bool {
        self.attached().is_some_and(|attached| attached.attachment.watcher.served().is_none())
    }

    /// Whether another process wants to know what was handled, and was not answered yet.
    pub(crate) fn is_poked(&self) -> bool {
        self.is_poked.load(Ordering::Acquire)
    }

    /// The same; from now on it counts as answered.
    pub(crate) fn take_poke(&self) -> bool {
        self.is_poked.swap(false, Ordering::AcqRel)
    }

    /// Whether the register was lost since this was asked.
    pub(crate) fn take_loss(&self) -> bool {
        self.is_lost.swap(false, Ordering::AcqRel)
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
        if push.kind == PushKind::Disconnection {
            // While nothing is asked, nothing else would find out.
            self.pulse.notify_one();
        }
        let (Some(attached), PushKind::Invalidate) = (self.attached(), &push.kind) else { return false };
        let mut has_echo = false;
        match push.data.first() {
            Some(Value::Array(keys)) if keys.iter().all(|key| matches!(key, Value::BulkString(_))) => {
                for key in keys {
                    if let Value::BulkString(key) = key {
                        has_echo |= key.starts_with(attached.echo.as_bytes());
                        self.changed(attached, key);
                    }
                }
            }
            _ if planted!("flush-ignored") => {}
            // The whole database was emptied, and with it the register of members. Or it is not known which keys have changed.
            _ => {
                self.all_changed();
                self.is_lost.store(true, Ordering::Release);
                self.poke();
                has_echo = true;
            }
        }
        has_echo
    }

    fn poke(&self) {
        self.is_poked.store(true, Ordering::Release);
        self.pulse.notify_one();
    }

    fn changed(&self, attached: &Attached, key: &[u8]) {
        let is_own = [&attached.members, &attached.echo].iter().any(|own| key.starts_with(own.as_bytes()));
        if key.starts_with(attached.poke.as_bytes()) {
            self.poke();
        } else if !is_own && !planted!("push-ignored") {
            attached.attachment.watcher.changed(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use cached_core::ChangeListener;

    use super::*;

    #[derive(Debug, Default)]
    struct Counter {
        keys: AtomicUsize,
        all: AtomicUsize,
    }

    impl ChangeListener for Counter {
        fn changed(&self, _: &[u8]) {
            self.keys.fetch_add(1, Ordering::SeqCst);
        }

        fn all_changed(&self) {
            self.all.fetch_add(1, Ordering::SeqCst);
        }

        fn restored(&self) {}
    }

    /// How many keys changed, and how often everything did.
    fn heard(kind: PushKind, data: Vec<Value>) -> (usize, usize) {
        let (watch, counter) = (Watch::default(), Arc::new(Counter::default()));
        watch.attach(Attachment {
            max_bytes: 1 << 20,
            watcher: counter.clone(),
            namespace: "ns".to_owned(),
            journal: "ns:%tags".to_owned(),
            bound: HEARTBEAT,
            grace: Duration::ZERO,
        });
        watch.hear(&PushInfo { kind, data });
        (counter.keys.load(Ordering::SeqCst), counter.all.load(Ordering::SeqCst))
    }

    fn bulk(key: &str) -> Value {
        Value::BulkString(key.as_bytes().to_vec())
    }

    #[test]
    fn each_key_is_told_but_those_of_the_processes() {
        let keys =
            vec![bulk("ns:a"), bulk("ns:%members"), bulk("ns:%poke"), bulk("ns:%echo:1"), bulk("ns:b")];
        assert_eq!(heard(PushKind::Invalidate, vec![Value::Array(keys)]), (2, 0));
        assert_eq!(heard(PushKind::Invalidate, vec![Value::Array(Vec::new())]), (0, 0));
        assert_eq!(heard(PushKind::Message, vec![Value::Array(vec![bulk("ns:a")])]), (0, 0));
    }

    /// Which keys it is about is not known, so it is about all of them.
    #[test]
    fn changes_that_cannot_be_read_are_changes_of_everything() {
        for data in [
            vec![],
            vec![Value::Nil],
            vec![bulk("ns:a")],
            vec![Value::Set(vec![bulk("ns:a")])],
            vec![Value::Array(vec![bulk("ns:a"), Value::Int(7)])],
            vec![Value::Array(vec![Value::SimpleString("ns:a".to_owned())])],
            vec![Value::Array(vec![Value::Array(vec![bulk("ns:a")])])],
        ] {
            assert_eq!(heard(PushKind::Invalidate, data), (0, 1));
        }
    }
}
