//! The cache that a tier is attached to, and the keys through which its processes coordinate.

use std::time::Duration;

use cached_core::Attachment;

use crate::{
    connect::settings::{HEARTBEAT, LONGEST},
    protocol::random,
};

/// Longest interval between two registrations. It applies from a staleness bound of 1 s on.
const LONGEST_TERM: Duration = Duration::from_secs(5);

/// The cache that the tier belongs to.
#[derive(Debug)]
pub(crate) struct AttachedCache {
    pub(super) attachment: Attachment,
    /// Prefix of all keys that hold no value, such as tags, the journal and the registries.
    pub(crate) reserved: String,
    /// Prefix of the member keys of all registries. `poke` and `echo` prefix their other keys.
    pub(super) members: String,
    pub(super) poke: String,
    pub(super) echo: String,
    /// Registry of a standalone server. A cluster has several, see [`post_at`](Self::post_at).
    pub(crate) post: Registry,
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
    pub(crate) poke: String,
    /// Key of this process alone for the push self-test: the process changes it and expects the push.
    pub(crate) echo: String,
}

impl AttachedCache {
    pub(crate) fn new(attachment: Attachment) -> Self {
        let reserved = format!("{}:%", attachment.namespace);
        let (members, poke) = (format!("{reserved}members"), format!("{reserved}poke"));
        let echo = format!("{reserved}echo");
        let own_echo = format!("{echo}:{:016x}", random::number());
        let post = Registry { number: 0, members: members.clone(), poke: poke.clone(), echo: own_echo };
        Self { attachment, reserved, members, poke, echo, post }
    }

    /// Returns one of several registries, with `end` as the suffix of its keys.
    #[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "only a cluster has several"))]
    pub(crate) fn post_at(&self, number: usize, end: &str) -> Registry {
        let [members, poke, echo] =
            [&self.members, &self.poke, &self.post.echo].map(|begin| format!("{begin}{end}"));
        Registry { number, members, poke, echo }
    }

    #[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "only a cluster tells several"))]
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
        self.attachment.bound.min(LONGEST)
    }

    /// Returns the interval after which a registration is renewed.
    pub(crate) fn term(&self) -> Duration {
        (self.bound() * 5).clamp(HEARTBEAT, LONGEST_TERM)
    }

    /// Returns the maximum time after a registration for which this process may serve entries.
    ///
    /// The process may read entries until the next registration succeeds or fails. After that, each of them
    /// may be served for the staleness bound and the outage grace.
    pub(crate) fn reach(&self, connect_timeout: Duration) -> Duration {
        let terms = [self.attachment.grace, self.term(), connect_timeout];
        terms.into_iter().fold(self.bound(), Duration::saturating_add).min(LONGEST)
    }
}
