//! An older entry that is served if the load in its place fails.

use std::sync::Arc;

use crate::{
    call::context::{CallContext, ErasedReply},
    l1::entry::Entry,
};

/// An entry that is served if the load in its place fails.
pub(crate) struct Fallback {
    pub(crate) context: Box<CallContext>,
    pub(crate) entry: Arc<Entry>,
}

impl Fallback {
    /// Returns the reply with the entry, if it may be served.
    ///
    /// `may_serve` tells that the entry could be served when the load had ended.
    pub(crate) fn reply(&self, may_serve: bool) -> Option<ErasedReply> {
        if may_serve {
            self.context.fallback_reply_unchecked(&self.entry)
        } else {
            self.context.fallback_reply(&self.entry)
        }
    }
}
