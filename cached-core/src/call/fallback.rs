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

/// Outcome of a load, besides its result.
#[derive(Clone, Copy)]
pub(crate) struct LoadOutput {
    pub(crate) is_error: bool,
    /// An older value could still be served when the load had ended.
    pub(crate) may_serve_fallback: bool,
}

impl Fallback {
    /// Returns the reply with the entry after a load that has failed, if the entry may be served.
    ///
    /// Without an output, the load has panicked.
    pub(crate) fn reply_after(&self, output: Option<LoadOutput>) -> Option<ErasedReply> {
        match output {
            Some(LoadOutput { is_error: false, .. }) => None,
            Some(LoadOutput { may_serve_fallback: true, .. }) => {
                self.context.fallback_reply_unchecked(&self.entry)
            }
            _ => self.context.fallback_reply(&self.entry),
        }
    }
}
