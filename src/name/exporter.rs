//! Nodes of an exported graph: `/model/layers.0/input_layernorm/Mul_1_output_0` is one of the operations that the module is made of.
//!
//! `torch.onnx.export` names the output of a node by the module that it stands in, its operation, and how many of that kind
//! came before it there; ONNX Runtime, Qualcomm's and Sophgo's tools keep or flatten these names. A dump of all nodes holds the
//! squares and sums inside a norm too: what leaves the module is its last operation.

use super::clean::Clean;
use super::words::{Word, joined};
use crate::graph;
use std::collections::{BTreeMap, BTreeSet};

/// The place of a node in a name.
struct Node {
    /// Words of the module.
    scope: usize,
    /// Words without the operation that a tool appends.
    end: usize,
    /// How many of its kind came before it in the module, then its kind.
    late: (u32, Option<usize>),
    first_output: bool,
}

fn node(words: &[Word]) -> Option<Node> {
    let operations = &graph::words().exporter;
    let place = |w: &Word| operations.results.iter().position(|r| *r == w.text);
    let known = |w: &Word| place(w).is_some() || operations.inner.contains(&w.text);
    let mut end = words.len();
    // TPU-MLIR appends the operation once more.
    if end > 3 && known(&words[end - 1]) && words[end - 2].number().is_some() {
        end -= 1;
    }
    let output = words[..end].last()?.number()?;
    if end < 3 || words[end - 2].lower != "output" {
        return None;
    }
    let (at, number) = match words[end - 3].number() {
        Some(n) => (end.checked_sub(4)?, n),
        None => (end - 3, 0),
    };
    let kind = &words[at];
    (known(kind) && at > 0).then(|| Node {
        scope: at,
        end,
        late: (number, place(kind)),
        first_output: output == 0,
    })
}

/// Whether a module's name is one that has operations of its own: neither a layer nor a half of one.
fn is_leaf(scope: &[Word]) -> bool {
    let operations = &graph::words().exporter;
    match scope {
        [.., list, index] if index.number().is_some() => !operations.layers.contains(&list.lower),
        [.., module] => !operations.containers.contains(&module.lower),
        [] => false,
    }
}

/// Gives the last node of a module the module's name, and marks the nodes inside it.
pub(super) fn settle(cleans: &mut [Clean]) {
    let nodes: Vec<Option<Node>> = cleans.iter().map(|c| node(&c.words)).collect();
    let mut scopes: BTreeSet<String> = BTreeSet::new();
    let mut members: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (i, (c, n)) in cleans.iter().zip(&nodes).enumerate() {
        let Some(n) = n else { continue };
        let scope = joined(&c.words[..n.scope]);
        scopes.insert(scope.clone());
        let place = (c.step, c.call, c.phase, c.rank, scope);
        members.entry(place).or_default().push(i);
    }
    for ((.., scope), members) in members {
        let below = format!("{scope}_");
        let contains = scopes.range(below.clone()..).next();
        let container = contains.is_some_and(|s| s.starts_with(&below));
        let last = members
            .iter()
            .filter_map(|&i| Some((nodes[i].as_ref()?, i)))
            .filter(|(n, _)| n.first_output && n.late.1.is_some())
            .max_by_key(|(n, _)| n.late);
        for &i in &members {
            let Some(n) = &nodes[i] else { continue };
            let leaf = !container && is_leaf(&cleans[i].words[..n.scope]);
            if leaf && last.as_ref().is_some_and(|(_, l)| *l == i) {
                cleans[i].words.truncate(n.scope);
            } else {
                cleans[i].words.truncate(n.end);
                cleans[i].inner = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::clean::clean;
    use super::super::words::written;
    use super::*;

    /// `name => module` for results, `name =>` for nodes inside.
    fn check(table: &[(&str, &str)]) {
        let mut cleans: Vec<Clean> = table.iter().map(|(name, _)| clean(name)).collect();
        settle(&mut cleans);
        for (c, (name, module)) in cleans.iter().zip(table) {
            let found = if c.inner {
                String::new()
            } else {
                written(&c.words)
            };
            assert_eq!(found, *module, "{name}");
        }
    }

    #[test]
    fn the_last_operation_is_the_module() {
        check(&[
            ("/m/input_layernorm/Pow_output_0", ""),
            ("/m/input_layernorm/Add_output_0", ""),
            ("/m/input_layernorm/Mul_output_0", ""),
            ("/m/input_layernorm/Mul_1_output_0", "m/input_layernorm"),
            ("/m/ln_1/Mul_output_0", ""),
            ("/m/ln_1/Add_1_output_0", "m/ln_1"),
            ("/m/q_proj/MatMul_output_0", ""),
            ("/m/q_proj/Add_output_0", "m/q_proj"),
            ("/m/act_fn/Sigmoid_output_0", ""),
            ("/m/act_fn/Mul_output_0", "m/act_fn"),
            ("/m/Add_1_output_0", ""),
            ("logits", "logits"),
        ]);
        check(&[
            ("_m_layers.0_mlp_Mul_output_0", ""),
            (
                "_m_layers.0_mlp_down_proj_MatMul_output_0",
                "m_layers.0_mlp_down_proj",
            ),
            ("_m_layers.0_Add_1_output_0", ""),
        ]);
        check(&[
            ("/m/norm/Mul_1_output_0_Mul", "m/norm"),
            ("/m/norm/Div_output_0_Div", ""),
        ]);
    }
}
