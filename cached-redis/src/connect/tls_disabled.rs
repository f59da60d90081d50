//! Stub of `tls` for builds without the feature `tls`.

use std::io;

use cached_core::{Error, TierCause};
use tokio::net::TcpStream;

use crate::connect::credentials::Identity;

/// TLS settings, of which there are none.
#[derive(Clone, Default)]
pub(crate) struct Certificates {}

impl Certificates {
    #[expect(clippy::unused_self, reason = "same signature as with the feature")]
    pub(crate) fn is_empty(&self) -> bool {
        true
    }
}

/// TLS, which cannot exist without the feature.
#[derive(Debug)]
pub(crate) enum Tls {}

/// Stream type that is never constructed.
pub(crate) type TlsStream = TcpStream;

impl Tls {
    pub(crate) fn new(_: &Certificates) -> Result<Self, Error> {
        Err(Error::config("redis url: TLS is not compiled in: rediss:// needs the feature `tls`"))
    }

    pub(crate) fn is_valid_host(_: &str) -> bool {
        false
    }

    pub(crate) async fn handshake(
        &self,
        _: &str,
        _: TcpStream,
        _: &Identity,
    ) -> Result<TlsStream, TierCause> {
        match *self {}
    }
}

/// Returns `None`, because no error is a TLS error.
pub(crate) fn cause(_: &io::Error) -> Option<TierCause> {
    None
}
