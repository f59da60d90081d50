//! Delivery of the server's pushes to the cache.
//!
//! The connection's driver passes each push to [`PushListener::receive`] before it reads any later reply. This
//! order is the basis of the watermark: once a reply is there, all changes that the server made before it have
//! been handled. `self_test` checks that pushes arrive at all, and `node::heartbeat` advances the watermark.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use cached_core::{planted, tier::Attachment};
use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;

use crate::{
    connect::settings::MAX_HEARTBEAT_INTERVAL,
    tracking::{attachment::AttachedCache, cluster_view::ClusterView},
};

/// Shortest pause between two heartbeats, however small the staleness bound is.
const MIN_HEARTBEAT_INTERVAL: Duration = Duration::from_millis(5);

/// Router for the pushes of all connections to one server.
#[derive(Debug, Default)]
pub(crate) struct PushRouter {
    attached: OnceLock<AttachedCache>,
    /// Wakes the heartbeat, which is then due at once.
    pub(crate) heartbeat_due: Notify,
    /// Number of hits served from memory at the last call of [`take_watermark_use`](Self::take_watermark_use).
    last_hits: AtomicU64,
    /// Set when a barrier was pushed that this process has not acknowledged yet.
    has_barrier: AtomicBool,
    /// Set when a push shows that the registry may be lost.
    is_registry_lost: AtomicBool,
    /// View of the cluster, if the server is in one.
    pub(crate) cluster: Option<Box<dyn ClusterView>>,
    /// Set if the connection gets no pushes, since it only carries large values.
    pub(crate) is_without_pushes: bool,
}

/// Listener for the pushes of one connection.
#[derive(Debug)]
pub(crate) struct PushListener {
    router: Arc<PushRouter>,
    has_echoed: AtomicBool,
}

impl PushListener {
    pub(crate) fn new(router: Arc<PushRouter>) -> Self {
        Self { router, has_echoed: AtomicBool::new(false) }
    }

    /// Handles one push.
    ///
    /// The driver of a connection hands over each push before it reads later data of the server: see
    /// `send_result` in redis-rs. So when a reply arrives, all changes before it have been handled.
    pub(crate) fn receive(&self, push: &PushInfo) {
        if self.router.deliver(push) {
            self.has_echoed.store(true, Ordering::Release);
        }
    }

    /// Discards earlier pushes, so that only later ones count as the echo.
    pub(crate) fn reset_echo(&self) {
        self.has_echoed.store(false, Ordering::Release);
    }

    /// Returns whether a push since [`reset_echo`](Self::reset_echo) has covered the echo key, or all keys.
    pub(crate) fn has_echoed(&self) -> bool {
        self.has_echoed.load(Ordering::Acquire)
    }
}

impl PushRouter {
    /// Creates the router for a connection that only carries large values.
    pub(crate) fn without_pushes() -> Self {
        Self { is_without_pushes: true, ..Self::default() }
    }

    /// Creates the router for a server in a cluster.
    #[cfg(feature = "cluster")]
    pub(crate) fn of_cluster(view: impl ClusterView + 'static) -> Self {
        Self { cluster: Some(Box::new(view)), ..Self::default() }
    }

    /// Attaches the cache, and returns whether it was the first one.
    ///
    /// A tier belongs to one cache; further attachments have no effect.
    pub(crate) fn attach(&self, attachment: Attachment) -> bool {
        self.attached.set(AttachedCache::new(attachment)).is_ok()
    }

    pub(crate) fn attached(&self) -> Option<&AttachedCache> {
        self.attached.get()
    }

    /// Interval at which a connection is checked and its watermark advanced, while watermarks are of use.
    ///
    /// A new watermark arrives before the previous one is too old, if the reply takes at most a quarter of
    /// the staleness bound.
    pub(crate) fn interval(&self) -> Duration {
        self.attached().map_or(MAX_HEARTBEAT_INTERVAL, |attached| {
            (attached.bound() * 3 / 4).clamp(MIN_HEARTBEAT_INTERVAL, MAX_HEARTBEAT_INTERVAL)
        })
    }

    /// Returns whether the cache has used the watermark since the last call.
    ///
    /// A cache that reports no number of hits counts as using it.
    pub(crate) fn take_watermark_use(&self) -> bool {
        let Some(attached) = self.attached() else { return false };
        let hits = attached.attachment.listener.served();
        hits.is_none_or(|hits| self.last_hits.swap(hits, Ordering::Relaxed) != hits)
    }

    /// Returns whether loads are under way, or whether that is unknown.
    pub(crate) fn has_loads(&self) -> bool {
        self.attached().is_some_and(|attached| attached.attachment.listener.served().is_none())
    }

    /// Returns whether another process waits for an acknowledgement of this one.
    pub(crate) fn has_barrier(&self) -> bool {
        self.has_barrier.load(Ordering::Acquire)
    }

    /// Returns the same as [`has_barrier`](Self::has_barrier), and marks the barrier as acknowledged.
    pub(crate) fn take_barrier(&self) -> bool {
        self.has_barrier.swap(false, Ordering::AcqRel)
    }

    /// Returns whether the registry was lost since the last call.
    pub(crate) fn take_registry_loss(&self) -> bool {
        self.is_registry_lost.swap(false, Ordering::AcqRel)
    }

    /// Notifies the cache that the connection is restored.
    pub(crate) fn notify_restored(&self) {
        if let Some(attached) = self.attached() {
            attached.attachment.listener.restored();
        }
    }

    /// Notifies the cache that any key may have changed.
    pub(crate) fn notify_all_changed(&self) {
        if let Some(attached) = self.attached() {
            attached.attachment.listener.all_changed();
        }
    }

    /// Delivers a push to the cache, and returns whether it covered the echo key.
    fn deliver(&self, push: &PushInfo) -> bool {
        if push.kind == PushKind::Disconnection {
            // Without requests, nothing else would detect the loss.
            self.heartbeat_due.notify_one();
        }
        let (Some(attached), PushKind::Invalidate) = (self.attached(), &push.kind) else { return false };
        let mut has_echo = false;
        match push.data.first() {
            Some(Value::Array(keys)) if keys.iter().all(|key| matches!(key, Value::BulkString(_))) => {
                for key in keys {
                    if let Value::BulkString(key) = key {
                        has_echo |= key.starts_with(attached.echo_prefix.as_bytes());
                        self.deliver_key(attached, key);
                    }
                }
            }
            _ if planted!("flush-ignored") => {}
            // Either the whole database was flushed, with the registry in it, or the changed keys are
            // unknown.
            _ => {
                self.notify_all_changed();
                self.is_registry_lost.store(true, Ordering::Release);
                self.set_barrier();
                has_echo = true;
            }
        }
        has_echo
    }

    fn set_barrier(&self) {
        self.has_barrier.store(true, Ordering::Release);
        self.heartbeat_due.notify_one();
    }

    fn deliver_key(&self, attached: &AttachedCache, key: &[u8]) {
        let is_own = [&attached.members_prefix, &attached.echo_prefix]
            .iter()
            .any(|own| key.starts_with(own.as_bytes()));
        if key.starts_with(attached.barrier_prefix.as_bytes()) {
            self.set_barrier();
        } else if !is_own && !planted!("push-ignored") {
            attached.attachment.listener.changed(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use cached_core::tier::ChangeListener;

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

    /// Returns the number of changed keys, and of changes of all keys.
    fn deliveries(kind: PushKind, data: Vec<Value>) -> (usize, usize) {
        let (router, counter) = (PushRouter::default(), Arc::new(Counter::default()));
        router.attach(Attachment {
            max_bytes: 1 << 20,
            listener: counter.clone(),
            namespace: "ns".to_owned(),
            journal: "ns:%tags".to_owned(),
            bound: MAX_HEARTBEAT_INTERVAL,
            grace: Duration::ZERO,
        });
        router.deliver(&PushInfo { kind, data });
        (counter.keys.load(Ordering::SeqCst), counter.all.load(Ordering::SeqCst))
    }

    fn bulk(key: &str) -> Value {
        Value::BulkString(key.as_bytes().to_vec())
    }

    #[test]
    fn pushed_keys_are_delivered_except_internal_ones() {
        let keys =
            vec![bulk("ns:a"), bulk("ns:%members"), bulk("ns:%poke"), bulk("ns:%echo:1"), bulk("ns:b")];
        assert_eq!(deliveries(PushKind::Invalidate, vec![Value::Array(keys)]), (2, 0));
        assert_eq!(deliveries(PushKind::Invalidate, vec![Value::Array(Vec::new())]), (0, 0));
        assert_eq!(deliveries(PushKind::Message, vec![Value::Array(vec![bulk("ns:a")])]), (0, 0));
    }

    /// An unreadable push may concern any key, so it invalidates all of them.
    #[test]
    fn unreadable_push_counts_as_a_change_of_all_keys() {
        for data in [
            vec![],
            vec![Value::Nil],
            vec![bulk("ns:a")],
            vec![Value::Set(vec![bulk("ns:a")])],
            vec![Value::Array(vec![bulk("ns:a"), Value::Int(7)])],
            vec![Value::Array(vec![Value::SimpleString("ns:a".to_owned())])],
            vec![Value::Array(vec![Value::Array(vec![bulk("ns:a")])])],
        ] {
            assert_eq!(deliveries(PushKind::Invalidate, data), (0, 1));
        }
    }
}
