//! A lookup in which some values are expected to be large.
//!
//! An attempt takes these steps:
//!
//! 1. Read the heads over the main connection, and at the same time the bytes over the other one. If a size
//!    is unknown, the bytes wait for the heads.
//! 2. Read values that are small after all over the main connection, unless their bytes are there.
//! 3. Wait for the bytes of the large values, and read again those that are longer than expected.
//! 4. Compare the bytes with the heads.
//!
//! If the connections differ, there is one more attempt. If it finds the same difference, the connection for
//! large values is replaced.
//!
//! Invariant: only the main connection can fail a lookup. If the other one does not deliver a value in time,
//! the value counts as unreadable. `reads` has the round trips, and `comparison` the last step.

use cached_core::{
    TierError,
    tier::{Budget, Found, Lookup},
};

use crate::{
    node::transfers::OperationBudget,
    protocol::{commands::MAX_SMALL_LENGTH, record::TRAILER},
    tier::{
        RedisTier,
        large::{
            UNKNOWN_SIZE,
            beside::Beside,
            comparison::{Different, compare},
            head::Head,
        },
    },
    tracking::attachment::AttachedCache,
};

/// Maximum length of a string in Redis, in bytes.
const MAX_STRING_LEN: usize = 512 << 20;

impl RedisTier {
    /// Looks up keys where some values are expected to be large.
    ///
    /// A value that does not arrive in time counts as one that this process cannot read.
    pub(in crate::tier) async fn lookup_large(
        &self,
        lookups: &[Lookup<'_>],
        tags: &[String],
        budget: Budget,
    ) -> Result<Found, TierError> {
        let operation_budget = OperationBudget::of_read(budget, self.topology.settings().read_timeout);
        let (found, differing) = self.try_lookup_large(lookups, tags, operation_budget).await?;
        let Some(operation_budget) = operation_budget.restarted().filter(|_| !differing.is_empty()) else {
            return Ok(found);
        };
        let (found, still_differing) = self.try_lookup_large(lookups, tags, operation_budget).await?;
        for different in still_differing {
            if differing.contains(&different) {
                // Neither has changed meanwhile, so the two connections lead to different servers.
                self.topology.replace_large_connection(lookups[different.position].key);
            }
        }
        Ok(found)
    }

    /// Attempts the lookup once, and also returns the keys where the two connections had different values.
    ///
    /// Such a value may have changed between the two reads.
    async fn try_lookup_large(
        &self,
        lookups: &[Lookup<'_>],
        tags: &[String],
        operation_budget: OperationBudget,
    ) -> Result<(Found, Vec<Different>), TierError> {
        let max_len = self.max_string_len();
        let large: Vec<_> = (0..lookups.len()).filter(|&position| lookups[position].is_large()).collect();
        // If a size is unknown, the main connection must return it first.
        let is_known = large.iter().all(|&position| lookups[position].size != UNKNOWN_SIZE);
        // A value much longer than expected is not read before its length is known.
        let expected =
            |position: usize| lookups[position].size.saturating_mul(2).max(MAX_SMALL_LENGTH).min(max_len);
        let parts = || large.iter().map(|&position| (position, expected(position))).collect();
        let mut early_bodies =
            Beside::new(is_known.then(|| self.read_bodies(lookups, parts(), operation_budget)));
        let (read, feed) = early_bodies.poll_while(self.read_heads(lookups, tags, operation_budget)).await?;
        let (mut records, heads, generations) = read;
        let mut pending = Vec::with_capacity(heads.len());
        for (position, head) in heads {
            match head.record_without_value(max_len) {
                Some(record) => records[position] = record,
                None => pending.push((position, head)),
            }
        }
        let mut differing = Vec::new();
        if !matches!(early_bodies.output, Some(Ok(_))) && operation_budget.allows_more() {
            // A small value need not wait behind large ones, nor for a connection that does not deliver it.
            let (small, rest): (Vec<_>, _) =
                pending.into_iter().partition(|(_, head)| head.length <= MAX_SMALL_LENGTH);
            pending = rest;
            let positions: Vec<_> = small.iter().map(|(position, _)| *position).collect();
            // Without a reply, the values count as not arrived in time.
            let found =
                early_bodies.poll_while(self.read_small(lookups, &positions, operation_budget)).await.ok();
            let mut found = found.into_iter().flatten();
            for (position, head) in small {
                let record = found.next();
                differing.extend(matches!(record, Some(None)).then(|| Different::new(position, &head, &[])));
                records[position] = record.flatten().unwrap_or_else(|| head.unreadable_record());
            }
        }
        let early_bodies = if pending.is_empty() { None } else { early_bodies.finish().await };
        // If other values did not arrive in time over a connection, nothing more is requested over it.
        let is_in_time = early_bodies.as_ref().is_none_or(Result::is_ok);
        let mut bodies = early_bodies.and_then(Result::ok).unwrap_or_default();
        if is_in_time {
            let is_missing =
                |(position, head): &&(usize, Head)| !is_known || head.length > expected(*position);
            let missing: Vec<_> =
                pending.iter().filter(is_missing).map(|(position, head)| (*position, head.length)).collect();
            if !missing.is_empty()
                && let Some(operation_budget) = operation_budget.restarted()
            {
                bodies.retain(|(position, _)| missing.iter().all(|(other, _)| other != position));
                bodies.extend(self.read_bodies(lookups, missing, operation_budget).await.unwrap_or_default());
            }
        }
        differing.extend(compare(pending, bodies, &mut records));
        Ok((Found { records, generations, feed }, differing))
    }

    /// Returns the maximum length of a string that this cache stores.
    fn max_string_len(&self) -> usize {
        let max_bytes = self.topology.attached().map_or(MAX_STRING_LEN, AttachedCache::max_bytes);
        max_bytes.saturating_add(TRAILER).min(MAX_STRING_LEN)
    }
}
