//! In the place of `leaving`: the values here have no code of their own.

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
