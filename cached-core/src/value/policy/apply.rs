//! Policies at work: the implementation of [`ValuePolicy`].
//!
//! The text of an error, `tags_from` and `weight` are code of the user. A panic in that code after a load must
//! not take the result from the caller, so it is caught here.

use std::{
    any::{Any, type_name},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use crate::{
    base::clock::Nanos,
    error::{Error, shared::SharedLoadError},
    key::{KeyHasher, tag::Tag},
    spec::{FunctionSpec, Owner},
    value::{
        codec::Format,
        envelope::schema_fingerprint,
        erased::{ErasedValue, Freshness, Value},
        policy::{Encoded, Encoder, Lifespan, TypedPolicy, ValuePolicy},
    },
};

impl<V, E, R> ValuePolicy for TypedPolicy<V, E, R>
where
    V: Clone + Send + Sync + 'static,
    E: 'static,
{
    fn encoder(&self, erased: &Arc<dyn ErasedValue>) -> Option<Encoder> {
        let (encode, _) = self.codec?;
        let erased = erased.clone();
        let is_empty = self.is_empty;
        Some(Box::new(move |format, is_checked, out| {
            let any: &dyn Any = &*erased;
            let Value { value, .. } = any.downcast_ref::<Value<V>>().ok_or_else(not_shared)?;
            let codec = encode(format, value, is_checked, out)?;
            Ok(Encoded { codec, is_empty: is_empty.is_some_and(|is_empty| is_empty(value)) })
        }))
    }

    fn decode(
        &self,
        payload: &[u8],
        is_empty: bool,
        format: &Format,
        lifespan: Lifespan,
    ) -> Result<Arc<dyn ErasedValue>, Error> {
        let (_, decode) = self.codec.as_ref().ok_or_else(not_shared)?;
        let value = decode(format, payload)?;
        // A custom codec may write `Some(())` and `None` alike: a miss is better than a wrong value.
        if self.is_empty(&value) != is_empty {
            return Err(Error::codec("the codec writes a value and its absence alike"));
        }
        let weight = self.weight_of(&value).ok_or_else(|| Error::codec("the value cannot be weighed"))?;
        let freshness = self.freshness_at(lifespan, weight);
        Ok(Arc::new(Value { freshness, value }))
    }

    fn stub_freshness(&self, lifespan: Lifespan) -> Freshness {
        self.freshness_at(lifespan, 0)
    }

    fn schema(&self, spec: &FunctionSpec) -> u64 {
        let names = match spec.owned_by() {
            Owner::Anyone => &[type_name::<V>()][..],
            Owner::Function(path) => &[path, type_name::<V>()],
            Owner::Schema(name) => &[name],
        };
        schema_fingerprint(names, spec.schema_version())
    }

    fn has_value_tags(&self) -> bool {
        self.tags_from.is_some()
    }

    fn value_tags(&self, erased: &dyn ErasedValue, hasher: &dyn KeyHasher) -> Option<Vec<String>> {
        let Some(tags_from) = self.tags_from else { return Some(Vec::new()) };
        // An error has no tags.
        let Some(Value { value, .. }) = (erased as &dyn Any).downcast_ref::<Value<V>>() else {
            return Some(Vec::new());
        };
        // This is the user's code, which may panic.
        let tags = catch_unwind(AssertUnwindSafe(|| tags_from(value))).ok()?;
        tag_names(&tags, hasher)
    }

    fn ttl_hint(&self) -> Option<Duration> {
        self.ttl_from.is_none().then(|| (self.ttl)().max(self.empty_ttl.unwrap_or_default()))
    }

    fn stale(&self) -> Duration {
        self.stale_period()
    }

    fn has_early_renewal(&self) -> bool {
        self.stale.is_some() || self.refresh_ahead.is_some()
    }

    fn is_value(&self, erased: &dyn ErasedValue) -> bool {
        (erased as &dyn Any).is::<Value<V>>()
    }

    fn is_result(&self, erased: &dyn ErasedValue) -> bool {
        self.is_value(erased) || self.sharing.as_ref().is_some_and(|sharing| sharing.is_error(erased))
    }

    fn can_restore(&self, erased: &dyn ErasedValue) -> bool {
        let restores =
            || self.sharing.as_ref().is_some_and(|sharing| sharing.restore_error(erased).is_some());
        // This is the user's code, which may panic.
        self.is_value(erased) || catch_unwind(AssertUnwindSafe(restores)).unwrap_or(false)
    }

    fn shared_error(&self, erased: &dyn ErasedValue) -> Option<SharedLoadError> {
        let error_text = self.error_text?;
        let describe = || self.sharing.as_ref()?.text_of(erased, error_text);
        // This is the user's code, which may panic.
        catch_unwind(AssertUnwindSafe(describe)).ok()?
    }

    fn can_rebuild_errors(&self) -> bool {
        self.error_text.is_some()
    }

    fn rebuild_error(&self, error: SharedLoadError, now: Nanos) -> Option<Arc<dyn ErasedValue>> {
        let error_text = self.error_text?;
        let freshness = Freshness::new(now, Duration::ZERO, Duration::ZERO, size_of::<E>());
        let rebuild = || {
            let own_error = (error_text.from_text)(error.clone());
            Some(self.sharing.as_ref()?.erase_rebuilt(own_error, error, freshness))
        };
        // This is the user's code, which may panic.
        catch_unwind(AssertUnwindSafe(rebuild)).ok()?
    }

    fn load_timeout(&self) -> Option<Duration> {
        self.load_timeout.map(|(limit, _)| limit)
    }
}

fn tag_names(tags: &[Tag], hasher: &dyn KeyHasher) -> Option<Vec<String>> {
    tags.iter().map(|tag| tag.name(hasher).ok()).collect()
}

fn not_shared() -> Error {
    Error::codec("values of this type are not shared")
}
