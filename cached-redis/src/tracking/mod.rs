//! Server-assisted invalidation (`CLIENT TRACKING`): the pushes of a server about keys that were read.
//!
//! `mode` selects the changes that are pushed, `push` delivers them, and `self_test` proves that they arrive.
//! `trial` tries the modes on a new connection. `attachment` names the shared keys, `acks` acknowledges
//! barriers, and `cluster_view` is the view of a cluster.

pub(crate) mod acks;
pub(crate) mod attachment;
pub(crate) mod cluster_view;
pub(crate) mod mode;
pub(crate) mod push;
pub(crate) mod self_test;
pub(crate) mod trial;
