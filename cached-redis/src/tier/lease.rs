//! Leases: the right of one load to fill a key, over all processes.
//!
//! A lease is stored under its key, in place of the value or over it (`protocol::record`). For a load with
//! tags, the same round trip returns their generations, and the position of the journal from before the load.

use std::time::Duration;

use cached_core::{
    TierError,
    tier::{Budget, ChangeFeed, JournalPosition, LeaseMode, LeaseReply, LeaseRequest, Leased, TagRequest},
};
use redis::RedisResult;

use crate::{
    connect::settings::millis,
    protocol::{
        batch::{Batch, Replies},
        commands::parse_generation,
        journal::{self, OPEN},
        random,
        scripts::LEASE,
    },
    tier::{
        RedisTier,
        tags::{add_seed_commands, read_seeded},
    },
};

/// Lifetime of a journal that no load has asked for. Loads are shorter.
const JOURNAL_TTL: Duration = Duration::from_secs(24 * 60 * 60);

impl RedisTier {
    /// Requests leases, and returns the generations of tags with the position of their journal.
    pub(super) async fn lease_keys(
        &self,
        requests: &[LeaseRequest<'_>],
        tags: TagRequest<'_>,
        budget: Budget,
    ) -> Result<Leased, TierError> {
        if requests.is_empty() && tags.keys.is_empty() && !tags.needs_position {
            let (replies, generations, feed) = (Vec::new(), Vec::new(), ChangeFeed::none());
            return Ok(Leased { replies, generations, position: None, feed });
        }
        let journal = self.journal().filter(|_| tags.needs_position);
        let mut batch = Batch::new();
        if let Some(journal) = journal {
            batch.add_script(&OPEN, journal, (journal::name(random::number()), millis(JOURNAL_TTL)));
        }
        add_seed_commands(&mut batch, tags.keys, tags.keep);
        for request in requests {
            add_lease(&mut batch, request);
        }
        let read = |mut replies: Replies| {
            let position = journal.map(|_| replies.next().map(journal_position)).transpose()?.flatten();
            let generations = read_seeded(&mut replies, tags.keys)?;
            let lease_replies = requests.iter().map(|_| replies.next().map(lease_reply));
            Ok((lease_replies.collect::<RedisResult<Vec<LeaseReply>>>()?, generations, position))
        };
        let ((replies, generations, position), feed) = self.read(batch, budget, read).await?;
        Ok(Leased { replies, generations, position, feed })
    }
}

fn add_lease(batch: &mut Batch, request: &LeaseRequest<'_>) {
    let (mode, revision) = match request.mode {
        LeaseMode::IfAbsent => ("free", 0),
        LeaseMode::IfRevision(revision) => ("over", revision),
        LeaseMode::Always => ("force", 0),
    };
    let (token, revision) = (&request.token.0[..], &revision.to_le_bytes()[..]);
    batch.add_script(&LEASE, request.key, (token, millis(request.lease), mode, revision));
}

/// Reads the position of the journal. A journal that another program wrote has none.
fn journal_position((name, number): (Vec<u8>, u64)) -> Option<JournalPosition> {
    Some(JournalPosition { journal_id: parse_generation(Some(name))?, offset: number })
}

fn lease_reply(reply: i64) -> LeaseReply {
    match reply {
        0 => LeaseReply::Granted,
        left => u64::try_from(left)
            .map_or(LeaseReply::ValueChanged, |left| LeaseReply::HeldElsewhere(Duration::from_millis(left))),
    }
}
