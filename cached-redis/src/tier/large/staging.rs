//! The staging of a large value under a key of its own, before a script moves it under its key.
//!
//! The bytes take the connection for large values, so nothing small waits behind them. The script runs on the
//! main connection, and compares the lease like the fill of a small value.
//!
//! Invariant: a staged value is in the slot of its key, since a script can move it only within one server. If
//! no script stores it, it expires. `tier::fill` runs the scripts.

use std::{
    mem,
    time::{Duration, Instant},
};

use cached_core::{
    TierError,
    tier::{Budget, LARGE_VALUE, LeaseToken, TierFill},
};

use crate::{
    connect::settings::millis,
    node::transfers::OperationBudget,
    protocol::{
        batch::{Batch, Replies},
        commands::command,
        record::TRAILER,
    },
    tier::RedisTier,
};

/// Minimum lifetime of a staged value that no script has stored. It is at least `STAGED_TTL_BUDGETS` write
/// budgets, too.
const STAGED_TTL: Duration = Duration::from_secs(10);
const STAGED_TTL_BUDGETS: u32 = 4;

/// A large value that was staged under a key of its own.
pub(in crate::tier) struct StagedValue {
    pub(in crate::tier) key: String,
    /// Length in bytes, with room for a trailer.
    pub(in crate::tier) length: usize,
}

impl RedisTier {
    /// Stages the large values of these fills. Returns the staged values, and how long it took.
    ///
    /// The caller runs the scripts that store the values after this.
    pub(in crate::tier) async fn stage_large(
        &self,
        fills: &mut [TierFill],
        budget: Budget,
    ) -> Result<(Vec<Option<StagedValue>>, Duration), TierError> {
        let (began, mut values) = (Instant::now(), Vec::new());
        // Without a namespace, there is no key for staging.
        let reserved_prefix = self.topology.attached().map(|attached| attached.reserved_prefix.as_str());
        let mut take = |TierFill { key, token, bytes, .. }: &mut TierFill| {
            let is_large = bytes.len() > LARGE_VALUE;
            let staging_key = is_large.then(|| staging_key(reserved_prefix?, key, *token)).flatten()?;
            let mut bytes = mem::take(bytes);
            bytes.resize(bytes.len() + TRAILER, 0);
            let length = bytes.len();
            values.push((staging_key.clone(), bytes));
            Some(StagedValue { key: staging_key, length })
        };
        let staged_values = fills.iter_mut().map(&mut take).collect();
        if !values.is_empty() {
            self.stage(values, budget).await?;
        }
        Ok((staged_values, began.elapsed()))
    }

    async fn stage(&self, values: Vec<(String, Vec<u8>)>, budget: Budget) -> Result<(), TierError> {
        let (count, mut batch) = (values.len(), Batch::new());
        let write_timeout = self.topology.settings().write_timeout;
        let ttl = STAGED_TTL.max(write_timeout.saturating_mul(STAGED_TTL_BUDGETS));
        let bytes = values.iter().fold(0_usize, |sum, (_, bytes)| sum.saturating_add(bytes.len()));
        for (key, bytes) in values {
            let mut set = command("SET", &key);
            set.arg(bytes).arg("PX").arg(millis(ttl));
            batch.add(set);
        }
        let answers = self
            .topology
            .write_large(&batch, bytes, OperationBudget::of_write(budget, write_timeout))
            .await?;
        let read = |mut replies: Replies| (0..count).try_for_each(|_| replies.next::<()>());
        self.topology.decode(answers, read).map(|_| ())
    }
}

/// Returns the key for staging a large value of this load, in the slot of the value's key.
///
/// `reserved_prefix` is the prefix of keys that no value has. Returns `None` if there is no such key.
fn staging_key(reserved_prefix: &str, key: &str, token: LeaseToken) -> Option<String> {
    let number = u128::from_be_bytes(token.0);
    // The first braces of a key determine its slot. See "Redis cluster specification".
    let has_tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    let tag = match has_tag {
        Some((tag, _)) if !tag.is_empty() => tag,
        None if !key.contains(['{', '}']) => key,
        _ => return None,
    };
    // If the namespace has braces, they are also the first ones of the value's key.
    Some(format!("{reserved_prefix}large:{{{tag}}}:{number:032x}"))
}
