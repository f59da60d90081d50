//! The cache that a tier is attached to, and the keys through which its processes coordinate.

use std::time::Duration;

use cached_core::tier::Attachment;

use crate::{
    connect::settings::{MAX_DURATION, MAX_HEARTBEAT_INTERVAL},
    protocol::random,
};

/// Longest interval between two registrations. It applies from a staleness bound of 1 s on.
const MAX_REGISTRATION_INTERVAL: Duration = Duration::from_secs(5);

/// The cache that the tier belongs to.
#[derive(Debug)]
pub(crate) struct AttachedCache {
    pub(super) attachment: Attachment,
    /// Prefix of all keys that hold no value, such as tags, the journal and the registries.
    pub(crate) reserved_prefix: String,
    /// Prefix of the member keys of all registries. The next two fields prefix their other keys.
    pub(super) members_prefix: String,
    pub(super) barrier_prefix: String,
    pub(super) echo_prefix: String,
    /// Registry of a standalone server. A cluster has several, see [`registry_at`](Self::registry_at).
    pub(crate) registry: Registry,
}

/// A registry: the keys through which processes register and acknowledge barriers.
#[derive(Clone, Debug)]
pub(crate) struct Registry {
    /// Number of this registry.
    pub(crate) number: usize,
    /// Hash of all processes of the namespace: until when each may serve, and the barrier that it
    /// acknowledges.
    pub(crate) members: String,
    /// Key of the barrier number. Raising it requests an acknowledgement of all changes up to that point.
    pub(crate) barrier: String,
    /// Key of this process alone for the push self-test: the process changes it and expects the push.
    pub(crate) echo: String,
}

impl AttachedCache {
    pub(crate) fn new(attachment: Attachment) -> Self {
        let reserved_prefix = format!("{}:%", attachment.namespace);
        let (members_prefix, barrier_prefix) =
            (format!("{reserved_prefix}members"), format!("{reserved_prefix}poke"));
        let echo_prefix = format!("{reserved_prefix}echo");
        let echo = format!("{echo_prefix}:{:016x}", random::number());
        let registry =
            Registry { number: 0, members: members_prefix.clone(), barrier: barrier_prefix.clone(), echo };
        Self { attachment, reserved_prefix, members_prefix, barrier_prefix, echo_prefix, registry }
    }

    /// Returns one of several registries, with `suffix` at the end of its keys.
    #[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "only a cluster has several registries"))]
    pub(crate) fn registry_at(&self, number: usize, suffix: &str) -> Registry {
        let [members, barrier, echo] = [&self.members_prefix, &self.barrier_prefix, &self.registry.echo]
            .map(|prefix| format!("{prefix}{suffix}"));
        Registry { number, members, barrier, echo }
    }

    #[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "only a cluster uses it"))]
    pub(crate) fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    /// Returns the maximum size of a value of the cache, in bytes.
    pub(crate) fn max_bytes(&self) -> usize {
        self.attachment.max_bytes
    }

    /// Returns the key of the journal, which lists the invalidated tags in order.
    pub(crate) fn journal(&self) -> &str {
        &self.attachment.journal
    }

    /// Returns the staleness bound: how long after the last proof an entry may be served.
    pub(crate) fn bound(&self) -> Duration {
        self.attachment.bound.min(MAX_DURATION)
    }

    /// Returns the interval after which a registration is renewed.
    pub(crate) fn registration_interval(&self) -> Duration {
        (self.bound() * 5).clamp(MAX_HEARTBEAT_INTERVAL, MAX_REGISTRATION_INTERVAL)
    }

    /// Returns the maximum time after a registration for which this process may serve entries.
    ///
    /// The process may read entries until the next registration succeeds or fails. After that, each of them
    /// may be served for the staleness bound and the outage grace.
    pub(crate) fn registration_lifetime(&self, connect_timeout: Duration) -> Duration {
        let durations = [self.attachment.grace, self.registration_interval(), connect_timeout];
        durations.into_iter().fold(self.bound(), Duration::saturating_add).min(MAX_DURATION)
    }
}
