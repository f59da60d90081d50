//! Small programs that use a cache as its documentation shows, and the folders in which they are built.

pub(crate) mod many;
pub(crate) mod one;
mod project;

pub(crate) use project::Project;
