//! Bugs that the history checker must find. Without the feature `planted`, which is for that test only, there are none.

/// Whether a bug is turned on: a constant without the feature.
#[doc(hidden)]
#[macro_export]
macro_rules! planted {
    ($name:literal) => {
        $crate::__private::is_planted($name)
    };
}

pub(crate) use planted;

/// Named by the environment variable `CACHED_ASIDE_PLANT`.
#[cfg(feature = "planted")]
pub fn is_planted(name: &str) -> bool {
    use std::{env, sync::LazyLock};

    static PLANT: LazyLock<String> = LazyLock::new(|| env::var("CACHED_ASIDE_PLANT").unwrap_or_default());
    !PLANT.is_empty() && *PLANT == name
}

/// There are none.
#[cfg(not(feature = "planted"))]
#[inline]
pub const fn is_planted(_: &str) -> bool {
    false
}
