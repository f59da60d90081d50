//! The two ends of a call, which know the return type: the split of a result, and its restoration.
//!
//! The copy of an error is code of the user. A panic in that code after a load must not take the result from
//! the caller, so it is caught here.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use crate::{
    error::load_timeout::LoadTimeout,
    value::{
        erased::{ErasedValue, Freshness, Value},
        policy::{Lifespan, LoadContext, LoadedValue, ResultPolicy, Sharing, TypedPolicy},
    },
};

impl<V, E, R> TypedPolicy<V, E, R>
where
    V: Clone + Send + Sync + 'static,
{
    /// Restores a result from a value; `None` if `erased` is no `V`.
    ///
    /// This is the path of a hit, where the policies do not matter.
    #[inline]
    pub fn restore_value(&self, erased: &dyn ErasedValue) -> Option<R> {
        let Value { value, .. } = (erased as &dyn Any).downcast_ref::<Value<V>>()?;
        Some((self.join)(Ok(value.clone())))
    }
}

impl<V, E, R> ResultPolicy<R> for TypedPolicy<V, E, R>
where
    V: Clone + Send + Sync + 'static,
    E: 'static,
{
    fn restore(&self, erased: &dyn ErasedValue) -> Option<R> {
        self.restore_value(erased).or_else(|| {
            let sharing = self.sharing.as_ref()?;
            // This is the user's code, which may panic.
            let error = catch_unwind(AssertUnwindSafe(|| sharing.restore_error(erased))).ok()??;
            Some((self.join)(Err(error)))
        })
    }

    fn split_result(&self, result: R, context: &LoadContext) -> (R, LoadedValue) {
        match (self.split)(result) {
            Ok(value) => {
                let ttl = self.ttl_of(&value, context);
                // A value that is not kept counts for nothing. One that cannot be weighed is not kept, because
                // the bound of L1 would not hold.
                let weight = ttl.and_then(|_| self.weight_of(&value));
                let ttl = ttl.filter(|_| weight.is_some());
                let (now, remaining, stale) = (context.now, ttl.unwrap_or_default(), self.stale_period());
                let lifespan = Lifespan { now, age: Duration::ZERO, remaining, stale };
                let freshness = self.freshness_at(lifespan, weight.unwrap_or_default());
                let result = (self.join)(Ok(value.clone()));
                let erased: Arc<dyn ErasedValue> = Arc::new(Value { freshness, value });
                (result, LoadedValue { erased: Some(erased), ttl, is_error: false })
            }
            Err(error) => {
                let cache_err = self.cache_err.filter(|_| context.ttl.is_none_or(|ttl| !ttl.is_zero()));
                let ttl = cache_err.and_then(|(ttl, which)| which(&error).then_some(ttl));
                let freshness =
                    Freshness::new(context.now, Duration::ZERO, ttl.unwrap_or_default(), size_of::<E>());
                // This is the user's code: a panic in it must not take the error from the caller.
                let erase = |sharing: &Sharing<E>| {
                    catch_unwind(AssertUnwindSafe(|| sharing.erase(&error, freshness))).ok()
                };
                let erased = self.sharing.as_ref().and_then(erase);
                ((self.join)(Err(error)), LoadedValue { erased, ttl, is_error: true })
            }
        }
    }

    fn is_error_result(&self, result: R) -> bool {
        (self.split)(result).is_err()
    }

    fn timeout_result(&self) -> Option<R> {
        let (limit, error) = self.load_timeout?;
        Some((self.join)(Err(error(LoadTimeout { limit }))))
    }
}
