//! The reports that are written to files hold what the JSON holds, in a form that their readers take.

use super::commands::{json, npy, tdiff, text};
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

#[test]
fn the_worst_element_is_shown_in_the_axes_of_the_references_dump() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, shape: &[usize], f: &dyn Fn(&[usize]) -> f32| {
        let mut values = Vec::new();
        let mut index = vec![0; shape.len()];
        for mut at in 0..shape.iter().product() {
            for (i, n) in index.iter_mut().zip(shape).rev() {
                *i = at % n;
                at /= n;
            }
            values.push(f(&index));
        }
        let path = dir.path().join(name);
        npy(&path, shape, &values);
        path.to_str().unwrap().to_owned()
    };
    let value = |h: usize, t: usize, c: usize| ((h * 31 + t * 17 + c * 7) % 23) as f32 / 7.0 - 1.5;
    // heads before tokens against tokens before heads; all tokens against the last one
    let cases = [
        (
            file("layer_0_q_rope_ref.npy", &[1, 4, 10, 16], &|i| {
                value(i[1], i[2], i[3])
            }),
            file("layer_0_q_rope_cand.npy", &[1, 10, 4, 16], &|i| {
                value(i[2], i[1], i[3]) + if i[1..] == [8, 3, 5] { 4.0 } else { 0.0 }
            }),
            vec![0, 3, 8, 5],
        ),
        (
            file("logits_ref.npy", &[2, 5, 16], &|i| value(i[0], i[1], i[2])),
            file("logits_cand.npy", &[2, 1, 16], &|i| {
                value(i[0], 4, i[2]) + if i == [1, 0, 7] { 1.0 } else { 0.0 }
            }),
            vec![1, 4, 7],
        ),
    ];
    for (reference, candidate, index) in cases {
        let output = tdiff(&[&reference, &candidate, "--format", "json"]);
        let report = json(&output);
        assert_eq!(
            report["tensors"][0]["worst"]["index"],
            serde_json::json!(index),
            "{report:#}"
        );
    }
}

#[test]
fn an_agreement_of_a_part_or_of_nothing_says_so_in_every_report() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, shape: &[usize], value: f32| {
        let path = dir.path().join(name);
        let len = shape.iter().product::<usize>();
        npy(&path, shape, &vec![value; len]);
    };
    for (side, batch) in [("ref", 4), ("cand", 2)] {
        file(&format!("{side}/embed.npy"), &[batch, 3, 8], 0.5);
        file(&format!("{side}/final_norm.npy"), &[3, 8], f32::NAN);
    }
    let (r, c) = (dir.path().join("ref"), dir.path().join("cand"));
    let junit = dir.path().join("report.xml");
    let [r, c, junit] = [&r, &c, &junit].map(|p| p.to_str().unwrap());
    let report = json(&tdiff(&[r, c, "--format", "json", "-o", junit]));
    assert_eq!(report["verdict"], "incomplete");
    let embed = &report["tensors"][0];
    assert_eq!(
        (&embed["status"], &embed["compared"], &embed["of"]),
        (&"agreed".into(), &48.into(), &96.into())
    );
    let notes = report["notes"].as_array().unwrap();
    let ids: Vec<_> = notes.iter().map(|n| n["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["part_compared", "nothing_finite"]);
    assert_eq!(notes[1]["tensors"], serde_json::json!(["final_norm"]));
    let junit = fs::read_to_string(junit).unwrap();
    let quiet = text(&tdiff(&[r, c, "-q"]).stdout);
    for said in [&junit, &quiet] {
        assert!(said.contains("2 of 2 compared tensors agree, 1 only in part"));
    }
    assert!(junit.contains("[part_compared]") && junit.contains("[nothing_finite]"));
}

#[test]
fn keys_that_one_side_repeats_for_every_query_head_are_compared_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (tokens, width) = (5, 4);
    let value = |h: usize, i: usize| ((h * 31 + i * 7) % 23) as f32 / 7.0 - 1.5;
    let keys = |heads: usize, times: usize, wrong: f32| -> Vec<f32> {
        let head = |h: usize| (0..tokens * width).map(move |i| value(h / times, i));
        let mut values: Vec<f32> = (0..heads * times).flat_map(head).collect();
        values.iter_mut().for_each(|x| *x *= wrong);
        values
    };
    for (wrong, verdict) in [(1.0, "agreed"), (1.5, "diverged")] {
        for (side, times, wrong) in [("ref", 3, 1.0), ("cand", 1, wrong)] {
            let path = dir.path().join(side).join("layers.0.k_rope.npy");
            npy(
                &path,
                &[1, 2 * times, tokens, width],
                &keys(2, times, wrong),
            );
        }
        let (r, c) = (dir.path().join("ref"), dir.path().join("cand"));
        for [a, b] in [[&r, &c], [&c, &r]] {
            let [a, b] = [a, b].map(|p| p.to_str().unwrap());
            let report = json(&tdiff(&[a, b, "--format", "json"]));
            assert_eq!(report["verdict"], verdict, "{report:#}");
            assert_eq!(report["notes"][0]["id"], "kv_repeated");
            let row = &report["tensors"][0];
            assert_eq!((&row["compared"], &row["of"]), (&120.into(), &120.into()));
        }
    }
}

#[test]
fn the_layout_of_each_pair_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let value = |t: usize, i: usize| ((t * 31 + i * 17 + t * i % 7) % 23) as f32 / 7.0 - 1.5;
    let rows = |from: usize| (from..12).flat_map(move |t| (0..8).map(move |i| value(t, i)));
    for layer in 0..3 {
        let name = format!("layers.{layer}.q_proj.npy");
        let path = |side: &str| dir.path().join(side).join(&name);
        npy(&path("ref"), &[1, 12, 8], &rows(0).collect::<Vec<_>>());
        npy(&path("cand"), &[9, 2, 4], &rows(3).collect::<Vec<_>>());
    }
    let sides = ["ref", "cand"].map(|s| dir.path().join(s).to_str().unwrap().to_owned());
    let [r, c] = [&sides[0], &sides[1]];
    let layout = "[1, 12, 8] → 8 as 2×4 → 3.. of 12 ~ [9, 2, 4]";
    let said = text(&tdiff(&["pairs", r, c]).stdout);
    assert_eq!(said.matches(layout).count(), 3, "{said}");
    let pairs = json(&tdiff(&["pairs", r, c, "--format", "json"]));
    assert_eq!(pairs["pairs"][1]["layout"], layout);
    let report = json(&tdiff(&[r, c, "--format", "json"]));
    let row = &report["tensors"][1];
    assert_eq!(
        (&row["layout"], &row["compared"]),
        (&layout.into(), &72.into())
    );
    let notes = report["notes"].as_array().unwrap();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(
        notes[0]["message"]
            .as_str()
            .unwrap()
            .contains("and 2 more like it")
    );
}
