//! Operations on large values, over a node of their own.
//!
//! That node has its own connection and breaker, and gets no pushes. It is created for the first large value.
//! While it has no connection, large values use the main one. Transfers over one connection are sent in the
//! order in which `transfers` counts them.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use cached_core::TierError;

use crate::{
    connect::settings::Settings,
    node::{
        Answers, Node,
        heartbeat::Member,
        transfers::{MAX_EXTENSION, OperationBudget, Transfer},
    },
    protocol::batch::Batch,
    tracking::push::PushRouter,
};

impl Node {
    /// Runs a [`read`](Self::read) of large values, `bytes` in total, over the connection for those.
    pub(crate) async fn read_large(
        &self,
        batch: &Batch,
        bytes: usize,
        operation_budget: OperationBudget,
    ) -> Result<Answers, TierError> {
        let node = self.large_node()?;
        let permit = node.admit()?;
        node.in_order(bytes, operation_budget, |budget| node.read_admitted(batch, budget, permit)).await
    }

    /// Runs a [`write`](Self::write) of large values, `bytes` in total, over the connection for those.
    pub(crate) async fn write_large(
        &self,
        batch: &Batch,
        bytes: usize,
        operation_budget: OperationBudget,
    ) -> Result<Answers, TierError> {
        let node = self.large_node()?;
        node.in_order(bytes, operation_budget, |budget| node.write(batch, budget)).await
    }

    /// Runs a transfer of `bytes` in turn.
    ///
    /// If there is a connection, transfers are sent in the order in which they are counted, since one that
    /// overtakes another would use up the other's time.
    async fn in_order<F: Future<Output = Result<Answers, TierError>>>(
        &self,
        bytes: usize,
        operation_budget: OperationBudget,
        run: impl FnOnce(Duration) -> F,
    ) -> Result<Answers, TierError> {
        let (mut run, mut running) = (Some(run), None::<(Transfer<'_>, Pin<Box<F>>)>);
        // An abandoned transfer still arrives. Without a connection it was never requested, or is lost.
        let is_in_flight = |polled: &Poll<_>| {
            let may_come = matches!(polled, Poll::Pending | Poll::Ready(Err(TierError::Timeout)));
            may_come && self.link.current_session().is_some()
        };
        poll_fn(|cx| {
            if let Some((transfer, running)) = &mut running {
                let polled = running.as_mut().poll(cx);
                transfer.is_in_flight = is_in_flight(&polled);
                return polled;
            }
            let Some(run) = run.take() else { return Poll::Ready(Err(TierError::Unavailable)) };
            // Not without a connection: an attempt at one may notify observers, which is done under no lock.
            let order = self.link.current_session().map(|_| self.link.transfers.lock_order());
            let transfer = self.link.transfers.begin(bytes);
            let Some(budget) = operation_budget.remaining_with(transfer.estimated_time()) else {
                return Poll::Ready(Err(TierError::Timeout));
            };
            let (transfer, running) = running.insert((transfer, Box::pin(run(budget))));
            // The first poll hands the command to the connection.
            let polled = running.as_mut().poll(cx);
            drop(order);
            transfer.is_in_flight = is_in_flight(&polled);
            polled
        })
        .await
    }

    /// Replaces the connection for large values, if there is one: it may lead to another server.
    pub(crate) fn replace_large_connection(&self) {
        if let Some(large) = self.large.get() {
            large.link.replace_connection();
        }
    }

    /// Returns the node for large values, or the main one while the former has no connection.
    fn large_node(&self) -> Result<&Self, TierError> {
        let large = self.large.get_or_init(|| {
            let settings = Arc::new(large_settings(&self.settings));
            Box::new(Self::new(settings, Member::new(String::new()), PushRouter::without_pushes()))
        });
        // Checked after the creation. `close` sets the flag before it looks for this node, so one of the two
        // sees the other.
        if self.supervision.is_closed() {
            return Err(TierError::Unavailable);
        }
        if !large.link.is_down() {
            return Ok(large);
        }
        // The server may accept no more connections. A later attempt may succeed.
        large.ensure_running()?;
        Ok(self)
    }
}

/// Returns the settings of the connection for large values.
fn large_settings(main: &Settings) -> Settings {
    Settings {
        // A check may have to wait for earlier transfers.
        check_timeout: main.check_timeout.saturating_add(2 * MAX_EXTENSION),
        has_substitute: true,
        ..main.clone()
    }
}
