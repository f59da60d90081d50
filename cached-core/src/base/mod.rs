//! Parts that know nothing of caching: time, tasks, texts and numbers that the rest stands on.

pub(crate) mod background;
pub(crate) mod clock;
pub(crate) mod glob;
pub(crate) mod notice;
pub(crate) mod planted;
pub(crate) mod program;
pub(crate) mod race;
