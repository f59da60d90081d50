//! What a server says unasked of the keys that were read, and whether it does.

pub(crate) mod acks;
pub(crate) mod attachment;
pub(crate) mod cluster_view;
pub(crate) mod echo;
pub(crate) mod mode;
pub(crate) mod push;
pub(crate) mod trial;
