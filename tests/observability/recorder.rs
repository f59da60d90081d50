//! A recorder of metrics that keeps everything.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

type Table = Arc<Mutex<BTreeMap<String, Vec<f64>>>>;

/// Recorder that keeps all values of each series.
///
/// The name of a series includes its labels.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) values: Table,
    pub(crate) described: Table,
}

struct Series(String, Table);

impl Series {
    fn push(&self, value: f64) {
        self.1.lock().unwrap().entry(self.0.clone()).or_default().push(value);
    }
}

impl CounterFn for Series {
    #[allow(clippy::cast_precision_loss, reason = "tests count to thousands")]
    fn increment(&self, value: u64) {
        self.push(value as f64);
    }

    fn absolute(&self, _: u64) {
        panic!("several caches could not add up");
    }
}

impl GaugeFn for Series {
    fn increment(&self, _: f64) {
        panic!("a gauge is set");
    }

    fn decrement(&self, _: f64) {
        panic!("a gauge is set");
    }

    fn set(&self, value: f64) {
        self.push(value);
    }
}

impl HistogramFn for Series {
    fn record(&self, value: f64) {
        self.push(value);
    }
}

impl Memory {
    fn series(&self, key: &Key) -> Arc<Series> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Arc::new(Series(format!("{}{{{}}}", key.name(), labels.join(",")), self.values.clone()))
    }

    /// Returns the sum of all values in series with this prefix.
    pub(crate) fn sum(&self, series: &str) -> f64 {
        let series_values = self.values.lock().unwrap();
        series_values.iter().filter(|(name, _)| name.starts_with(series)).flat_map(|(_, values)| values).sum()
    }

    fn describe(&self, name: &KeyName, help: &SharedString) {
        self.described.lock().unwrap().insert(format!("{} {help}", name.as_str()), Vec::new());
    }
}

impl Recorder for Memory {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&name, &help);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&name, &help);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        assert_eq!(unit, Some(Unit::Seconds));
        self.describe(&name, &help);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.series(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.series(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.series(key))
    }
}
