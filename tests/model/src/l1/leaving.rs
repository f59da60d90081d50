//! A replacement for `leaving`: the values of the models have no code that runs on a drop.

use std::sync::Arc;

use crate::value::erased::ErasedValue;

#[derive(Debug)]
pub struct Leaving;

impl Leaving {
    pub fn begin() -> Self {
        Self
    }
}

pub(crate) fn leave(_: &Arc<dyn ErasedValue>) {}
