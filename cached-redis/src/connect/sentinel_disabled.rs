//! Stub of `sentinel` for builds without the feature `sentinel`.

use std::time::Duration;

use cached_core::{Error, TierCause};
use redis::ConnectionAddr;

use crate::connect::{connection::Connection, credentials::Identity, dialer::Dialer};

/// Sentinels, which cannot exist without the feature.
#[derive(Debug)]
pub(crate) enum Sentinels {}

/// Address of the primary, which no sentinel reports.
#[derive(Clone, Debug)]
pub(crate) struct PrimaryAddress {
    pub(crate) primary: ConnectionAddr,
}

impl Sentinels {
    pub(crate) fn parse(_: &str, _: &str, _: (Option<&str>, Option<&str>)) -> Result<Self, Error> {
        Err(Error::config(
            "redis url: Sentinel is not compiled in: redis-sentinel:// needs the feature `sentinel`",
        ))
    }

    pub(crate) fn label(&self) -> String {
        match *self {}
    }

    pub(crate) fn addresses(&self) -> &[ConnectionAddr] {
        match *self {}
    }

    pub(crate) async fn find_primary(
        &self,
        _: &Dialer,
        _: &Identity,
        _: Duration,
    ) -> Result<PrimaryAddress, TierCause> {
        match *self {}
    }

    pub(crate) async fn verify_primary(
        &self,
        _: &PrimaryAddress,
        _: &mut Connection,
    ) -> Result<(), TierCause> {
        match *self {}
    }
}
