//! Parser: turns tokens into options, the function, templates and single values.

pub(crate) mod function;
pub(crate) mod options;
pub(crate) mod template;
pub(crate) mod value;
