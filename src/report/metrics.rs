//! The metrics of one row: an object of JSON, in the order of the metrics.

use super::Real;
use crate::compare::metric::METRICS;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// One value for each of [`METRICS`]; `None` where it is undefined.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics(pub Vec<Option<Real>>);

impl Metrics {
    pub fn get(&self, id: &str) -> Option<f64> {
        let value = self.0.get(position(id)?)?;
        value.map(|value| value.0)
    }
}

fn position(id: &str) -> Option<usize> {
    METRICS.iter().position(|m| m.id == id)
}

impl Serialize for Metrics {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(METRICS.iter().map(|m| m.id).zip(&self.0))
    }
}

impl<'de> Deserialize<'de> for Metrics {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Metrics;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("metrics by their ids")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metrics, A::Error> {
                let mut metrics = Metrics(vec![None; METRICS.len()]);
                while let Some((id, value)) = map.next_entry::<String, _>()? {
                    let unknown = || A::Error::custom(format!("no metric `{id}`"));
                    metrics.0[position(&id).ok_or_else(unknown)?] = value;
                }
                Ok(metrics)
            }
        }
        d.deserialize_map(Entries)
    }
}
