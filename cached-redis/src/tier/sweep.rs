//! Removal of all keys that match a pattern.

use cached_core::{TierError, planted};
use redis::RedisResult;

use crate::{
    node::Node,
    protocol::batch::{Batch, Replies},
    tier::RedisTier,
};

/// Approximate number of keys that the server visits in one step.
const SCAN_COUNT: usize = 1000;

impl RedisTier {
    /// Visits all keys, removes those that match, and returns their number.
    ///
    /// Each step has the budget of a write. Tags and the keys of the tier itself are kept.
    pub(super) async fn sweep(&self, pattern: &str) -> Result<u64, TierError> {
        if planted!("pattern-not-swept") {
            return Ok(0);
        }
        let pattern = escape(pattern);
        let mut removed = 0;
        let (mut nodes, before) = self.topology.survey().await?;
        for is_second_pass in [false, true] {
            for node in &nodes {
                removed += self.sweep_node(node, &pattern).await?;
            }
            if is_second_pass {
                break;
            }
            // A key that moved to a server that was already swept was missed. The second pass finds it there,
            // as long as its slot does not move twice within that time.
            let (later, after) = self.topology.survey().await?;
            if before.is_stable_until(&after) {
                break;
            }
            nodes = later;
        }
        Ok(removed)
    }

    async fn sweep_node(&self, node: &Node, pattern: &str) -> Result<u64, TierError> {
        let budget = node.settings.write_timeout;
        let reserved_prefix = self.topology.attached().map(|attached| attached.reserved_prefix.as_bytes());
        let (mut cursor, mut removed, mut feed) = (0_u64, 0, None);
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCAN_COUNT);
            let answers = node.write(&Batch::of(scan), budget).await?;
            // A cursor is meaningless to another server.
            let first_feed = feed.get_or_insert_with(|| answers.feed.clone());
            if !first_feed.is_same(&answers.feed) {
                return Err(TierError::Unavailable);
            }
            let read = |mut replies: Replies| replies.next::<(u64, Vec<Vec<u8>>)>();
            let ((next, mut keys), _) = self.topology.decode(answers, read)?;
            keys.retain(|key| reserved_prefix.is_none_or(|reserved| !key.starts_with(reserved)));
            if !keys.is_empty() {
                removed += self.unlink(&keys).await?;
            }
            if next == 0 {
                return Ok(removed);
            }
            cursor = next;
        }
    }

    async fn unlink(&self, keys: &[Vec<u8>]) -> Result<u64, TierError> {
        let mut batch = Batch::new();
        for key in keys {
            batch.add(redis::cmd("UNLINK").arg(key).clone());
        }
        let read =
            |mut replies: Replies| keys.iter().map(|_| replies.next::<u64>()).sum::<RedisResult<u64>>();
        Ok(self.write(batch, read).await?.0)
    }
}

/// Escapes the characters other than `*` that are special in patterns of Redis.
fn escape(pattern: &str) -> String {
    let mut escaped = String::with_capacity(pattern.len());
    for character in pattern.chars() {
        if matches!(character, '?' | '[' | ']' | '\\' | '^') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_leaves_only_the_star_special() {
        assert_eq!(escape("a:*:b"), "a:*:b");
        assert_eq!(escape(r"[a-z]?\^*"), r"\[a-z\]\?\\\^*");
        assert_eq!(escape("ü"), "ü");
    }
}
