//! Options of the attribute, each with the method that sets it.
//!
//! Generated code calls these methods in a chain. The defaults are those of `TypedPolicy::new`.

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::load_timeout::LoadTimeout,
    key::tag::Tag,
    value::{
        codec::Format,
        policy::{ErrorText, Sharing, TypedPolicy},
        weigh::weigh,
    },
};

/// One method for each option of the attribute.
impl<V, E, R> TypedPolicy<V, E, R> {
    /// Sets the time for which a value is fresh.
    #[must_use]
    pub fn ttl(self, ttl: fn() -> Duration) -> Self {
        Self { ttl, ..self }
    }

    /// Derives the time for which a value is fresh from the value.
    #[must_use]
    pub fn ttl_from(self, ttl_from: fn(&V) -> Duration) -> Self {
        Self { ttl_from: Some(ttl_from), ..self }
    }

    /// Derives further tags from the value.
    #[must_use]
    pub fn tags_from(self, tags_from: fn(&V) -> Vec<Tag>) -> Self {
        Self { tags_from: Some(tags_from), ..self }
    }

    /// Shortens each ttl by a random share of up to `jitter`.
    #[must_use]
    pub fn jitter(self, jitter: f64) -> Self {
        Self { jitter: jitter.clamp(0.0, 1.0), ..self }
    }

    /// Sets the time for which a value may be served after it was fresh.
    ///
    /// A stale value is served while it is loaded again, and when that load fails.
    #[must_use]
    pub fn stale(self, stale: fn() -> Duration) -> Self {
        Self { stale: Some(stale), ..self }
    }

    /// Sets the share of its life after which a value is loaded again.
    #[must_use]
    pub fn refresh_ahead(self, share: f64) -> Self {
        Self { refresh_ahead: Some(share), ..self }
    }

    /// Sets the longest time a load may take, and the error of one that takes longer.
    #[must_use]
    pub fn load_timeout(self, limit: Duration, error: fn(LoadTimeout) -> E) -> Self {
        Self { load_timeout: Some((limit, error)), ..self }
    }

    /// Sets the time for which a `None` is kept.
    #[must_use]
    pub fn empty_ttl(self, ttl: Duration) -> Self {
        Self { empty_ttl: Some(ttl), ..self }
    }

    /// Selects the values that are kept.
    #[must_use]
    pub fn cache_if(self, cache_if: fn(&V) -> bool) -> Self {
        Self { cache_if: Some(cache_if), ..self }
    }

    /// Keeps a `None` as well.
    #[must_use]
    pub fn cache_none(self) -> Self {
        Self { caches_empty: true, ..self }
    }

    /// Selects the errors that are kept, in this process, and sets their ttl.
    #[must_use]
    pub fn cache_err(self, ttl: Duration, which: fn(&E) -> bool) -> Self {
        Self { cache_err: Some((ttl, which)), ..self }
    }

    /// Sets the function that recognises a `None`.
    #[must_use]
    pub fn empty_if(self, is_empty: Option<fn(&V) -> bool>) -> Self {
        Self { is_empty, ..self }
    }

    /// Shares errors with the followers: as copies if possible, or else as text.
    ///
    /// Other processes get text only.
    #[must_use]
    pub fn share_errors(self, sharing: Option<Sharing<E>>, error_text: Option<ErrorText<E>>) -> Self {
        Self { sharing: sharing.or_else(|| error_text.map(Sharing::by_text)), error_text, ..self }
    }

    /// Makes the copies for the followers with `copy` instead.
    ///
    /// The text for other processes is that of the copy.
    #[must_use]
    pub fn share_err(self, copy: fn(&E) -> E) -> Self
    where
        E: Send + Sync + 'static,
    {
        Self { sharing: Some(Sharing::by_copy(copy)), ..self }
    }

    /// Sets the function that estimates the bytes that a value holds on the heap.
    #[must_use]
    pub fn heap(self, heap: fn(&V) -> usize) -> Self {
        Self { heap_bytes: heap, ..self }
    }

    /// Sets the function that returns the bytes of a value, on the heap and off it.
    #[must_use]
    pub fn weight(self, weight: fn(&V) -> usize) -> Self {
        Self { weight: Some(weight), ..self }
    }

    /// Stores values in L2 as well, and estimates their heap size through `Serialize`.
    #[must_use]
    pub fn shared(self) -> Self
    where
        V: Serialize + DeserializeOwned,
    {
        Self { codec: Some((Format::write, Format::decode)), heap_bytes: weigh, ..self }
    }
}
