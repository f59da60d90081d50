//! In the place of `tls` where it is not compiled in.

use std::io;

use cached_core::{Error, TierCause};
use tokio::net::TcpStream;

use crate::connect::credentials::Identity;

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

/// Never made.
pub(crate) type TlsStream = TcpStream;

impl Tls {
    pub(crate) fn new(_: &Certificates) -> Result<Self, Error> {
        Err(Error::config("redis url: TLS is not compiled in: rediss:// needs the feature `tls`"))
    }

    pub(crate) fn can_name(_: &str) -> bool {
        false
    }

    pub(crate) async fn secure(&self, _: &str, _: TcpStream, _: &Identity) -> Result<TlsStream, TierCause> {
        match *self {}
    }
}

/// No error is one of TLS.
pub(crate) fn cause(_: &io::Error) -> Option<TierCause> {
    None
}
