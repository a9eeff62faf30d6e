//! One line per tensor, for spreadsheets and scripts (RFC 4180); undefined figures are empty.

use super::{Real, Report, Reporter, Row, RowSide, Style, text};
use crate::compare::metric::METRICS;
use std::io::{self, Write};

pub struct Csv;

impl Reporter for Csv {
    fn name(&self) -> &'static str {
        "csv"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["csv"]
    }

    fn write(&self, report: &Report, _: &Style, out: &mut dyn Write) -> io::Result<()> {
        let mut lines = ::csv::Writer::from_writer(out);
        let mut header = vec!["key", "step", "layer", "stage", "status", "grade"];
        header.extend(["reference", "candidate", "shape"]);
        header.extend(METRICS.iter().map(|m| m.id));
        header.extend(["compared", "of", "reason"]);
        lines.write_record(&header)?;
        for row in &report.tensors {
            lines.write_record(cells(row))?;
        }
        lines.flush()
    }
}

fn cells(row: &Row) -> Vec<String> {
    let number = |n: Option<u32>| n.map_or(String::new(), |n| n.to_string());
    let name = |side: &Option<RowSide>| side.as_ref().map_or(String::new(), |s| s.name.clone());
    let mut cells = vec![
        row.key.clone(),
        number(row.step),
        number(row.layer),
        row.stage.clone().unwrap_or_default(),
        text::status(row.status).to_owned(),
        row.grade.map_or(String::new(), |g| g.name().to_owned()),
        name(&row.reference),
        name(&row.candidate),
        text::shape_of(row).replace('×', "x"),
    ];
    cells.extend(METRICS.iter().map(|m| match row.metrics.get(m.id) {
        Some(x) => Real(x).exact(),
        None => String::new(),
    }));
    cells.extend([
        row.compared.to_string(),
        row.of.to_string(),
        row.reason.clone(),
    ]);
    cells
}
