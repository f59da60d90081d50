//! The cache of a tier, and the keys by which its processes know of each other.

use std::time::Duration;

use cached_core::Attachment;

use crate::{
    connect::settings::{HEARTBEAT, LONGEST},
    protocol::random,
};

/// How long a registration stands before it is renewed, where the bound is a second.
const LONGEST_TERM: Duration = Duration::from_secs(5);

/// The cache that the tier is a part of.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(super) attachment: Attachment,
    /// What begins so is no value: it is a tag, or a post.
    pub(crate) reserved: String,
    /// What the posts' keys begin with.
    pub(super) members: String,
    pub(super) poke: String,
    pub(super) echo: String,
    /// The only one, where the server is alone.
    pub(crate) post: Post,
}

/// Where processes tell each other what they have handled.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    /// Which one.
    pub(crate) number: usize,
    /// A hash of all processes that share the namespace: until when each may serve, and what it has handled.
    pub(crate) members: String,
    /// A number that grows when a process wants to know which have handled everything up to then.
    pub(crate) poke: String,
    /// A key of this process alone, whose changes it has the server tell of, to see whether that arrives.
    pub(crate) echo: String,
}

impl Attached {
    pub(crate) fn new(attachment: Attachment) -> Self {
        let reserved = format!("{}:%", attachment.namespace);
        let (members, poke) = (format!("{reserved}members"), format!("{reserved}poke"));
        let echo = format!("{reserved}echo");
        let own_echo = format!("{echo}:{:016x}", random::number());
        let post = Post { number: 0, members: members.clone(), poke: poke.clone(), echo: own_echo };
        Self { attachment, reserved, members, poke, echo, post }
    }

    /// One of several, whose keys end so.
    #[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "only a cluster has several"))]
    pub(crate) fn post_at(&self, number: usize, end: &str) -> Post {
        let [members, poke, echo] =
            [&self.members, &self.poke, &self.post.echo].map(|begin| format!("{begin}{end}"));
        Post { number, members, poke, echo }
    }

    #[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "only a cluster tells several"))]
    pub(crate) fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    /// No value of the cache has more bytes.
    pub(crate) fn max_bytes(&self) -> usize {
        self.attachment.max_bytes
    }

    /// Which tags were invalidated, in order.
    pub(crate) fn journal(&self) -> &str {
        &self.attachment.journal
    }

    /// How long what was read may be served after the last proof.
    pub(crate) fn bound(&self) -> Duration {
        self.attachment.bound.min(LONGEST)
    }

    /// How long a registration stands before it is renewed.
    pub(crate) fn term(&self) -> Duration {
        (self.bound() * 5).clamp(HEARTBEAT, LONGEST_TERM)
    }

    /// How long after a registration this process may serve what it has read. Until the next one, or until that has failed, it
    /// may have read something; and then that holds for the bound and the grace.
    pub(crate) fn reach(&self, connect_timeout: Duration) -> Duration {
        let terms = [self.attachment.grace, self.term(), connect_timeout];
        terms.into_iter().fold(self.bound(), Duration::saturating_add).min(LONGEST)
    }
}
