//! Building blocks that are independent of caching: time, tasks, patterns, tables by function, the program's name,
//! and planted bugs.

pub(crate) mod background;
pub(crate) mod clock;
pub(crate) mod function_table;
pub(crate) mod glob;
pub(crate) mod notice;
pub(crate) mod planted;
pub(crate) mod program;
pub(crate) mod race;
