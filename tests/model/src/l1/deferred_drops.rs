//! A replacement for `deferred_drops`: the values of the models have no code that runs on a drop.

use std::sync::Arc;

use crate::value::erased::ErasedValue;

#[derive(Debug)]
pub struct DeferredDrops;

impl DeferredDrops {
    pub fn begin() -> Self {
        Self
    }
}

pub(crate) fn defer_drop(_: &Arc<dyn ErasedValue>) {}
