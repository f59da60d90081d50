//! How many loads of a function go on at a time.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{cache::Cache, site::Site};

/// Of each function that has a limit, the places that are free.
#[derive(Debug, Default)]
pub(crate) struct Places(RwLock<HashMap<&'static str, Arc<Semaphore>>>);

impl Places {
    fn of(&self, function: &'static str, limit: u32) -> Arc<Semaphore> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(places) = known.get(function) {
            return places.clone();
        }
        drop(known);
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let make = || Arc::new(Semaphore::new(usize::try_from(limit).unwrap_or(usize::MAX >> 3)));
        all.entry(function).or_insert_with(make).clone()
    }
}

impl Cache {
    /// Waits for a place for a load, if its function has a limit. A load inside of another one takes none: the outer one
    /// may hold the place that it would wait for.
    pub(crate) async fn place(&self, site: &Site, is_nested: bool) -> Option<OwnedSemaphorePermit> {
        let limit = site.load_cap()?;
        if is_nested {
            return None;
        }
        self.places().of(site.template(), limit).acquire_owned().await.ok()
    }
}
