//! Removing everything that matches a pattern.

use cached_core::{TierError, planted};

use crate::{
    batch::{Batch, Replies},
    link::Session,
    tier::RedisTier,
};

/// About how many keys the server goes through in one step.
const STEP: usize = 1000;

impl RedisTier {
    /// Goes through all keys of the server. Each step has the budget of a write. Tags and what belongs to the tier
    /// itself are spared. How many keys were removed.
    pub(crate) async fn sweep(&self, pattern: &str) -> Result<u64, TierError> {
        if planted!("pattern-not-swept") {
            return Ok(0);
        }
        let budget = self.settings.write_timeout;
        // A cursor means nothing to another server.
        let session = self.session(budget).await?;
        let pattern = escape(pattern);
        let reserved = self.watch.attached().map(|attached| attached.reserved.as_bytes());
        let (mut cursor, mut removed) = (0_u64, 0);
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(STEP);
            let read = |mut replies: Replies| replies.next::<(u64, Vec<Vec<u8>>)>();
            let (next, mut keys) = self.send(&session, budget, Batch::of(scan), read).await?;
            keys.retain(|key| reserved.is_none_or(|reserved| !key.starts_with(reserved)));
            if !keys.is_empty() {
                removed += self.unlink(&session, &keys).await?;
            }
            if next == 0 {
                return Ok(removed);
            }
            cursor = next;
        }
    }

    async fn unlink(&self, session: &Session, keys: &[Vec<u8>]) -> Result<u64, TierError> {
        let mut unlink = redis::cmd("UNLINK");
        unlink.arg(keys);
        let read = |mut replies: Replies| replies.next();
        self.send(session, self.settings.write_timeout, Batch::of(unlink), read).await
    }
}

/// Redis' own patterns know more than `*`.
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
    fn only_the_star_stays_special() {
        assert_eq!(escape("a:*:b"), "a:*:b");
        assert_eq!(escape(r"[a-z]?\^*"), r"\[a-z\]\?\\\^*");
        assert_eq!(escape("ü"), "ü");
    }
}
