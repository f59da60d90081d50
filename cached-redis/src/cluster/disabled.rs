//! Stub of `cluster` for builds without the feature `cluster`.

use std::{sync::Arc, time::Duration};

use cached_core::{Error, TierCause, TierError, tier::Attachment};
use tokio::sync::watch;

use crate::{
    availability::{health::RedisHealth, status::RedisState},
    connect::{endpoint::Endpoint, settings::Settings},
    node::{Answers, Node, transfers::OperationBudget},
    protocol::batch::Batch,
    tracking::attachment::{AttachedCache, Registry},
};

/// A cluster, which cannot exist without the feature.
#[derive(Debug)]
pub(crate) enum Cluster {}

impl Cluster {
    pub(crate) fn new(_: impl Fn(Endpoint) -> Settings, _: Vec<Endpoint>) -> Result<Self, Error> {
        Err(Error::config(
            "redis url: Redis Cluster is not compiled in: redis-cluster:// needs the feature `cluster`",
        ))
    }

    pub(crate) fn settings(&self) -> &Settings {
        match *self {}
    }

    pub(crate) fn label(&self) -> String {
        match *self {}
    }

    pub(crate) fn attach(&self, _: &Attachment) {
        match *self {}
    }

    pub(crate) fn attached(&self) -> Option<&AttachedCache> {
        match *self {}
    }

    pub(crate) fn ready(&self) -> bool {
        match *self {}
    }

    pub(crate) async fn read(&self, _: &Batch, _: Duration) -> Result<Answers, TierError> {
        match *self {}
    }

    pub(crate) async fn write(&self, _: &Batch, _: Duration) -> Result<Answers, TierError> {
        match *self {}
    }

    pub(crate) async fn read_large(
        &self,
        _: &Batch,
        _: usize,
        _: OperationBudget,
    ) -> Result<Answers, TierError> {
        match *self {}
    }

    pub(crate) async fn write_large(
        &self,
        _: &Batch,
        _: usize,
        _: OperationBudget,
    ) -> Result<Answers, TierError> {
        match *self {}
    }

    pub(crate) fn replace_large_connection(&self, _: &str) {
        match *self {}
    }

    pub(crate) async fn close(&self) {
        match *self {}
    }

    pub(crate) fn nodes(&self) -> Arc<[Arc<Node>]> {
        match *self {}
    }

    pub(crate) fn by_server<'a>(&self, _: impl Iterator<Item = &'a str>) -> Option<Vec<Vec<usize>>> {
        match *self {}
    }

    pub(crate) async fn survey(&self) -> Result<(Vec<Arc<Node>>, Survey), TierError> {
        match *self {}
    }

    pub(crate) fn registries(&self) -> Vec<Registry> {
        match *self {}
    }

    pub(crate) fn member_prefix(&self) -> &str {
        match *self {}
    }

    pub(crate) fn state(&self) -> RedisState {
        match *self {}
    }

    pub(crate) async fn connected(&self) -> Result<(), TierCause> {
        match *self {}
    }

    pub(crate) fn watch_state(&self) -> watch::Receiver<RedisState> {
        match *self {}
    }

    pub(crate) fn health(&self) -> RedisHealth {
        match *self {}
    }
}

/// Stub of `join_all`. Never called, as there is only one server.
pub(crate) async fn join_all<F: Future>(_: impl Iterator<Item = F>) -> Vec<F::Output> {
    Vec::new()
}

/// Survey of a standalone server, which no slot leaves.
#[derive(Debug, Default)]
pub(crate) struct Survey {}

impl Survey {
    #[expect(clippy::unused_self, reason = "same signature as with the feature")]
    pub(crate) fn is_stable_until(&self, _: &Self) -> bool {
        true
    }
}
