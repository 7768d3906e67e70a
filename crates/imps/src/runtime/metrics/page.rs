//! A page of metrics in the text format of OpenMetrics: rows of the table with their samples.

use std::collections::BTreeMap;
use std::fmt;

use imps_core::durations::Durations;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::series::{Kind, Row, Series};

/// See the module.
#[derive(Default, Debug)]
pub(crate) struct Page {
    families: Vec<Family>,
}

/// A row and its samples by the values of its labels.
#[derive(Debug)]
struct Family {
    row: Row,
    samples: BTreeMap<Vec<String>, Value>,
}

/// The value of a sample.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Whole(u64),
    Fraction(f64),
    Durations(Durations),
}

impl Page {
    /// Shows a series with these samples: the values of its labels, in the order of the table, and what is to be said.
    pub(crate) fn show<'a, const LABELS: usize, V: Into<Value>>(
        &mut self,
        series: Series<LABELS>,
        samples: impl IntoIterator<Item = ([&'a str; LABELS], V)>,
    ) {
        let samples = samples
            .into_iter()
            .map(|(labels, value)| (labels.into_iter().map(str::to_owned).collect(), value.into()));
        self.families.push(Family { row: series.row(), samples: samples.collect() });
    }

    /// Shows a series without labels.
    pub(crate) fn say(&mut self, series: Series<0>, value: impl Into<Value>) {
        self.show(series, [([], value)]);
    }

    /// The same, without a sample where the value is not known.
    pub(crate) fn say_if_known<V: Into<Value>>(&mut self, series: Series<0>, value: Option<V>) {
        self.show(series, value.map(|value| ([], value)));
    }

    /// The text.
    pub(crate) fn render(self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        // Writing to a String does not fail.
        encode(&mut text, &registry).unwrap_or_default();
        text
    }
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for Family { row, samples } in &self.families {
            let unit = row.unit().map(|unit| if unit == "bytes" { Unit::Bytes } else { Unit::Seconds });
            // The encoder puts unit and suffix to the name by itself.
            let mut name = row.name.trim_end_matches("_total");
            if let Some(unit) = &unit {
                name = name.trim_end_matches(unit.as_str()).trim_end_matches('_');
            }
            let kind = match row.kind {
                Kind::Gauge => MetricType::Gauge,
                Kind::Counter => MetricType::Counter,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut family = encoder.encode_descriptor(name, row.help, unit.as_ref(), kind)?;
            for (values, value) in samples {
                let labels: Vec<(&str, &str)> =
                    row.labels.iter().copied().zip(values.iter().map(String::as_str)).collect();
                if labels.is_empty() {
                    value.encode(&mut family, row.kind)?;
                } else {
                    value.encode(&mut family.encode_family(&labels)?, row.kind)?;
                }
            }
        }
        Ok(())
    }
}

impl Value {
    fn encode(&self, encoder: &mut MetricEncoder<'_>, kind: Kind) -> Result<(), fmt::Error> {
        match (kind, self) {
            (Kind::Counter, Value::Whole(value)) => encoder.encode_counter::<NoLabelSet, _, f64>(value, None),
            (Kind::Counter, Value::Fraction(value)) => {
                encoder.encode_counter::<NoLabelSet, _, f64>(value, None)
            }
            (_, Value::Whole(value)) => encoder.encode_gauge(value),
            (_, Value::Fraction(value)) => encoder.encode_gauge(value),
            (_, Value::Durations(durations)) => {
                // The encoder adds them up.
                let buckets: Vec<(f64, u64)> = durations
                    .buckets()
                    .map(|(bound, count)| (bound.unwrap_or(f64::INFINITY), count))
                    .collect();
                encoder.encode_histogram::<NoLabelSet>(durations.seconds(), durations.count(), &buckets, None)
            }
        }
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Value::Whole(value)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Value::Whole(value as u64)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Whole(value.into())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Value::Fraction(value)
    }
}

impl From<&Durations> for Value {
    fn from(value: &Durations) -> Self {
        Value::Durations(value.clone())
    }
}
