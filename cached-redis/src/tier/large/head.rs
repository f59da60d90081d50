//! The head of a large value: the facts that the main connection has about it. This decides without I/O.
//!
//! The head has the trailer of the string, whose revision names the fill. So the head decides whether bytes
//! from the other connection are the value.
//!
//! Invariant: a record has bytes only if they are those that were there when the head was read. `reads` reads
//! heads, and `comparison` puts them and the bytes together.

use std::time::Instant;

use cached_core::tier::{Record, Stored};
use redis::RedisResult;

use crate::protocol::{
    batch::Replies,
    record::{self, Trailer},
};

/// Facts about a large value that were read over the main connection.
pub(super) struct Head {
    /// Reply to `PTTL`, which precedes the other commands.
    pttl: i64,
    pub(super) length: usize,
    pub(super) tail: Vec<u8>,
    server_time: Option<u64>,
    /// Time of the replies.
    read_at: Instant,
}

impl Head {
    pub(super) fn read(replies: &mut Replies) -> RedisResult<Self> {
        let (pttl, length) = (replies.next()?, replies.next()?);
        Ok(Self {
            pttl,
            length,
            tail: replies.next()?,
            server_time: replies.clock(),
            read_at: Instant::now(),
        })
    }

    /// Returns the upper limit of the server's clock at present.
    fn server_time_now(&self) -> Option<u64> {
        Some(self.server_time?.saturating_add(self.elapsed_ms()))
    }

    /// Returns the reply that `PTTL` would give at present.
    fn remaining_pttl(&self) -> i64 {
        let elapsed_ms = i64::try_from(self.elapsed_ms()).unwrap_or(i64::MAX);
        if self.pttl > 0 { (self.pttl - elapsed_ms).max(1) } else { self.pttl }
    }

    /// Returns the milliseconds since the replies.
    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.read_at.elapsed().as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
    }

    /// Returns the record if it does not require the value: there is none, or it is not one of this cache.
    pub(super) fn record_without_value(&self, max_len: usize) -> Option<Record> {
        if self.tail.is_empty() {
            return Some(Record::Absent);
        }
        if Trailer::of(&self.tail).is_none() || self.length > max_len {
            return Some(self.unreadable_record());
        }
        // The string consists of the trailer alone.
        if self.length == self.tail.len() { self.record_with(self.tail.clone()) } else { None }
    }

    /// Returns the record of a value that this process cannot read, so that a load may replace it.
    pub(super) fn unreadable_record(&self) -> Record {
        let revision = Trailer::of(&self.tail).map_or(0, |trailer| trailer.revision);
        Record::Value(Stored {
            bytes: Vec::new(),
            remaining: record::remaining(self.remaining_pttl()),
            revision,
        })
    }

    /// Returns the record in `bytes`, if they are the string that this head describes.
    pub(super) fn record_with(&self, bytes: Vec<u8>) -> Option<Record> {
        let (main, large) = (Trailer::of(&self.tail)?, Trailer::of(&bytes)?);
        // The lease over a value may have been renewed, so the revisions decide. Without one, the trailers
        // must be equal.
        let is_same = main.revision == large.revision && (main.revision != 0 || bytes.ends_with(&self.tail));
        if !is_same {
            return None;
        }
        Some(record::parse_with_clock(self.server_time_now(), self.remaining_pttl(), bytes))
    }
}
