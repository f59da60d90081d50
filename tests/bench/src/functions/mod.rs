//! The functions under the attributes of `cached-aside`, `cached`, `cachelito` and `hitbox`.

mod hitbox;

use std::sync::Arc;

use crate::work::{Key, Prompt, Text, Value, load, now};

/// Capacity in entries of every cache with such a bound. Nothing is ever evicted.
///
/// The attributes take the bound as a literal.
pub const CAPACITY: u32 = 400_000;

/// A function under each of the attributes.
pub trait Functions<K: Key>: Value {
    /// Calls an `async fn` under `#[cached_aside::cached]`, with one poll.
    fn ours(key: &K) -> Self;
    /// Calls an `fn` under `#[cached_aside::cached(.., local)]`.
    fn ours_local(key: &K) -> Self;
    /// Calls an `fn` under `#[concurrent_cached]`, without a bound and without a ttl.
    fn concurrent(key: &K) -> Self;
    /// Calls an `fn` under `#[concurrent_cached]`, with a bound and a ttl.
    fn concurrent_bounded(key: &K) -> Self;
    /// Calls an `fn` under `#[cached]` of the crate `cached`, with a bound, a ttl and one lock.
    fn locked(key: &K) -> Self;
    /// Calls an `fn` under `#[cache]` of `cachelito`, with a bound, a ttl and the policy whose hits are fastest.
    fn cachelito(key: &K) -> Self;
    /// Calls an `async fn` under `#[cached]` of `hitbox` with its Moka backend, with one poll.
    fn hitbox(key: &K) -> Self;
    /// Returns the sizes of two futures in bytes.
    ///
    /// They are the future of [`ours`](Self::ours), and that of an equal function without the attribute.
    fn futures(key: &K) -> [usize; 2];
}

/// Implements `Functions` for one kind of key and value.
///
/// The prefixes differ because the functions share a cache. The arguments are passed as tokens, because
/// attributes do not look into a `ty`.
macro_rules! functions {
    (
        $module:ident, $key:ty as $pattern:pat => $value:ty,
        $arguments:tt = $number:expr, ($($pass:expr),+), $ours:literal, $local:literal, $hitbox:expr
    ) => {
        mod $module {
            use super::*;

            #[cached_aside::cached($ours, ttl = "1h")]
            pub(super) async fn ours $arguments -> $value {
                load($number)
            }

            #[cached_aside::cached($local, ttl = "1h", local)]
            pub(super) fn local $arguments -> $value {
                load($number)
            }

            #[cached::macros::concurrent_cached]
            pub(super) fn concurrent $arguments -> $value {
                load($number)
            }

            #[cached::macros::concurrent_cached(max_size = 400_000, ttl_secs = 3600)]
            pub(super) fn bounded $arguments -> $value {
                load($number)
            }

            #[cached::macros::cached(max_size = 400_000, ttl_secs = 3600)]
            pub(super) fn locked $arguments -> $value {
                load($number)
            }

            #[cachelito::cache(limit = 400_000, ttl = 3600, policy = "fifo")]
            pub(super) fn cachelito $arguments -> $value {
                load::<$value>($number)
            }

            #[allow(clippy::unused_async, reason = "to be compared")]
            pub(super) async fn plain $arguments -> $value {
                load($number)
            }
        }

        impl Functions<$key> for $value {
            #[inline]
            fn ours($pattern: &$key) -> Self {
                now($module::ours($($pass),+))
            }

            #[inline]
            fn ours_local($pattern: &$key) -> Self {
                $module::local($($pass),+)
            }

            #[inline]
            fn concurrent($pattern: &$key) -> Self {
                $module::concurrent($($pass),+)
            }

            #[inline]
            fn concurrent_bounded($pattern: &$key) -> Self {
                $module::bounded($($pass),+)
            }

            #[inline]
            fn locked($pattern: &$key) -> Self {
                $module::locked($($pass),+)
            }

            fn cachelito($pattern: &$key) -> Self {
                $module::cachelito($($pass),+)
            }

            fn hitbox(key: &$key) -> Self {
                $hitbox(key)
            }

            fn futures($pattern: &$key) -> [usize; 2] {
                [size_of_val(&$module::ours($($pass),+)), size_of_val(&$module::plain($($pass),+))]
            }
        }
    };
}

functions!(number_to_u64, u64 as id => u64, (id: u64) = id, (*id), "user0", "user1", |id: &u64| hitbox::number_to_u64(*id));
functions!(number_to_string, u64 as id => String, (id: u64) = id, (*id), "user2", "user3", |id: &u64| hitbox::number_to_string(*id));
functions!(
    text_to_u64, Text as (name, n) => u64, (name: &str, n: u32) = number(name, n), (name, *n), "user4", "user5",
    hitbox::text_to_u64
);
functions!(
    text_to_shared, Text as (name, n) => Arc<String>, (name: &str, n: u32) = number(name, n), (name, *n), "user6", "user7",
    hitbox::text_to_shared
);
functions!(
    prompt_to_shared, Prompt as Prompt(prompt) => Arc<String>, (prompt: &str) = Prompt::number_of(prompt), (prompt),
    "user8", "user9", hitbox::prompt_to_shared
);

fn number(name: &str, n: u32) -> u64 {
    debug_assert!(name.contains(&n.to_string()));
    n.into()
}
