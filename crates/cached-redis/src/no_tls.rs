//! In the place of `tls` where it is not compiled in.

use cached_core::Error;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisResult};

use crate::connection::Connection;

/// There are none to give.
#[derive(Clone, Default)]
pub(crate) struct Certificates {}

impl Certificates {
    #[expect(clippy::unused_self, reason = "as the other")]
    pub(crate) fn is_empty(&self) -> bool {
        true
    }
}

/// There is none.
#[derive(Debug)]
pub(crate) enum Tls {}

impl Tls {
    pub(crate) fn new(_: &Certificates) -> Result<Self, Error> {
        Err(Error::config("redis url: TLS is not compiled in: rediss:// needs the feature `tls`"))
    }

    pub(crate) fn can_name(_: &str) -> bool {
        false
    }

    pub(crate) async fn connect(
        &self,
        _: &str,
        _: u16,
        _: &RedisConnectionInfo,
        _: AsyncConnectionConfig,
    ) -> RedisResult<Connection> {
        match *self {}
    }
}
