//! The reads of a lookup of large values, each one round trip.
//!
//! The main connection returns heads, small values and generations, and changes of them are pushed from then
//! on. The connection for large values returns only bytes.
//!
//! Invariants: generations are read before values, and `PTTL` before its value. No large value is read in
//! full over the main connection. `lookup` has the order of these reads.

use std::sync::Arc;

use cached_core::{
    TierError,
    tier::{Budget, ChangeFeed, Lookup, Record},
};

use crate::{
    node::transfers::OperationBudget,
    protocol::{
        batch::{Batch, Replies},
        commands::{
            MAX_SMALL_LENGTH, command, generation_command, non_empty, trailer_command, value_command,
        },
        record,
    },
    tier::{RedisTier, large::head::Head, tags::read_generations},
};

impl RedisTier {
    /// Reads over the main connection: small values, heads of large ones with their positions, and generations.
    #[allow(clippy::type_complexity, reason = "the caller destructures it at once")]
    pub(super) async fn read_heads(
        &self,
        lookups: &[Lookup<'_>],
        tags: &[String],
        operation_budget: OperationBudget,
    ) -> Result<((Vec<Record>, Vec<(usize, Head)>, Vec<Option<u64>>), Arc<ChangeFeed>), TierError> {
        let mut batch = Batch::new();
        for tag in tags {
            batch.add(generation_command(tag));
        }
        for lookup in lookups {
            if lookup.known_revision.is_none() {
                // In the other order, a value could get the lifetime of its successor.
                batch.add(command("PTTL", lookup.key));
            }
            if lookup.is_large() {
                batch.add(command("STRLEN", lookup.key));
            }
            batch.add(if lookup.known_revision.is_some() || lookup.is_large() {
                trailer_command(lookup.key)
            } else {
                value_command(lookup.key)
            });
        }
        let read = |mut replies: Replies| {
            let generations = read_generations(&mut replies, tags)?;
            let (mut records, mut heads) = (Vec::with_capacity(lookups.len()), Vec::new());
            for (position, lookup) in lookups.iter().enumerate() {
                records.push(match lookup.known_revision {
                    Some(known) => record::compare(&replies.next::<Vec<u8>>()?, known),
                    None if lookup.is_large() => {
                        heads.push((position, Head::read(&mut replies)?));
                        Record::Absent
                    }
                    None => {
                        let (pttl, bytes) = (replies.next()?, replies.next::<Vec<u8>>()?);
                        let parse = |bytes| record::parse_with_clock(replies.clock(), pttl, bytes);
                        if bytes.len() > MAX_SMALL_LENGTH {
                            // It is cut off, because it was small when the batch was composed.
                            Record::Changed
                        } else {
                            non_empty(bytes).map_or(Record::Absent, parse)
                        }
                    }
                });
            }
            Ok((records, heads, generations))
        };
        self.read(batch, Budget::Exactly(operation_budget.remaining()), read).await
    }

    /// Reads the values at these positions, which are small although others of the function are large.
    ///
    /// A record is `None` if its value has become large.
    pub(super) async fn read_small(
        &self,
        lookups: &[Lookup<'_>],
        positions: &[usize],
        operation_budget: OperationBudget,
    ) -> Result<Vec<Option<Record>>, TierError> {
        if positions.is_empty() {
            return Ok(Vec::new());
        }
        let mut batch = Batch::new();
        for &position in positions {
            batch.add(command("PTTL", lookups[position].key));
            batch.add(value_command(lookups[position].key));
        }
        let read = |mut replies: Replies| {
            let record = |_| {
                let (pttl, bytes) = (replies.next()?, replies.next::<Vec<u8>>()?);
                let is_small = bytes.len() <= MAX_SMALL_LENGTH;
                let parse = |bytes| record::parse_with_clock(replies.clock(), pttl, bytes);
                Ok(is_small.then(|| non_empty(bytes).map_or(Record::Absent, parse)))
            };
            positions.iter().map(record).collect()
        };
        Ok(self.read(batch, Budget::Exactly(operation_budget.remaining()), read).await?.0)
    }

    /// Reads the strings at these positions over the connection for large values, each up to a number of bytes.
    pub(super) async fn read_bodies(
        &self,
        lookups: &[Lookup<'_>],
        parts: Vec<(usize, usize)>,
        operation_budget: OperationBudget,
    ) -> Result<Vec<(usize, Vec<u8>)>, TierError> {
        let mut batch = Batch::new();
        for &(position, max_len) in &parts {
            let mut command = command("GETRANGE", lookups[position].key);
            command.arg(0).arg(max_len.saturating_sub(1));
            batch.add(command);
        }
        let bytes = parts.iter().fold(0_usize, |sum, (_, max_len)| sum.saturating_add(*max_len));
        let answers = self.topology.read_large(&batch, bytes, operation_budget).await?;
        let read = |mut replies: Replies| {
            parts.iter().map(|&(position, _)| Ok((position, replies.next()?))).collect()
        };
        Ok(self.topology.decode(answers, read)?.0)
    }
}
