//! The checks of the promises on a history. Each file checks one promise, as a pure function.
//!
//! In all of them a value is **superseded** by an invalidation if its load began before the invalidation did.
//! The promise is worded in the same way ("no load that began before it"). The definition needs no versions,
//! and it covers tags, patterns and flushes, which write one key and invalidate many. A separate check,
//! `source`, compares it with the versions: a load that began after a version was written must see that
//! version.

mod acknowledged;
mod allowance;
mod answers;
mod confirmed;
mod deadlines;
mod fence;
mod finding;
mod one_load;
mod outages;
mod prepared;
mod source;
#[cfg(test)]
mod synthetic;

pub(crate) use finding::{Findings, Promise, Violation};
pub(crate) use outages::Outages;
pub(crate) use prepared::Prepared;

use crate::history::History;

/// Checks all promises.
pub(crate) fn check(history: &History) -> Findings {
    let prepared = Prepared::new(history);
    let mut findings = Findings::default();
    source::check(&prepared, &mut findings);
    fence::check(&prepared, &mut findings);
    one_load::check(&prepared, &mut findings);
    acknowledged::check(&prepared, &mut findings);
    confirmed::check(&prepared, &mut findings);
    deadlines::check(&prepared, &mut findings);
    answers::check(&prepared, &mut findings);
    findings
}
