//! Cached functions in a crate of edition 2021, where `impl Trait` in a return type captures no lifetimes by
//! itself.
#![deny(
    warnings,
    unused,
    nonstandard_style,
    rust_2018_idioms,
    rust_2024_compatibility,
    missing_docs,
    missing_debug_implementations,
    missing_copy_implementations,
    unreachable_pub,
    unused_qualifications,
    single_use_lifetimes,
    trivial_casts,
    unused_lifetimes,
    clippy::all,
    clippy::pedantic,
    clippy::nursery,
    rustdoc::all
)]
#![forbid(unsafe_code)]

use std::{
    borrow::Cow,
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
};

use cached_aside::{cached, invalidates};

#[cfg(test)]
mod tests;

static RUNS: AtomicUsize = AtomicUsize::new(0);

fn run() {
    RUNS.fetch_add(1, Ordering::SeqCst);
}

/// Borrows everything it can.
#[cached("2021:borrowed", ttl = "1m")]
pub async fn borrowed<'a>(text: &'a str, many: &[&'a str], maybe: Option<&str>, cow: Cow<'_, str>) -> usize {
    run();
    text.len() + many.len() + maybe.map_or(0, str::len) + cow.len()
}

/// Runs a load that outlives the caller.
#[cached("2021:detached:{text}:{hash(bytes)}", ttl = "1m")]
pub async fn detached(text: &str, bytes: &[u8]) -> Option<String> {
    run();
    Some(format!("{text}{}", bytes.len()))
}

/// Returns a result.
///
/// # Errors
/// If the text is not a number.
#[cached("2021:fallible", ttl = "1m")]
pub async fn fallible(text: &str) -> Result<u32, std::num::ParseIntError> {
    run();
    text.parse()
}

/// Blocks the thread.
#[cached("2021:blocking", ttl = "1m", local)]
pub fn blocking(text: &str) -> usize {
    run();
    text.len()
}

/// Returns its future in a box.
#[cached("2021:boxed", ttl = "1m")]
pub fn boxed(text: &str) -> Pin<Box<dyn Future<Output = usize> + Send + '_>> {
    run();
    Box::pin(std::future::ready(text.len()))
}

/// Counts elements of a generic type.
#[cached("2021:generic", ttl = "1m")]
pub async fn generic<T>(all: &[T], _unused: &str) -> usize
where
    T: serde::Serialize + Sync,
{
    run();
    all.len()
}

#[cached("2021:private", ttl = "1m")]
async fn private(text: &str) -> usize {
    run();
    text.len()
}

/// A type with methods.
#[derive(Clone, Copy, Debug, Default)]
pub struct Repo {
    /// The tenant that the methods are about.
    pub tenant: u32,
}

impl Repo {
    /// A method with a handle that borrows.
    #[cached("2021:method:{self.tenant}:{text}", ttl = "1m", handle = method_entry)]
    pub async fn method(&self, text: &str) -> usize {
        run();
        text.len()
    }

    /// A method that blocks.
    #[cached("2021:sync_method:{self.tenant}:{text}", ttl = "1m", local, handle = sync_method_entry)]
    #[must_use]
    pub fn sync_method(&self, text: &str) -> usize {
        run();
        text.len() * self.tenant as usize
    }

    /// A generic method with a named lifetime.
    #[cached("2021:generic_method", ttl = "1m", key = (self.tenant, all), handle = generic_entry)]
    pub async fn generic_method<'a, T>(&'a self, all: &'a [T]) -> usize
    where
        T: serde::Serialize + Sync,
    {
        run();
        all.len() * self.tenant as usize
    }

    /// A method without a handle.
    #[cached("2021:plain", ttl = "1m", skip(self))]
    pub async fn plain(&self, text: &str, maybe: Option<&str>) -> usize {
        run();
        text.len() + maybe.map_or(0, str::len)
    }
}

/// Writes a borrowed text.
///
/// # Errors
/// If the text is not a number.
#[invalidates(private(text), generic(many, text), tags = ["text:{text}", "{hash(many)}"], prefix = "2021:{text}:")]
pub async fn write<'a>(text: &'a str, many: &[&'a str]) -> Result<&'a str, std::num::ParseIntError> {
    text.parse::<usize>().map(|index| many.get(index).copied().unwrap_or(text))
}

impl Repo {
    /// A method with a future that captures the named lifetime.
    #[invalidates(self.method_entry(text), tags = ["tenant:{self.tenant}"])]
    pub fn write<'a>(&'a mut self, text: &'a str) -> impl Future<Output = u32> + Send + 'a {
        async move {
            self.tenant += u32::from(text.is_empty());
            self.tenant
        }
    }

    /// A method of the usual kind.
    #[invalidates(self.method_entry(text), self.sync_method_entry(text), tags = ["tenant:{self.tenant}"])]
    pub async fn change(&mut self, text: &str) {
        self.tenant += u32::from(text.is_empty());
    }
}

/// Uses the private function.
pub async fn private_len(text: &str) -> usize {
    private(text).await
}
