//! The verdict of a run: whether any measure has grown.

use crate::sample::{MEASURES, Sample};

/// Prints the measures that are flat and those that are not. Returns whether the run passed.
pub(crate) fn judge(samples: &[Sample]) -> bool {
    let warm = &samples[samples.len() / 10..];
    let quarter = (warm.len() / 4).max(1);
    let (first, last) = (&warm[..quarter.min(warm.len())], &warm[warm.len().saturating_sub(quarter)..]);
    let mut passed = !first.is_empty();
    for (index, measure) in MEASURES.iter().enumerate() {
        let [before, after] = [first, last].map(|samples| median(samples, index));
        let limit = before + before * measure.share + measure.slack;
        let is_flat = after <= limit;
        passed &= is_flat;
        let verdict = if is_flat { "flat" } else { "GROWS" };
        println!("{verdict:>6}: {} {before} at first, {after} at last, {limit:.0} at most", measure.name);
    }
    let (calls, wrong) = samples.last().map_or((0, 0), |sample| (sample.calls, sample.wrong));
    println!("{calls} calls, {wrong} wrong");
    passed && wrong == 0 && calls > 0
}

fn median(samples: &[Sample], index: usize) -> f64 {
    let mut values: Vec<_> = samples.iter().map(|sample| sample.values[index]).collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[allow(clippy::cast_precision_loss)] // Counts far below 2^52.
    fn samples(value: impl Fn(usize) -> f64) -> Vec<Sample> {
        let sample = |number| Sample {
            at: Duration::from_secs(number as u64),
            values: [value(number); MEASURES.len()],
            calls: 1,
            wrong: 0,
        };
        (0..100).map(sample).collect()
    }

    #[test]
    #[allow(clippy::cast_precision_loss)]
    fn growth_is_detected_and_spikes_are_ignored() {
        assert!(judge(&samples(|_| 1000.0)));
        assert!(judge(&samples(|number| if number % 10 == 0 { 9e9 } else { 1000.0 })));
        assert!(!judge(&samples(|number| 1000.0 * number as f64)));
    }

    #[test]
    fn wrong_answer_or_no_samples_fails() {
        let mut samples = samples(|_| 1.0);
        samples.last_mut().unwrap().wrong = 1;
        assert!(!judge(&samples) && !judge(&[]));
    }
}
