//! Fills: values that are stored, each if the lease of its load is still there (the fence).
//!
//! The generations of the tags are kept for as long as the value. A large value is staged first (`large`),
//! over its own connection, and the script then moves it under its key.

use std::{iter, time::Duration};

use cached_core::{
    TierError, planted,
    tier::{Budget, ChangeFeed, Filled, LARGE_VALUE, TierFill},
};
use redis::RedisResult;

use crate::{
    connect::settings::millis,
    protocol::{
        batch::{Batch, Replies},
        commands::command,
        record,
        scripts::{FILL, FILL_LARGE, KEEP_GENERATION},
    },
    tier::{RedisTier, large::StagedValue, tags::generation_ttl},
};

impl RedisTier {
    /// Stores values, of which the large ones are staged first.
    pub(super) async fn fill_keys(
        &self,
        mut fills: Vec<TierFill>,
        budget: Budget,
    ) -> Result<Filled, TierError> {
        if fills.is_empty() {
            return Ok(Filled { stored: Vec::new(), feed: ChangeFeed::none() });
        }
        let tag_counts: Vec<_> = fills.iter().map(|fill| fill.tags.len()).collect();
        let is_large = |fill: &TierFill| fill.bytes.len() > LARGE_VALUE;
        let (mut keys, mut staged_values, mut staging_time) = Default::default();
        if fills.iter().any(is_large) && !planted!("fill-without-lease-compare") {
            keys = fills.iter().map(|fill| fill.key.clone()).collect::<Vec<_>>();
            (staged_values, staging_time) = Box::pin(self.stage_large(&mut fills, budget)).await?;
        }
        let batch = build_fill(fills, staged_values, staging_time);
        let read = |mut replies: Replies| read_stored(&mut replies, &tag_counts);
        let (stored, feed) = self.write_within(batch, budget, read).await?;
        if let Some(lost) = stored.iter().position(|stored| *stored == -1) {
            // Either it was lost on its way, as when all keys were removed, or the two connections lead to
            // different servers.
            if let Some(key) = keys.get(lost) {
                self.topology.replace_large_connection(key);
            }
            return Err(TierError::Unavailable);
        }
        Ok(Filled { stored: stored.into_iter().map(|stored| stored == 1).collect(), feed })
    }
}

/// Builds the batch of some fills, of which the large ones were staged in `staging_time`.
fn build_fill(
    fills: Vec<TierFill>,
    staged_values: Vec<Option<StagedValue>>,
    staging_time: Duration,
) -> Batch {
    let staged_values = staged_values.into_iter().chain(iter::repeat_with(|| None));
    let mut batch = Batch::new();
    for (TierFill { key, token, mut bytes, ttl, tags }, staged) in fills.into_iter().zip(staged_values) {
        // The time spent on the transfer does not extend the lifetime of a value.
        let ttl = ttl.saturating_sub(staging_time);
        for tag in &tags {
            batch.add_script(&KEEP_GENERATION, tag, (millis(ttl), millis(generation_ttl(ttl))));
        }
        let revision = token.revision().to_le_bytes();
        if planted!("fill-without-lease-compare") {
            record::append_trailer(&mut bytes, token.revision());
            let mut set = command("SET", &key);
            batch.add(set.arg(bytes).arg("PX").arg(millis(ttl)).clone());
        } else if let Some(StagedValue { key: staging_key, length }) = staged {
            let args = (&token.0[..], length, millis(ttl), &revision[..]);
            batch.add_script_on(&FILL_LARGE, &[&key, &staging_key], args);
        } else {
            batch.add_script(&FILL, &key, (&token.0[..], bytes, millis(ttl), &revision[..]));
        }
        if planted!("own-fill-untracked") {
            batch.add(command("PERSIST", &key));
        }
    }
    batch
}

/// Reads the outcome of each fill, which follows the replies for its tags.
///
/// The outcome is 1 for a stored value, and -1 for a staged value that is missing.
fn read_stored(replies: &mut Replies, tag_counts: &[usize]) -> RedisResult<Vec<i64>> {
    if planted!("fill-without-lease-compare") {
        return Ok(vec![1; tag_counts.len()]);
    }
    let stored = |tags: &usize| {
        (0..*tags).try_for_each(|_| replies.next::<i64>().map(|_| ()))?;
        replies.next()
    };
    tag_counts.iter().map(stored).collect()
}
