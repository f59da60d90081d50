//! Generations of tags, and the journal of invalidated ones.
//!
//! A load creates the generation of a tag at random, and keeps it for as long as its value. An invalidation
//! of the tag removes it, so that no value from before can be valid again. The tag enters the journal first:
//! a load that learns its tags only from its value then finds the invalidation (`protocol::journal`).

use std::{ops::RangeInclusive, time::Duration};

use cached_core::{
    TierError, planted,
    tier::{ChangeFeed, JournalPosition, TagsClaimed},
};
use redis::RedisResult;

use crate::{
    connect::settings::millis,
    protocol::{
        batch::{Batch, Replies},
        commands::{command, parse_generation},
        journal::{self, APPEND, UNCHANGED_SINCE},
        random,
        scripts::SEED_GENERATION,
    },
    tier::RedisTier,
    tracking::attachment::AttachedCache,
};

/// Limits of the extra lifetime of a tag's generation, which otherwise equals the requested lifetime.
///
/// So a generation rarely needs to be prolonged, and does not outlive its values for long.
const EXTRA_LIFETIME: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(60 * 60);

impl RedisTier {
    /// Returns the key of the journal of tags.
    pub(super) fn journal(&self) -> Option<&str> {
        self.topology.attached().map(AttachedCache::journal)
    }

    /// Claims the generations of tags, unless one of the tags was invalidated after a journal position.
    pub(super) async fn claim_generations(
        &self,
        tags: &[String],
        keep: Duration,
        since: JournalPosition,
    ) -> Result<TagsClaimed, TierError> {
        let Some(journal) = self.journal() else {
            return Ok(TagsClaimed { generations: None, feed: ChangeFeed::none() });
        };
        let mut batch = Batch::ordered();
        // An invalidation writes the journal before it removes the generation. So if
        // `UNCHANGED_SINCE` is too early to find it, the removal comes later still, and is pushed, since the
        // generation is tracked by then.
        add_seed_commands(&mut batch, tags, keep);
        batch.start_step();
        batch.add_script(
            &UNCHANGED_SINCE,
            journal,
            journal::unchanged_since_args(since.journal_id, since.offset, tags),
        );
        let read = |mut replies: Replies| Ok((read_seeded(&mut replies, tags)?, replies.next::<bool>()?));
        let ((generations, is_current), feed) = self.write(batch, read).await?;
        Ok(TagsClaimed { generations: is_current.then_some(generations), feed })
    }

    /// Deletes values and leases, and the generations of tags. The journal of tags is written first.
    pub(super) async fn delete_keys(&self, keys: &[String], tags: &[String]) -> Result<(), TierError> {
        if keys.is_empty() && tags.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::ordered();
        let journal = self.journal().filter(|_| !tags.is_empty());
        if let Some(journal) = journal {
            batch.add_script(&APPEND, journal, journal::append_args(tags));
            batch.start_step();
        }
        // One command for each key, since each may be on another server.
        for key in tags.iter().chain(keys) {
            batch.add(command("DEL", key));
        }
        let read = |mut replies: Replies| {
            journal.map(|_| replies.next::<u64>()).transpose()?;
            tags.iter().chain(keys).try_for_each(|_| replies.next::<u64>().map(|_| ()))
        };
        self.write(batch, read).await.map(|_| ())
    }
}

/// Adds commands that return the generations of tags, and create missing ones.
pub(super) fn add_seed_commands(batch: &mut Batch, tags: &[String], keep: Duration) {
    for tag in tags {
        let generation = if planted!("tag-seeded-constant") { 7 } else { random::number() };
        batch.add_script(
            &SEED_GENERATION,
            tag,
            (format!("{generation:016x}"), millis(keep), millis(generation_ttl(keep))),
        );
    }
}

/// Returns the lifetime of a generation that is created, or that would end before `keep`.
pub(super) fn generation_ttl(keep: Duration) -> Duration {
    if planted!("tag-kept-for-load") {
        return keep;
    }
    keep.saturating_add(keep.clamp(*EXTRA_LIFETIME.start(), *EXTRA_LIFETIME.end()))
}

/// Reads the generations that `add_seed_commands` has asked for.
pub(super) fn read_seeded(replies: &mut Replies, tags: &[String]) -> RedisResult<Vec<u64>> {
    let generation = |_| {
        let bytes = replies.next()?;
        // The script returns nothing but generations.
        Ok(parse_generation(Some(bytes)).unwrap_or_default())
    };
    tags.iter().map(generation).collect()
}

/// Reads the generations of tags, where a missing tag has none.
pub(super) fn read_generations(replies: &mut Replies, tags: &[String]) -> RedisResult<Vec<Option<u64>>> {
    tags.iter().map(|_| replies.next().map(parse_generation)).collect()
}
