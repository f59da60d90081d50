//! The fill: stores the value of a load, if its lease is still the current one.
//!
//! [`Lease::fill`] takes these steps:
//!
//! 1. Add the tags that only the value determines (`value_tags`).
//! 2. Encode the value. A stub takes the place of a value that cannot be encoded (`stub`).
//! 3. Request the store (`fill_request`). If the tier does not take a large value, store a stub instead.
//! 4. Conclude the verdict from the reply (`verdict`). If the reply does not prove that nothing was
//!    invalidated, ask the tier again (`recheck`).
//!
//! Invariant: the lease has ended with the reply, whether the value was stored or not. Without a reply, it is
//! still to be released. `call::publish` calls this, and acts on the verdict.

use crate::{
    base::planted::planted,
    coherence::validity::Validity,
    error::tier::TierError,
    l2::{
        lease::{
            Lease,
            verdict::{Verdict, proven_validity},
        },
        shared::Fill,
    },
    telemetry::{functions::FunctionMetrics, span::Span, stats::Count, step::TimedSpan},
    tier::{LARGE_VALUE, LeaseMode, LeaseRequest, TagRequest, Tier, budget::Budget},
};

impl Lease {
    /// Stores the value, if the lease is still the current one.
    ///
    /// `value_tags` are the tags that come from the value. `bind` is called with the validity that
    /// includes them, so that the load depends on their epochs as well.
    pub(crate) async fn fill(
        &mut self,
        fill: Fill,
        value_tags: &[String],
        function: &FunctionMetrics,
        budget: Budget,
        bind: impl Fn(&Validity),
    ) -> Verdict {
        let mut step = TimedSpan::begin(Span::fill(function.name()), &self.shared.clock);
        let verdict = step.instrument(self.try_fill(fill, value_tags, function, budget, bind)).await;
        step.end(match &verdict {
            Ok(Verdict::Stored(_)) => "stored",
            Ok(Verdict::Rejected) => "rejected",
            Ok(Verdict::Stubbed(_)) => "stubbed",
            Ok(Verdict::Undecided) | Err(_) => "undecided",
        });
        let (count, verdict) = match verdict {
            Ok(verdict @ Verdict::Stored(_)) => (Count::SharedFill, verdict),
            Ok(Verdict::Rejected) => (Count::SharedReject, Verdict::Rejected),
            // Counted where the value is kept.
            Ok(verdict @ Verdict::Stubbed(_)) => return verdict,
            Ok(Verdict::Undecided) | Err(_) => (Count::SharedFillError, Verdict::Undecided),
        };
        function.add(count);
        verdict
    }

    async fn try_fill(
        &mut self,
        fill: Fill,
        value_tags: &[String],
        function: &FunctionMetrics,
        budget: Budget,
        bind: impl Fn(&Validity),
    ) -> Result<Verdict, TierError> {
        let (life, created_ms) = (fill.life, fill.created_ms);
        if !value_tags.is_empty() {
            if !self.add_tags(value_tags, life.usable_for().saturating_add(life.spare)).await? {
                return Ok(Verdict::Rejected);
            }
            bind(&self.validity);
        }
        if planted!("tag-generation-after-load") {
            let tags = self.validity.tag_keys();
            let request = TagRequest { keys: &tags, keep: life.ttl, needs_position: false };
            let leased = self.shared.tier.lease(&[], request).await?;
            let validity = self.shared.detached_validity(&self.name.text, &tags);
            self.validity = validity.with_generations(leased.generations);
        }
        let (bytes, mut is_stub) = self.seal(fill, function)?;
        if planted!("unleased-fill") {
            let (key, token, lease) = (self.name.text.as_str(), self.token, self.shared.lease);
            let request = LeaseRequest { key, token, lease, mode: LeaseMode::Always };
            self.shared
                .tier
                .lease(&[request], TagRequest { keys: &[], keep: lease, needs_position: false })
                .await?;
        }
        let length = bytes.len();
        let Some((requested_at, filling)) = self.prepare_fill(bytes, life, budget) else {
            return Ok(Verdict::Undecided);
        };
        let (mut requested_at, mut filled) = (requested_at, filling.await);
        if let Err(error @ (TierError::Timeout | TierError::Refused(_))) = &filled
            && length > LARGE_VALUE
        {
            let fill_error = error.clone();
            let Some((stub_requested_at, stubbed)) = self.fill_stub(life, created_ms, &fill_error).await?
            else {
                return Ok(Verdict::Undecided);
            };
            function.warn_large_value_not_stored(length, &fill_error);
            (requested_at, filled, is_stub) = (stub_requested_at, Ok(stubbed), true);
        }
        let into_verdict: fn(Validity) -> Verdict = if is_stub { Verdict::Stubbed } else { Verdict::Stored };
        let mut filled = filled?;
        // Stored or not, the lease has ended.
        self.is_over = true;
        self.shared.epochs.notify_listeners(&self.name.text);
        if filled.stored.pop() != Some(true) {
            return Ok(Verdict::Rejected);
        }
        let validity = match proven_validity(&self.validity, filled.feed, requested_at) {
            Some(validity) => Some(validity),
            None => self.revalidate().await?,
        };
        Ok(validity.map_or(Verdict::Rejected, into_verdict))
    }

    /// Encodes the value, or a stub if that is not possible. Returns the bytes, and whether they are a stub.
    fn seal(&self, fill: Fill, function: &FunctionMetrics) -> Result<(Vec<u8>, bool), TierError> {
        let (life, created_ms) = (fill.life, fill.created_ms);
        let is_checked = function.is_codec_check_due();
        match self.shared.seal(&self.name, fill, &self.validity, is_checked) {
            Ok(bytes) => {
                function.record_encoded(is_checked);
                function.record_value_size(bytes.len());
                Ok((bytes, false))
            }
            Err(error) => {
                function.warn_unshared(&error);
                Ok((self.seal_stub(life, created_ms)?, true))
            }
        }
    }
}
