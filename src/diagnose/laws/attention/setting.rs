//! The parameters of one attention layer.

use super::mask::Mask;
use crate::diagnose::laws::rope::rotation::{Rotation, figures};

/// How weights are made of scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Softmax {
    OverKeys,
    OverQueries,
    /// exp(score − largest) without the division.
    Undivided,
}

/// How the heads come together in the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// `[token, head, channel]`
    TokensFirst,
    /// `[head, token, channel]` read as if it were `[token, head, channel]`: not transposed back.
    HeadsFirst,
    /// `[token, channel, head]`
    ChannelsFirst,
}

/// What the weights are applied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    V,
    K,
}

/// Everything between Q, K, V and the context.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Applied to Q and K first; `None` when they are used as they are.
    pub rotation: Option<Rotation>,
    pub scale: f64,
    pub cap: Option<f64>,
    pub mask: Mask,
    /// For each query head its key/value head.
    pub kv_of: Vec<usize>,
    pub softmax: Softmax,
    pub merge: Merge,
    pub values: Values,
}

impl Setting {
    /// Query head h uses key/value head h / (heads / kv_heads): what models specify.
    pub fn repeated(heads: usize, kv_heads: usize) -> Vec<usize> {
        let group = (heads / kv_heads.max(1)).max(1);
        (0..heads)
            .map(|h| (h / group).min(kv_heads.saturating_sub(1)))
            .collect()
    }

    /// Query head h uses key/value head h mod kv_heads: the usual mistake.
    pub fn tiled(heads: usize, kv_heads: usize) -> Vec<usize> {
        (0..heads).map(|h| h % kv_heads.max(1)).collect()
    }

    pub fn mapping(&self, kv_heads: usize) -> String {
        if self.kv_of == Setting::repeated(self.kv_of.len(), kv_heads) {
            "key/value heads repeated".into()
        } else if self.kv_of == Setting::tiled(self.kv_of.len(), kv_heads) {
            "key/value heads tiled".into()
        } else {
            format!("key/value heads {:?}", self.kv_of)
        }
    }

    /// `Q·K × 0.25, capped at 50, causal`
    pub fn scores_text(&self, channels: usize) -> String {
        let mut text = String::new();
        if let Some(r) = &self.rotation {
            text += &format!("{}, ", r.text(channels));
        }
        text += &format!("Q·Kᵀ × {}", figures(self.scale, 4));
        if let Some(c) = self.cap {
            text += &format!(", capped at {}", figures(c, 3));
        }
        text
    }
}
