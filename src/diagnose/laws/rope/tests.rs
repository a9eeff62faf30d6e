use super::rotation::{Pairing, Series};
use super::*;
use crate::diagnose::laws::toy::{Toy, key, pairs, scene, without};
use crate::diagnose::{Side, confidence};

fn diagnose(reference: &Toy, candidate: &Toy, noise: f64) -> Vec<Suspicion> {
    let pairs = pairs(None, &reference.run(), &candidate.run());
    scene(&pairs, |scene| {
        let site = |side| scene.site(side, &key(None, Stage::Q_ROPE));
        Rope.diagnose(&Both::new(
            site(Side::Reference),
            site(Side::Candidate),
            Stage::Q_ROPE,
            noise,
        ))
    })
}

fn causes(reference: &Toy, candidate: &Toy) -> Vec<&'static str> {
    let found = diagnose(reference, candidate, 2e-6);
    for s in &found {
        assert!(confidence(s.before, s.after, 2e-6) > 0.9, "{s:?}");
    }
    found.into_iter().map(|s| s.cause.id).collect()
}

fn theta(theta: f64) -> Series {
    Series { theta, factor: 1.0 }
}

#[test]
fn the_parameters_of_one_side_are_found() {
    let toy = Toy {
        series: theta(5e5),
        ..Toy::default()
    };
    let taps = toy.run();
    let pairs = pairs(None, &taps, &taps);
    scene(&pairs, |scene| {
        let site = scene.site(Side::Candidate, &key(None, Stage::Q_ROPE));
        let fit = Rope.fit(&site, Stage::Q_ROPE).unwrap();
        assert_eq!(
            fit.text,
            "RoPE, half-split pairs, theta 500000, 16 of 16 channels"
        );
        assert!(fit.residual < 1e-6);
    });
}

#[test]
fn each_fault_is_found_and_alone() {
    let good = Toy::default();
    let cases = [
        (
            "rope_interleaved",
            Toy {
                pairing: Pairing::Adjacent,
                ..good.clone()
            },
        ),
        (
            "rope_theta",
            Toy {
                series: theta(5e5),
                ..good.clone()
            },
        ),
        (
            "rope_scaling_missing",
            Toy {
                series: Series {
                    theta: 1e4,
                    factor: 4.0,
                },
                ..good.clone()
            },
        ),
        (
            "rope_position_offset",
            Toy {
                offset: vec![1, 1],
                ..good.clone()
            },
        ),
        (
            "rope_position_offset",
            Toy {
                offset: vec![0, 3],
                ..good.clone()
            },
        ),
        (
            "rope_sign",
            Toy {
                sign: -1.0,
                ..good.clone()
            },
        ),
        (
            "rope_partial",
            Toy {
                rotated: 8,
                ..good.clone()
            },
        ),
        (
            "rope_missing",
            Toy {
                rope: false,
                ..good.clone()
            },
        ),
    ];
    for (cause, bad) in cases {
        assert_eq!(causes(&good, &bad), [cause], "in the candidate");
        assert_eq!(causes(&bad, &good), [cause], "in the reference");
    }
}

#[test]
fn healthy_noise_is_silent() {
    for bits in [24, 11, 8] {
        let noise = 4.0 * 2f64.powi(-(bits as i32));
        let candidate = Toy {
            bits,
            ..Toy::default()
        };
        assert_eq!(diagnose(&Toy::default(), &candidate, noise), []);
    }
}

#[test]
fn a_slightly_wrong_base_shows_through_bf16() {
    let candidate = Toy {
        bits: 8,
        series: theta(14000.0),
        ..Toy::default()
    };
    let found = diagnose(&Toy::default(), &candidate, 0.0156);
    assert_eq!(found[0].cause.id, "rope_theta");
    assert!(
        found[0].evidence[0].contains("candidate 14"),
        "{:?}",
        found[0].evidence
    );
}

#[test]
fn llama_cpp_order_of_channels_is_a_layout() {
    let ggml = Toy {
        weights: Permutation::ToAdjacent,
        pairing: Pairing::Adjacent,
        ..Toy::default()
    };
    assert_eq!(causes(&Toy::default(), &ggml), ["layout_permuted"]);
    let wrong = Toy {
        series: theta(5e5),
        ..ggml.clone()
    };
    assert_eq!(causes(&Toy::default(), &wrong), ["rope_theta"]);
    let permuted = Toy {
        pairing: Pairing::Halves,
        ..ggml
    };
    assert_eq!(causes(&Toy::default(), &permuted), ["qk_weight_permuted"]);
}

#[test]
fn an_input_that_was_not_dumped_is_borrowed() {
    let good = Toy::default();
    let ggml = Toy {
        weights: Permutation::ToAdjacent,
        pairing: Pairing::Adjacent,
        series: theta(5e5),
        ..Toy::default()
    };
    let few = without(ggml.run(), &[Stage::Q_PROJ, Stage::K_PROJ]);
    let pairs = pairs(None, &good.run(), &few);
    scene(&pairs, |scene| {
        let site = |side| scene.site(side, &key(None, Stage::Q_ROPE));
        let found = Rope.diagnose(&Both::new(
            site(Side::Reference),
            site(Side::Candidate),
            Stage::Q_ROPE,
            2e-6,
        ));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].cause.id, "rope_theta");
    });
}

#[test]
fn a_decode_step_at_the_wrong_position_is_the_caches_fault() {
    let first = Toy::default().run();
    let step = |offset| {
        Toy {
            tokens: 1,
            offset: vec![offset; 2],
            seed: 5,
            ..Toy::default()
        }
        .run()
    };
    let mut both = pairs(Some(0), &first, &first);
    both.extend(pairs(Some(1), &step(12), &step(11)));
    scene(&both, |scene| {
        let site = |side| scene.site(side, &key(Some(1), Stage::Q_ROPE));
        let found = Rope.diagnose(&Both::new(
            site(Side::Reference),
            site(Side::Candidate),
            Stage::Q_ROPE,
            2e-6,
        ));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].cause.id, "kv_cache_position");
    });
}

#[test]
fn the_order_of_channels_is_judged_by_what_rope_turns() {
    let ggml = Toy {
        weights: Permutation::ToAdjacent,
        pairing: Pairing::Adjacent,
        ..Toy::default()
    };
    let permuted = Toy {
        pairing: Pairing::Halves,
        ..ggml.clone()
    };
    let few = [
        vec![],
        vec![Stage::Q_ROPE, Stage::K_ROPE],
        vec![
            Stage::Q_ROPE,
            Stage::K_ROPE,
            Stage::ATTN_SCORES,
            Stage::ATTN_WEIGHTS,
        ],
    ];
    for missing in few {
        for (candidate, cause) in [
            (&ggml, "layout_permuted"),
            (&permuted, "qk_weight_permuted"),
        ] {
            let taps = |toy: &Toy| without(toy.run(), &missing);
            let pairs = pairs(None, &taps(&Toy::default()), &taps(candidate));
            scene(&pairs, |scene| {
                let site = |side| scene.site(side, &key(None, Stage::Q_PROJ));
                let (r, c) = (site(Side::Reference), site(Side::Candidate));
                let found = order::HeadOrder.diagnose(&Both::new(r, c, Stage::Q_PROJ, 2e-6));
                assert_eq!(found.len(), 1);
                assert_eq!(found[0].cause.id, cause, "{missing:?}");
            });
        }
    }
}
