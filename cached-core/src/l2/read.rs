//! Reads of the shared tier: counted, timed, and in a span.

use std::{future::Future, sync::Arc};

use crate::{
    base::clock::Nanos,
    error::tier::TierError,
    l2::shared::Shared,
    telemetry::{functions::FunctionMetrics, span::Span, step::TimedSpan},
    tier::{Found, Lookup, Record, budget::Budget, feed::ChangeFeed},
};

/// Reads one key, timed from `started` on. Returns the reply and the time at which it arrived.
///
/// Every hit of the tier waits here, so the future holds little: the request is made before it is awaited.
pub(crate) fn timed_get<'a>(
    shared: &'a Shared,
    function: &'a FunctionMetrics,
    key: &'a str,
    budget: Budget,
    started: Nanos,
) -> impl Future<Output = (Result<(Record, Arc<ChangeFeed>), TierError>, Nanos)> + Send + use<'a> {
    let mut step = TimedSpan::started_at(started, Span::lookup(function.name()), &shared.clock);
    let request = step.instrument(shared.tier.get_within(key, budget));
    async move {
        let reply = request.await;
        let elapsed = step.end(outcome(reply.as_ref().map(|(record, _)| Some(record))));
        function.lookup_latency().record(elapsed);
        (reply, started.saturating_add(elapsed))
    }
}

/// Reads several keys and the generations of several tags in one round trip.
pub(crate) async fn timed_lookup(
    shared: &Shared,
    function: &FunctionMetrics,
    lookups: &[Lookup<'_>],
    tags: &[String],
    budget: Budget,
) -> Result<Found, TierError> {
    let mut step = TimedSpan::begin(Span::lookup(function.name()), &shared.clock);
    let reply = step.instrument(shared.tier.lookup_within(lookups, tags, budget)).await;
    let elapsed = step.end(outcome(reply.as_ref().map(|reply| reply.records.last())));
    function.lookup_latency().record(elapsed);
    reply
}

fn outcome(reply: Result<Option<&Record>, &TierError>) -> &'static str {
    match reply {
        Err(_) => "error",
        Ok(Some(Record::Leased { .. })) => "leased",
        Ok(Some(Record::Absent | Record::Failed | Record::Error(_))) => "absent",
        Ok(_) => "value",
    }
}
