//! Two sets of names become pairs: same names, then the same stage, then what is left and matches in one way only.

use super::clean::{Clean, clean_all};
use super::context::Names;
use super::matching::{Half, Matcher};
use super::rename::{Side, rename};
use super::steps::settle_steps;
use super::tags::{Tag, side_tags};
use super::{Entry, Key, Options, Places};
use crate::threads::both;
use std::borrow::Cow;

/// Fewer names than this are not worth a second thread.
pub(super) const FEW: usize = 256;

/// What belongs together, and what stays alone.
#[derive(Clone, Debug, Default)]
pub struct Pairing {
    /// In the order of the reference's entries.
    pub pairs: Vec<Paired>,
    pub only_reference: Vec<(usize, Key)>,
    pub only_candidate: Vec<(usize, Key)>,
    pub notes: Vec<Note>,
    pub reference_tag: Option<String>,
    pub candidate_tag: Option<String>,
    /// What the names of the reference and of the candidate say, one key for each entry.
    pub keys: [Vec<Key>; 2],
    /// What the names of the reference and of the candidate say of the order.
    pub places: [Places; 2],
}

/// Two tensors that are the same place in the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paired {
    /// Indices into the entries of the sides.
    pub reference: usize,
    pub candidate: usize,
    pub key: Key,
    pub how: How,
}

/// What made a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// The same name, apart from tags, steps and counters.
    Name,
    /// The same stage under different names.
    Stage,
    /// The embedding under the name of its last or its only part.
    Embedding,
    /// The words of one name contain those of the other, and no other name fits.
    Words,
    /// The only tensor on each side.
    Only,
    /// The values, whatever the names say.
    Content,
    /// The best that values, words and places say together; the values alone do not prove it.
    Guess,
}

impl How {
    pub fn name(self) -> &'static str {
        match self {
            How::Name => "name",
            How::Stage => "stage",
            How::Embedding => "embedding",
            How::Words => "words",
            How::Only => "only",
            How::Content => "values",
            How::Guess => "guess",
        }
    }
}

/// Something about names that the report should say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub id: &'static str,
    pub message: String,
    pub names: Vec<String>,
}

/// Pairs two dumps by their names.
pub fn pair(reference: &[Entry<'_>], candidate: &[Entry<'_>], options: &Options) -> Pairing {
    let count = reference.len() + candidate.len();
    let cleans = |entries: &[Entry<'_>]| clean_all(entries.iter().map(|e| e.name));
    let (mut cleans_r, mut cleans_c) = both(count, FEW, || cleans(reference), || cleans(candidate));
    let (tags_r, tags_c) = side_tags(&cleans_r, &cleans_c, options);
    let mut notes = tags_not_found(&cleans_r, &cleans_c, options);
    let mut used = vec![false; options.maps.len()];
    let renamed_r = rename(
        reference,
        &options.maps,
        Side::Reference,
        &tags_r,
        &mut used,
    );
    let renamed_c = rename(
        candidate,
        &options.maps,
        Side::Candidate,
        &tags_c,
        &mut used,
    );
    let idle = options.maps.iter().zip(used).filter(|(_, used)| !used);
    notes.extend(idle.map(|(map, _)| Note {
        id: "map_unused",
        message: format!("--map {map} fits no name"),
        names: Vec::new(),
    }));
    let reference = with_names(reference, &renamed_r);
    let candidate = with_names(candidate, &renamed_c);
    if !options.maps.is_empty() {
        (cleans_r, cleans_c) = (cleans(&reference), cleans(&candidate));
    }
    let ((plain_r, mut names_r), (plain_c, mut names_c)) = both(
        count,
        FEW,
        || read(&reference, cleans_r, &tags_r),
        || read(&candidate, cleans_c, &tags_c),
    );
    settle_steps(&mut [&mut names_r, &mut names_c]);
    let (facts_r, facts_c) = both(count, FEW, || names_r.facts(), || names_c.facts());
    let (keys_r, keys_c) = both(
        count,
        FEW,
        || names_r.keys(&facts_r.and(&facts_c)),
        || names_c.keys(&facts_c.and(&facts_r)),
    );
    let (places_r, places_c) = both(
        count,
        FEW,
        || names_r.places(&keys_r),
        || names_c.places(&keys_c),
    );
    let from_one = counted_from_one(&keys_r, &keys_c);
    let mut m = Matcher::new(
        Half {
            names: &names_r,
            plain: plain_r,
            keys: keys_r,
        },
        Half {
            names: &names_c,
            plain: plain_c,
            keys: keys_c,
        },
    );
    m.same_names();
    m.same_keys();
    m.embeddings();
    m.left_over_words();
    m.only_ones();
    m.first_ranks();
    let mut pairing = m.finish();
    pairing.places = [places_r, places_c];
    pairing.reference_tag = tags_r.first().map(Tag::text);
    pairing.candidate_tag = tags_c.first().map(Tag::text);
    let left = |alone: &[(usize, Key)]| alone.iter().any(|(_, key)| key.layer.is_some());
    if left(&pairing.only_reference) && left(&pairing.only_candidate) {
        notes.extend(from_one);
    }
    pairing.notes.splice(0..0, notes);
    pairing
}

/// Tags that the user gave and no name of the side carries.
fn tags_not_found(reference: &[Clean], candidate: &[Clean], options: &Options) -> Vec<Note> {
    let given = [
        ("--ref-tag", &options.ref_tag, reference),
        ("--cand-tag", &options.cand_tag, candidate),
    ];
    let idle = given.into_iter().filter_map(|(option, tag, names)| {
        let tag = tag.as_ref()?;
        let own = Tag::given(tag);
        (!names.iter().any(|c| own.marks(&c.words))).then(|| Note {
            id: "tag_unused",
            message: format!("{option} {tag}: no name carries it"),
            names: Vec::new(),
        })
    });
    idle.collect()
}

/// As many layers on both sides, the first one 0 on one of them and 1 on the other: perhaps the same ones.
fn counted_from_one(reference: &[Key], candidate: &[Key]) -> Option<Note> {
    let range = |keys: &[Key]| {
        let layers = || keys.iter().filter_map(|k| k.layer);
        Some((layers().min()?, layers().max()?))
    };
    let ((r, r_last), (c, c_last)) = (range(reference)?, range(candidate)?);
    let shifted = r.abs_diff(c) == 1 && r.min(c) == 0 && r_last - r == c_last - c;
    shifted.then(|| Note {
        id: "layers_from_one",
        message: format!(
            "layers are numbered {r} to {r_last} in the reference, {c} to {c_last} in the candidate, and were paired by number: if \
             they are the same layers, count both from 0"
        ),
        names: Vec::new(),
    })
}

/// The names without tags, and what they say.
fn read<'a>(
    entries: &'a [Entry<'a>],
    cleans: Vec<Clean>,
    tags: &[Tag],
) -> (Vec<String>, Names<'a>) {
    let plain = cleans.iter().map(|c| plain(c, tags)).collect();
    (plain, Names::read(entries, cleans, tags))
}

/// The name's words without tags: equal for equal names. Case counts; the step is compared by the key.
fn plain(c: &Clean, tags: &[Tag]) -> String {
    let mut words = Cow::Borrowed(&c.words);
    for tag in tags {
        if tag.marks(&words) {
            tag.remove(words.to_mut());
        }
    }
    let mut s = String::with_capacity(words.iter().map(|w| w.text.len() + 1).sum());
    for (i, w) in words.iter().enumerate() {
        if i > 0 {
            s.push('_');
        }
        s.push_str(&w.text);
    }
    s.push_str(&c.view);
    s.push_str(&c.extra);
    if let Some(layer) = c.layer {
        s.push_str(&format!(" layer={layer}"));
    }
    s
}

fn with_names<'a>(entries: &'a [Entry<'a>], names: &'a [Option<String>]) -> Vec<Entry<'a>> {
    entries
        .iter()
        .zip(names)
        .map(|(e, n)| Entry {
            name: n.as_deref().unwrap_or(e.name),
            ..*e
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::Map;
    use super::*;
    use std::collections::BTreeSet;

    fn entries<'a>(names: &[&'a str]) -> Vec<Entry<'a>> {
        let named = |&name: &&'a str| Entry {
            name,
            ..Entry::default()
        };
        names.iter().map(named).collect()
    }

    fn paired(reference: &[&str], candidate: &[&str], options: &Options) -> Pairing {
        pair(&entries(reference), &entries(candidate), options)
    }

    /// `reference ~ candidate = key` of every pair, in the reference's order.
    fn shown(reference: &[&str], candidate: &[&str]) -> Vec<String> {
        let p = paired(reference, candidate, &Options::default());
        let line = |p: &Paired| {
            format!(
                "{} ~ {} = {}",
                reference[p.reference], candidate[p.candidate], p.key
            )
        };
        p.pairs.iter().map(line).collect()
    }

    fn check(table: &str) {
        let rows: Vec<&str> = table
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty())
            .collect();
        let part = |row: &str| -> (String, String) {
            let (names, _) = row.split_once(" = ").unwrap();
            let (r, c) = names.split_once(" ~ ").unwrap();
            (r.into(), c.into())
        };
        let (reference, candidate): (Vec<String>, Vec<String>) =
            rows.iter().map(|r| part(r)).unzip();
        let reference: Vec<&str> = reference.iter().map(String::as_str).collect();
        let mut candidate: Vec<&str> = candidate.iter().map(String::as_str).collect();
        assert_eq!(shown(&reference, &candidate), rows);
        candidate.reverse();
        assert_eq!(
            shown(&reference, &candidate),
            rows,
            "the order of the files does not matter"
        );
    }

    #[test]
    fn hugging_face_and_llama_cpp() {
        check(
            "model.embed_tokens ~ inp_embd = tok_embed
             model.layers.0.input_layernorm ~ attn_norm-0 = layers.0.attn_norm
             model.layers.0.self_attn.q_proj ~ Qcur-0 = layers.0.q_proj
             model.layers.0.self_attn.q_rot ~ Qcur_rope-0 = layers.0.q_rope
             model.layers.0.self_attn.1 ~ kq_soft_max-0 = layers.0.attn_weights
             model.layers.0.self_attn.o_proj.input ~ kqv_out-0 = layers.0.attn_ctx
             model.layers.0.self_attn ~ attn_out-0 = layers.0.o_proj
             model.layers.0.post_attention_layernorm ~ ffn_norm-0 = layers.0.mlp_norm
             model.layers.0.mlp.act_fn ~ ffn_silu-0 = layers.0.act
             model.layers.0.mlp.down_proj.input ~ ffn_gate_par-0 = layers.0.mlp_mid
             model.layers.0.mlp ~ ffn_out-0 = layers.0.down_proj
             model.layers.0 ~ l_out-0 = layers.0.output
             model.layers.11 ~ l_out-11 = layers.11.output
             model.norm ~ result_norm = final_norm
             lm_head ~ result_output = logits",
        );
    }

    #[test]
    fn gpt_2_in_two_dialects() {
        check(
            "transformer.wte ~ inp_embd = tok_embed
             transformer.wpe ~ pos_embd = pos_embed
             transformer.drop ~ inpL = embed
             transformer.h.0.attn.c_attn ~ wqkv-0 = layers.0.qkv_proj
             transformer.h.0.mlp.c_fc ~ ffn_up-0 = layers.0.up_proj
             transformer.h.0.mlp.act ~ ffn_gelu-0 = layers.0.mlp_mid
             transformer.h.0 ~ l_out-0 = layers.0.output",
        );
    }

    #[test]
    fn bert_in_two_dialects() {
        check(
            "encoder.layer.0.attention.self.query ~ l0_q_cpp = layers.0.q_proj
             encoder.layer.0.attention.output.dense ~ l0_attn_out_cpp = layers.0.o_proj
             encoder.layer.0.attention.output ~ l0_attn_ln_cpp = layers.0.attn_out_norm
             encoder.layer.0.intermediate ~ l0_ffn_act_cpp = layers.0.mlp_mid
             encoder.layer.0 ~ h1_cpp = layers.0.output",
        );
    }

    #[test]
    fn titan_and_the_python_names_of_the_pair() {
        check(
            "tok_embeddings ~ cpp_input_embeddings = tok_embed
             layers.0.attention_norm ~ cpp_layer_0_attn_norm_output = layers.0.attn_norm
             layers.0.attention.xq ~ cpp_layer_0_attn_q_rope = layers.0.q_rope
             layers.0.attention.inner_attention ~ cpp_layer_0_attn_context = layers.0.attn_ctx
             layers.0.feed_forward ~ cpp_layer_0_mlp_output = layers.0.down_proj
             layers.0 ~ cpp_layer_0_layer_output = layers.0.output
             norm ~ cpp_final_norm_output = final_norm
             output ~ cpp_logits = logits",
        );
    }

    #[test]
    fn same_names_come_first_and_tags_are_taken_off() {
        let found = shown(
            &["py_scores_l0", "py_x"],
            &["cpp_scores_l0", "cpp_scores_after_mask_l0", "cpp_x"],
        );
        assert_eq!(
            found,
            [
                "py_scores_l0 ~ cpp_scores_l0 = layers.0.attn_scores",
                "py_x ~ cpp_x = x"
            ]
        );
        let p = paired(
            &["py_scores_l0", "py_x"],
            &["cpp_scores_l0", "cpp_x"],
            &Options::default(),
        );
        assert_eq!(
            (p.reference_tag.as_deref(), p.candidate_tag.as_deref()),
            (Some("py"), Some("cpp"))
        );
        assert_eq!(
            shown(
                &["left_conv1", "left_conv2"],
                &["right_conv2", "right_conv1"]
            )
            .len(),
            2
        );
    }

    #[test]
    fn a_module_stands_for_its_stage_where_nothing_else_was_paired() {
        let found = shown(
            &["layers.0.mlp.down_proj", "layers.0.mlp"],
            &["model.layers.0.mlp"],
        );
        assert_eq!(
            found,
            ["layers.0.mlp.down_proj ~ model.layers.0.mlp = layers.0.down_proj"]
        );
        let found = shown(
            &["model.layers.0.mlp.down_proj", "model.layers.0.mlp"],
            &["model.layers.0.mlp"],
        );
        assert_eq!(
            found,
            ["model.layers.0.mlp ~ model.layers.0.mlp = layers.0.down_proj"]
        );
    }

    #[test]
    fn a_scaled_embedding_is_not_the_token_rows() {
        assert_eq!(
            shown(&["model.embed_scaled"], &["tok_embeddings", "norm"]),
            Vec::<String>::new()
        );
        assert_eq!(
            shown(&["wte", "wpe", "ln_f"], &["embed", "ln_f"]),
            ["ln_f ~ ln_f = final_norm"]
        );
    }

    #[test]
    fn steps_and_ranks() {
        let two = ["step0/model.norm", "step1/model.norm"];
        assert_eq!(
            shown(&two, &["step1/norm", "step0/norm"]),
            [
                "step0/model.norm ~ step0/norm = step0/final_norm",
                "step1/model.norm ~ step1/norm = step1/final_norm"
            ]
        );
        assert_eq!(
            shown(&["step7/model.norm"], &["model.norm"]),
            ["step7/model.norm ~ model.norm = final_norm"]
        );
        assert_eq!(
            shown(&["step7/model.norm"], &["step_0/model.norm"]),
            ["step7/model.norm ~ step_0/model.norm = final_norm"]
        );
        assert_eq!(
            shown(&["model.norm"], &two),
            ["model.norm ~ step0/model.norm = step0/final_norm"]
        );
        assert_eq!(
            shown(&["rank0/q_l0", "rank1/q_l0"], &["q_l0"]),
            ["rank0/q_l0 ~ q_l0 = rank0/layers.0.q_proj"]
        );
    }

    #[test]
    fn left_over_words_pair_when_one_way_only() {
        let p = paired(
            &["patch_embed", "head"],
            &["patch_embed_conv", "head_final_x"],
            &Options::default(),
        );
        assert_eq!(
            p.pairs.iter().map(|p| p.how).collect::<Vec<_>>(),
            [How::Words, How::Words]
        );
        assert_eq!(p.notes[0].id, "paired_by_words");
        let p = paired(
            &["stem", "other"],
            &["stem_a1", "stem_b2", "more"],
            &Options::default(),
        );
        assert_eq!(
            (p.pairs.len(), p.notes[0].id, p.notes[0].names.len()),
            (0, "ambiguous_names", 3)
        );
    }

    #[test]
    fn shapes_decide_where_words_do_not() {
        let (wide, narrow): (&[usize], &[usize]) = (&[2, 8], &[2, 4]);
        let entry = |name, shape| Entry {
            name,
            shape: Some(shape),
            ..Entry::default()
        };
        let p = pair(
            &[entry("stem", narrow), entry("z", wide)],
            &[entry("stem_a1", wide), entry("stem_b2", narrow)],
            &Options::default(),
        );
        assert_eq!(
            p.pairs
                .iter()
                .map(|p| (p.reference, p.candidate))
                .collect::<Vec<_>>(),
            [(0, 1)]
        );
    }

    #[test]
    fn names_that_differ_in_case_only_pair_with_their_like() {
        assert_eq!(
            shown(&["Foo", "foo"], &["foo", "Foo"]),
            ["Foo ~ Foo = Foo", "foo ~ foo = foo"]
        );
        assert_eq!(
            shown(&["Foo", "bar"], &["foo", "bar"])[0],
            "Foo ~ foo = Foo"
        );
    }

    #[test]
    fn two_single_tensors_are_compared_whatever_their_names() {
        let p = paired(&["a"], &["something"], &Options::default());
        assert_eq!(p.pairs[0].how, How::Only);
        assert_eq!(
            paired(&[], &["x"], &Options::default())
                .only_candidate
                .len(),
            1
        );
    }

    #[test]
    fn the_users_map_renames_before_pairing() {
        let maps = ["cand:lyr{layer}_foo=layers.{layer}.o_proj", "bar=q_proj"]
            .map(|m| Map::parse(m).unwrap());
        let options = Options {
            maps: maps.to_vec(),
            ..Options::default()
        };
        let p = paired(
            &["py_layers.3.self_attn.o_proj", "py_layers.3.bar"],
            &["cpp_lyr3_foo", "cpp_layers.3.self_attn.q_proj"],
            &options,
        );
        let keys: Vec<String> = p.pairs.iter().map(|p| p.key.to_string()).collect();
        assert_eq!(keys, ["layers.3.o_proj", "layers.3.q_proj"]);
    }

    #[test]
    fn what_the_user_gave_and_nothing_fits_is_said() {
        let maps = ["foo=bar", "q_proj=k_proj"].map(|m| Map::parse(m).unwrap());
        let options = Options {
            maps: maps.to_vec(),
            ref_tag: Some("py".into()),
            cand_tag: Some("rs".into()),
            ..Options::default()
        };
        let p = paired(&["py_q_proj_l0"], &["cpp_k_proj_l0"], &options);
        let ids: Vec<&str> = p.notes.iter().map(|n| n.id).collect();
        assert_eq!(ids[..2], ["tag_unused", "map_unused"], "{:?}", p.notes);
        assert!(p.notes[0].message.starts_with("--cand-tag rs"));
        assert!(p.notes[1].message.starts_with("--map foo=bar"));
    }

    #[test]
    fn layers_counted_from_one_are_named() {
        let note = |r: &[&str], c: &[&str]| {
            let p = paired(r, c, &Options::default());
            p.notes.iter().any(|n| n.id == "layers_from_one")
        };
        let zero = ["layers.0.mlp", "layers.1.mlp"];
        assert!(note(&zero, &["layers.1.mlp", "layers.2.mlp"]));
        assert!(!note(&zero, &zero));
        assert!(!note(&zero, &["layers.1.mlp"]));
        // paired with each other
        assert!(!note(&["layers.0.q_proj"], &["layers.1.q_proj"]));
    }

    #[test]
    fn every_tensor_is_in_a_pair_or_alone() {
        let r = [
            "a.b",
            "l0_q",
            "Qcur-0",
            "x",
            "x",
            "rank0/y",
            "rank1/y",
            "step0/z",
            "hidden_states_3",
            "(",
            "",
        ];
        let c = [
            "l0_q", "x", "y", "step1/z", "step2/z", "layers.2", "é_q", "a/b",
        ];
        let p = paired(&r, &c, &Options::default());
        let seen_r: BTreeSet<usize> = p
            .pairs
            .iter()
            .map(|p| p.reference)
            .chain(p.only_reference.iter().map(|o| o.0))
            .collect();
        let seen_c: BTreeSet<usize> = p
            .pairs
            .iter()
            .map(|p| p.candidate)
            .chain(p.only_candidate.iter().map(|o| o.0))
            .collect();
        assert_eq!((seen_r.len(), seen_c.len()), (r.len(), c.len()));
    }
}
