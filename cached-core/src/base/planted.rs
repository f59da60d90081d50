//! Planted bugs that the history checker must find.
//!
//! The feature `planted` is for that test only. Without it there are none.

/// Returns whether a planted bug is turned on: a constant `false` without the feature.
#[doc(hidden)]
#[macro_export]
macro_rules! planted {
    ($name:literal) => {
        $crate::__private::is_planted($name)
    };
}

pub(crate) use planted;

/// Returns whether `CACHED_ASIDE_PLANT` in the environment names this bug.
#[cfg(feature = "planted")]
pub fn is_planted(name: &str) -> bool {
    use std::{env, sync::LazyLock};

    static PLANT: LazyLock<String> = LazyLock::new(|| env::var("CACHED_ASIDE_PLANT").unwrap_or_default());
    !PLANT.is_empty() && *PLANT == name
}

/// Returns `false`: without the feature there are no planted bugs.
#[cfg(not(feature = "planted"))]
#[inline]
pub const fn is_planted(_: &str) -> bool {
    false
}
