//! The reports that are written to files hold what the JSON holds, in a form that their readers take.

use super::commands::{json, tdiff};
use std::fs;

const CASE: [&str; 2] = [
    "fixtures/cases/rope_theta/ref",
    "fixtures/cases/rope_theta/cand",
];

/// The JSON, and the same report in another format.
fn both(extension: &str) -> (serde_json::Value, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(format!("report.{extension}"));
    let output = tdiff(&[
        CASE[0],
        CASE[1],
        "--format",
        "json",
        "-o",
        file.to_str().unwrap(),
    ]);
    (json(&output), fs::read_to_string(file).unwrap())
}

fn count(report: &serde_json::Value, statuses: &[&str]) -> usize {
    let rows = report["tensors"].as_array().unwrap().iter();
    rows.filter(|t| statuses.contains(&t["status"].as_str().unwrap()))
        .count()
}

#[test]
fn csv_has_a_line_per_tensor_with_every_metric_in_full() {
    let (report, text) = both("csv");
    let mut lines = csv::Reader::from_reader(text.as_bytes());
    let header = lines.headers().unwrap().clone();
    let column = |name: &str| header.iter().position(|h| h == name).unwrap();
    let rows: Vec<csv::StringRecord> = lines.records().map(Result::unwrap).collect();
    let tensors = report["tensors"].as_array().unwrap();
    assert_eq!(rows.len(), tensors.len());
    for (row, tensor) in rows.iter().zip(tensors) {
        assert_eq!(&row[column("key")], tensor["key"].as_str().unwrap());
        // serde_json reads a float to within one unit of the last place
        let rel = row[column("rel_l2")].parse::<f64>().unwrap_or(0.0);
        let expected = tensor["metrics"]["rel_l2"].as_f64().unwrap_or(0.0);
        assert!((rel - expected).abs() <= 1e-15 * expected);
        assert_eq!(&row[column("reason")], tensor["reason"].as_str().unwrap());
    }
}

#[test]
fn junit_has_a_case_per_tensor_and_fails_where_the_report_does() {
    let (report, text) = both("xml");
    let document = roxmltree::Document::parse(&text).unwrap();
    let suite = document
        .descendants()
        .find(|n| n.has_tag_name("testsuite"))
        .unwrap();
    let cases = suite.children().filter(|n| n.has_tag_name("testcase"));
    assert_eq!(cases.count(), report["tensors"].as_array().unwrap().len());
    let failing = ["diverged", "incomparable", "missing_in_candidate"];
    let failures = count(&report, &failing);
    assert!(failures > 0);
    assert_eq!(
        suite.attribute("failures"),
        Some(failures.to_string().as_str())
    );
    let out = suite.children().find(|n| n.has_tag_name("system-out"));
    assert!(out.unwrap().text().unwrap().contains("[rope_theta]"));
}

#[test]
fn markdown_and_html_begin_with_the_answer() {
    let (report, text) = both("md");
    let first = report["first_divergence"]["key"].as_str().unwrap();
    let line = text.lines().next().unwrap();
    assert!(line.starts_with("**DIVERGED first at ") && line.replace('\\', "").contains(first));
    let rows = text.lines().filter(|l| l.starts_with("| `")).count();
    assert_eq!(rows, report["tensors"].as_array().unwrap().len());

    let (_, text) = both("html");
    assert!(text.contains(&format!("<h1 class=\"bad\">DIVERGED first at {first}")));
    assert_eq!(text.matches("<tr").count(), rows + 1);
    assert!(!text.contains("http://") && !text.contains("https://"));
}
