use super::*;
use crate::diagnose::laws::Law;
use crate::diagnose::laws::rope::permutation::Permutation;
use crate::diagnose::laws::rope::rotation::{Pairing, Series};
use crate::diagnose::laws::toy::{Toy, key, pairs, scene, without};
use crate::diagnose::{Side, confidence};

fn diagnose_at(
    output: Stage,
    missing: &[Stage],
    reference: &Toy,
    candidate: &Toy,
    noise: f64,
) -> Vec<Suspicion> {
    let taps = |toy: &Toy| without(toy.run(), missing);
    let pairs = pairs(None, &taps(reference), &taps(candidate));
    scene(&pairs, |scene| {
        let site = |side| scene.site(side, &key(None, output));
        let (r, c) = (site(Side::Reference), site(Side::Candidate));
        let laws: [&dyn Law; 3] = [&SCORES, &SOFTMAX, &CONTEXT];
        laws.iter()
            .filter(|l| l.outputs().contains(&output))
            .flat_map(|l| l.diagnose(&Both::new(r, c, output, noise)))
            .collect()
    })
}

fn causes(output: Stage, missing: &[Stage], candidate: &Toy) -> Vec<&'static str> {
    let found = diagnose_at(output, missing, &Toy::default(), candidate, 2e-6);
    for s in &found {
        assert!(confidence(s.before, s.after, 2e-6) > 0.9, "{s:?}");
    }
    found.into_iter().map(|s| s.cause.id).collect()
}

const NONE: &[Stage] = &[];
const NO_ROPE: &[Stage] = &[Stage::Q_ROPE, Stage::K_ROPE];
const NO_SCORES: &[Stage] = &[Stage::ATTN_SCORES, Stage::ATTN_WEIGHTS];
const ONLY_QKV: &[Stage] = &[
    Stage::Q_ROPE,
    Stage::K_ROPE,
    Stage::ATTN_SCORES,
    Stage::ATTN_WEIGHTS,
];

fn faults_of_scores() -> Vec<(&'static str, Toy)> {
    let good = Toy::default();
    vec![
        (
            "attention_scale",
            Toy {
                scale: 1.0,
                ..good.clone()
            },
        ),
        (
            "attention_scale",
            Toy {
                scale: 1.0 / 16.0,
                ..good.clone()
            },
        ),
        (
            "attention_softcap_missing",
            Toy {
                cap: Some(5.0),
                ..good.clone()
            },
        ),
        (
            "causal_mask_missing",
            Toy {
                causal: None,
                ..good.clone()
            },
        ),
        (
            "causal_mask_off_by_one",
            Toy {
                causal: Some(1),
                ..good.clone()
            },
        ),
        (
            "sliding_window_wrong",
            Toy {
                window: Some(5),
                ..good.clone()
            },
        ),
        (
            "padding_mask_ignored",
            Toy {
                pads: vec![0, 4],
                ..good.clone()
            },
        ),
        (
            "gqa_head_mapping",
            Toy {
                tiled: true,
                ..good.clone()
            },
        ),
    ]
}

#[test]
fn faults_of_the_scores_are_found_in_them() {
    for (cause, bad) in faults_of_scores() {
        assert_eq!(causes(Stage::ATTN_SCORES, NONE, &bad), [cause], "{bad:?}");
        assert_eq!(
            causes(Stage::ATTN_SCORES, NO_ROPE, &bad),
            [cause],
            "from raw Q and K {bad:?}"
        );
    }
}

#[test]
fn the_same_faults_are_found_in_the_context_when_nothing_lies_between() {
    for (cause, bad) in faults_of_scores() {
        assert_eq!(causes(Stage::ATTN_CTX, NO_SCORES, &bad), [cause], "{bad:?}");
    }
}

#[test]
fn and_from_q_k_v_before_rope() {
    for (cause, bad) in faults_of_scores() {
        assert_eq!(causes(Stage::ATTN_CTX, ONLY_QKV, &bad), [cause], "{bad:?}");
    }
}

#[test]
fn a_wrong_base_shows_in_weights_and_context() {
    let bad = Toy {
        series: Series {
            theta: 5e5,
            factor: 1.0,
        },
        ..Toy::default()
    };
    let no_scores = [Stage::Q_ROPE, Stage::K_ROPE, Stage::ATTN_SCORES];
    assert_eq!(
        causes(Stage::ATTN_WEIGHTS, &no_scores, &bad),
        ["rope_theta"]
    );
    assert_eq!(causes(Stage::ATTN_CTX, ONLY_QKV, &bad), ["rope_theta"]);
    let pairing = Toy {
        pairing: Pairing::Adjacent,
        ..Toy::default()
    };
    assert_eq!(
        causes(Stage::ATTN_SCORES, NO_ROPE, &pairing),
        ["rope_interleaved"]
    );
}

#[test]
fn faults_of_the_softmax_are_found() {
    let good = Toy::default();
    let axis = Toy {
        over_queries: true,
        ..good.clone()
    };
    let undivided = Toy {
        normalised: false,
        ..good
    };
    assert_eq!(causes(Stage::ATTN_WEIGHTS, NONE, &axis), ["softmax_axis"]);
    assert_eq!(
        causes(Stage::ATTN_WEIGHTS, NONE, &undivided),
        ["softmax_not_normalised"]
    );
}

#[test]
fn faults_of_the_context_are_found() {
    let good = Toy::default();
    let unmerged = Toy {
        unmerged: true,
        ..good.clone()
    };
    let swapped = Toy {
        v_is_k: true,
        rope: false,
        ..good.clone()
    };
    assert_eq!(
        causes(Stage::ATTN_CTX, NONE, &unmerged),
        ["head_merge_order"]
    );
    let tiled = Toy {
        tiled: true,
        ..good
    };
    assert_eq!(causes(Stage::ATTN_CTX, NONE, &tiled), ["gqa_head_mapping"]);
    let plain = Toy {
        rope: false,
        ..Toy::default()
    };
    let found = diagnose_at(Stage::ATTN_CTX, NONE, &plain, &swapped, 2e-6);
    assert_eq!(found[0].cause.id, "kv_swapped");
}

#[test]
fn healthy_noise_is_silent_at_every_stage() {
    for bits in [24, 11, 8] {
        let noise = 4.0 * 2f64.powi(-(bits as i32));
        let candidate = Toy {
            bits,
            fill: -1e9,
            ..Toy::default()
        };
        for output in [Stage::ATTN_SCORES, Stage::ATTN_WEIGHTS, Stage::ATTN_CTX] {
            for missing in [NONE, NO_ROPE, NO_SCORES, ONLY_QKV] {
                let found = diagnose_at(output, missing, &Toy::default(), &candidate, noise);
                assert_eq!(found, [], "{output} {missing:?} {bits} bits");
            }
        }
    }
}

#[test]
fn the_fit_of_one_side_is_put_into_words() {
    let taps = Toy::default().run();
    let pairs = pairs(None, &taps, &taps);
    scene(&pairs, |scene| {
        let site = scene.site(Side::Reference, &key(None, Stage::ATTN_CTX));
        let text = |law: &dyn Law, stage| law.fit(&site, stage).unwrap().text;
        assert_eq!(
            text(&SCORES, Stage::ATTN_SCORES),
            "Q·Kᵀ × 0.25, causal, key/value heads repeated"
        );
        assert_eq!(
            text(&SOFTMAX, Stage::ATTN_WEIGHTS),
            "softmax(attn_scores), causal"
        );
        assert_eq!(
            text(&CONTEXT, Stage::ATTN_CTX),
            "weights · V, key/value heads repeated"
        );
    });
}

#[test]
fn re_ordered_channels_with_their_own_pairs_are_no_fault_of_rope() {
    let ggml = Toy {
        weights: Permutation::ToAdjacent,
        pairing: Pairing::Adjacent,
        ..Toy::default()
    };
    for (output, missing) in [(Stage::ATTN_SCORES, NO_ROPE), (Stage::ATTN_CTX, ONLY_QKV)] {
        assert_eq!(causes(output, missing, &ggml), [] as [&str; 0]);
        let wrong = Toy {
            series: Series {
                theta: 14000.0,
                factor: 1.0,
            },
            ..ggml.clone()
        };
        assert_eq!(causes(output, missing, &wrong), ["rope_theta"]);
    }
}
