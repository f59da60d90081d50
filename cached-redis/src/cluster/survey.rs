//! Detection of slots that migrate between servers.

use std::{sync::Arc, time::Duration};

use cached_core::TierError;
use futures_util::future::try_join_all;
use redis::Value;

use super::slots::SLOTS;
use crate::{node::Node, protocol::batch::Batch};

/// A survey of the slots that each server holds, and of those that are migrating.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// Summary that each server gives of itself, see `own_summary`.
    summaries: Vec<String>,
}

impl Survey {
    pub(crate) async fn of(nodes: &[Arc<Node>], budget: Duration) -> Result<Self, TierError> {
        let query = async |node: &Arc<Node>| {
            let batch = Batch::of(redis::cmd("CLUSTER").arg("NODES").clone());
            let mut answers = node.write(&batch, budget).await?;
            let reply = answers.replies.next::<Value>();
            let text = reply.ok().and_then(|reply| redis::from_redis_value::<String>(reply).ok());
            text.as_deref().and_then(own_summary).ok_or(TierError::Unavailable)
        };
        let mut summaries = try_join_all(nodes.iter().map(query)).await?;
        summaries.sort();
        Ok(Self { summaries })
    }

    /// Returns the number of slots that the surveyed servers report for themselves.
    pub(crate) fn slot_count(&self) -> usize {
        self.summaries.iter().map(|summary| slots_in_summary(summary)).sum()
    }

    /// Returns whether no slot has moved between this survey and `later`, and none is migrating.
    pub(crate) fn is_stable_until(&self, later: &Self) -> bool {
        self == later && !self.summaries.iter().any(|summary| summary.contains('['))
    }
}

/// Returns a server's summary of itself, from its reply to `CLUSTER NODES`.
///
/// The summary is its ID, its epoch and its slots, with migrating slots in brackets.
pub(super) fn own_summary(nodes: &str) -> Option<String> {
    let line =
        nodes.lines().find(|line| line.split(' ').nth(2).is_some_and(|flags| flags.contains("myself")))?;
    let fields: Vec<_> = line.split(' ').collect();
    let (id, rest) = (fields.first()?, fields.get(6..)?);
    Some(format!("{id} {} {}", rest.first()?, rest.get(2..).unwrap_or_default().join(" ")))
}

/// Returns the number of slots in a server's summary of itself.
pub(super) fn slots_in_summary(summary: &str) -> usize {
    summary.split(' ').skip(2).map(range_len).sum()
}

/// Returns the number of slots in `first-last` or `slot`.
///
/// A migrating slot stands in brackets and counts as none, because its holder also lists it in a range.
fn range_len(range: &str) -> usize {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(first), Ok(last)) if first <= last && last < SLOTS => usize::from(last - first) + 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survey_counts_slots_and_detects_a_migrating_one() {
        let text = "aa 1.2.3.4:1@2 master - 0 0 7 connected 1-9\nbb 1.2.3.4:2@3 myself,master - 0 0 5 connected 0-99 200 [93->-cc]";
        let survey = Survey { summaries: vec![own_summary(text).unwrap()] };
        assert_eq!(survey.slot_count(), 101);
        assert!(!survey.is_stable_until(&survey), "one is on its way");
        assert_eq!(survey.summaries, ["bb 5 0-99 200 [93->-cc]"]);
    }

    #[test]
    fn slot_count_ignores_invalid_ranges() {
        for slots in ["0-18446744073709551615", "0-16384", "16384", "9-0", "-", "", "1-2-3", "-1"] {
            assert_eq!(slots_in_summary(&format!("bb 5 {slots} 7-8")), 2, "{slots}");
        }
        assert_eq!(slots_in_summary("bb 5 0-16383"), 16_384);
    }
}
