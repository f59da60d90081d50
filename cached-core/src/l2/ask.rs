//! Reads of the shared tier: counted, timed, and in a span.

use std::sync::Arc;

use crate::{
    base::clock::Nanos,
    error::tier::TierError,
    l2::shared::Shared,
    telemetry::{functions::FunctionMetrics, span::Span, step::TimedSpan},
    tier::{Found, Lookup, Record, budget::Budget, feed::ChangeFeed},
};

/// Reads one key, timed from `began` on. Returns the reply and the time at which it arrived.
pub(crate) async fn look_at(
    shared: &Shared,
    function: &FunctionMetrics,
    key: &str,
    budget: Budget,
    began: Nanos,
) -> (Result<(Record, Arc<ChangeFeed>), TierError>, Nanos) {
    let mut step = TimedSpan::since(began, Span::look(function.name()), &shared.clock);
    let seen = step.around(shared.tier.look_at_within(key, budget)).await;
    let took = step.end(outcome(seen.as_ref().map(|(record, _)| Some(record))));
    function.look().record(took);
    (seen, began.saturating_add(took))
}

/// Reads several keys and the generations of several tags in one round trip.
pub(crate) async fn look(
    shared: &Shared,
    function: &FunctionMetrics,
    asks: &[Lookup<'_>],
    tags: &[String],
    budget: Budget,
) -> Result<Found, TierError> {
    let mut step = TimedSpan::begin(Span::look(function.name()), &shared.clock);
    let seen = step.around(shared.tier.look_within(asks, tags, budget)).await;
    let took = step.end(outcome(seen.as_ref().map(|seen| seen.records.last())));
    function.look().record(took);
    seen
}

fn outcome(seen: Result<Option<&Record>, &TierError>) -> &'static str {
    match seen {
        Err(_) => "error",
        Ok(Some(Record::Leased { .. })) => "leased",
        Ok(Some(Record::Absent | Record::Failed | Record::Error(_))) => "absent",
        Ok(_) => "value",
    }
}
