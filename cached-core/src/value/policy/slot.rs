//! The place of a result on its way to the caller.
//!
//! The path of a call does not know the return type. It fills, splits and times out a result through
//! [`ResultSlot`], and only the code at the end of the call takes the result out of its [`TypedSlot`].

use std::sync::Arc;

use crate::value::{
    erased::ErasedValue,
    policy::{LoadContext, LoadedValue, ResultPolicy},
};

/// A [`TypedSlot`] of some return type.
pub(crate) trait ResultSlot {
    /// Splits the result of the load. The part for the caller stays here, the part for others is returned.
    fn split(&mut self, context: &LoadContext) -> LoadedValue;

    /// Puts the result that `erased` holds here. Returns whether it could be restored.
    fn restore(&mut self, erased: &dyn ErasedValue) -> bool;

    /// Returns whether the result is an error, and discards it.
    fn is_error(&mut self) -> bool;

    /// Puts the result of a load that has taken too long here. Returns whether there is one.
    fn time_out(&mut self) -> bool;
}

/// Place of one result, and the policies of its type.
pub(crate) struct TypedSlot<R> {
    policy: Arc<dyn ResultPolicy<R>>,
    result: Option<R>,
}

impl<R> TypedSlot<R> {
    pub(crate) fn new(policy: Arc<dyn ResultPolicy<R>>) -> Self {
        Self { policy, result: None }
    }

    pub(crate) fn put(&mut self, result: R) {
        self.result = Some(result);
    }

    pub(crate) fn take(&mut self) -> Option<R> {
        self.result.take()
    }
}

impl<R> ResultSlot for TypedSlot<R> {
    fn split(&mut self, context: &LoadContext) -> LoadedValue {
        let Some(result) = self.result.take() else {
            return LoadedValue { erased: None, ttl: None, is_error: true };
        };
        let (result, loaded) = self.policy.split_result(result, context);
        self.result = Some(result);
        loaded
    }

    fn restore(&mut self, erased: &dyn ErasedValue) -> bool {
        let Some(result) = self.policy.restore(erased) else { return false };
        self.result = Some(result);
        true
    }

    fn is_error(&mut self) -> bool {
        self.result.take().is_some_and(|result| self.policy.is_error_result(result))
    }

    fn time_out(&mut self) -> bool {
        self.result = self.policy.timeout_result();
        self.result.is_some()
    }
}
