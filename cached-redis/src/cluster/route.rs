//! Routing of a batch to several servers.
//!
//! Each step of a batch is split by the owners of its slots and sent to all of them concurrently. Commands
//! that are redirected (`MOVED`, `ASK`) are sent again, within the same budget. The replies keep the order of
//! the batch. Their change feed joins those of all connections that replied.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use cached_core::{TierError, tier::ChangeFeed};
use futures_util::future::join_all;
use redis::{ServerErrorKind, Value};

use super::{Shared, map::Address, slots::slot};
use crate::{
    connect::settings::Addresses,
    node::{Answers, Node, transfers::OperationBudget},
    protocol::batch::{Batch, Piece, Replies},
};

/// Maximum number of redirections of a command.
///
/// A slot moves to another server, and rarely moves on at once.
const REDIRECTIONS: usize = 5;

#[derive(Clone, Copy)]
pub(super) enum CommandKind {
    Read,
    Write,
    /// A read over the connections for large values, with the total size of these in bytes.
    ReadLarge(usize, OperationBudget),
    WriteLarge(usize, OperationBudget),
}

/// The server that a command is sent to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Destination {
    address: Address,
    /// Set if the slot is migrating to this server.
    ///
    /// The server then answers only commands that follow `ASKING`.
    is_asking: bool,
}

impl Shared {
    /// Sends each command to the server that holds its key, and follows redirections.
    ///
    /// All commands run concurrently, except that each step of the batch waits for the step before it. Fails
    /// if one of them gets no reply.
    pub(super) async fn send(
        self: &Arc<Self>,
        batch: &Batch,
        kind: CommandKind,
        budget: Duration,
    ) -> Result<Answers, TierError> {
        // The budget starts after the wait for the very first map.
        self.current_map(budget).await?;
        let began = Instant::now();
        let mut values: Vec<(Value, Option<u64>)> = Vec::new();
        let mut feeds = Vec::new();
        for step in batch.steps() {
            let remaining = budget.saturating_sub(began.elapsed());
            values.extend(self.send_step(&step, kind, remaining, &mut feeds).await?);
        }
        Ok(Answers { replies: Replies::new(values), feed: ChangeFeed::merge(feeds) })
    }

    async fn send_step(
        self: &Arc<Self>,
        pieces: &[Piece<'_>],
        kind: CommandKind,
        budget: Duration,
        feeds: &mut Vec<Arc<ChangeFeed>>,
    ) -> Result<Vec<(Value, Option<u64>)>, TierError> {
        let began = Instant::now();
        let map = self.current_map(budget).await?;
        let mut values: Vec<Option<_>> = vec![None; pieces.len()];
        let mut pending: BTreeMap<Destination, Vec<usize>> = BTreeMap::new();
        for (position, piece) in pieces.iter().enumerate() {
            let owner = piece.key().and_then(|key| map.owner(slot(key))).ok_or(TierError::Unavailable)?;
            pending
                .entry(Destination { address: owner.clone(), is_asking: false })
                .or_default()
                .push(position);
        }
        for _ in 0..=REDIRECTIONS {
            let remaining = budget.saturating_sub(began.elapsed());
            let requests = pending.into_iter().map(|(target, positions)| async move {
                let node = self.node(&target.address).ok_or(TierError::Unavailable)?;
                let node_pieces: Vec<_> = positions.iter().map(|&position| &pieces[position]).collect();
                let batch = Batch::of_pieces(&node_pieces, target.is_asking);
                let answers = match kind {
                    CommandKind::Read => node.read(&batch, remaining).await?,
                    CommandKind::Write => node.write(&batch, remaining).await?,
                    CommandKind::ReadLarge(bytes, operation_budget) => {
                        node.read_large(&batch, bytes, operation_budget).await?
                    }
                    CommandKind::WriteLarge(bytes, operation_budget) => {
                        node.write_large(&batch, bytes, operation_budget).await?
                    }
                };
                Ok((node, target.is_asking, positions, answers))
            });
            let outcomes = join_all(requests).await;
            pending = BTreeMap::new();
            for outcome in outcomes {
                let (node, is_asking, positions, Answers { replies, feed }) = outcome?;
                let mut has_answered = false;
                for (position, value) in positions.into_iter().zip(replies.values(is_asking)) {
                    match redirection(&value.0, &node) {
                        Some(target) => pending.entry(target).or_default().push(position),
                        None => {
                            values[position] = Some(value);
                            has_answered = true;
                        }
                    }
                }
                if has_answered {
                    // A migrating slot may return without a push, so this reply counts as untracked.
                    feeds.push(if is_asking { ChangeFeed::none() } else { feed });
                }
            }
            if pending.is_empty() {
                return values.into_iter().collect::<Option<_>>().ok_or(TierError::Unavailable);
            }
        }
        Err(TierError::Unavailable)
    }
}

/// Returns the target that a command is redirected to.
fn redirection(value: &Value, node: &Node) -> Option<Destination> {
    let Value::ServerError(error) = value else { return None };
    let is_asking = match error.kind()? {
        ServerErrorKind::Moved => false,
        ServerErrorKind::Ask => true,
        _ => return None,
    };
    if !is_asking {
        // The map is outdated. This wakes the heartbeat of the server, which reads a newer one.
        node.router.heartbeat_due.notify_one();
    }
    let address = address(error.details()?, &node.settings.endpoint.host(), &node.settings.addresses)?;
    Some(Destination { address, is_asking })
}

/// Parses the address in `slot host:port`.
///
/// A server that does not know its own host leaves it out, so it is `queried_host`.
pub(super) fn address(details: &str, queried_host: &str, addresses: &Addresses) -> Option<Address> {
    let address = details.split_ascii_whitespace().nth(1)?;
    let (host, port) = address.rsplit_once(':')?;
    let host = if matches!(host, "" | "?") { queried_host } else { host };
    Some(addresses.resolve(host, port.parse().ok()?).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirect_goes_to_the_address_in_the_reply() {
        let to =
            |details: &str| address(details, "own", &Addresses::default()).map(|address| address.to_string());
        assert_eq!(to("449 10.0.0.2:7001").as_deref(), Some("10.0.0.2:7001"));
        assert_eq!(to("449 fe80::1:7001").as_deref(), Some("fe80::1:7001"));
        assert_eq!(to("449 :7001").as_deref(), Some("own:7001"));
        assert_eq!(to("449 ?:7001").as_deref(), Some("own:7001"));
        assert_eq!([to("449"), to(""), to("449 7001")], [None, None, None]);
    }
}
