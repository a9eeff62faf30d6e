//! The model families of the generator: what their layers look like, and the batch they are run on.

/// Function of the MLP.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    Silu,
    GeluErf,
    GeluTanh,
    Relu,
    /// x · σ(1.702 x)
    QuickGelu,
    Identity,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NormKind {
    Rms,
    Layer,
}

/// How rotation angles are stretched beyond the trained length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    None,
    /// Every angle divided by the factor.
    Linear(f64),
    /// Llama 3.1: slow pairs divided by the factor, fast ones kept, a ramp between.
    Llama3 {
        factor: f64,
        low: f64,
        high: f64,
        original: f64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    pub theta: f64,
    /// Channels of a head that are rotated.
    pub dims: usize,
    /// Adjacent channels are a pair, instead of channels half a head apart.
    pub interleaved: bool,
    pub scaling: RopeScaling,
}

/// Where the MLP reads from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Block {
    /// norm → attention → sum → norm → MLP → sum
    PreNorm,
    /// attention → sum → norm → MLP → sum → norm (BERT)
    PostNorm,
    /// Attention and MLP both read the layer's input, through norms of their own (GPT-NeoX).
    Parallel,
    /// Attention and MLP share one norm (GPT-J, Phi, Falcon).
    ParallelShared,
}

/// Layout of a fused projection's rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fused {
    No,
    /// All of q, then k, then v (GPT-2).
    Whole,
    /// q, k, v of the first head, of the second, … (GPT-NeoX).
    PerHead,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Padding {
    None,
    Left(usize),
    Right(usize),
}

/// Everything that defines a reference run apart from the seed.
#[derive(Clone, Debug)]
pub struct Config {
    pub family: &'static str,
    pub vocab: usize,
    pub hidden: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub inter: usize,
    pub norm: NormKind,
    pub plus_one: bool,
    pub eps: f64,
    pub glu: bool,
    pub act: Activation,
    pub rope: Option<Rope>,
    pub learned_positions: bool,
    pub token_types: bool,
    pub fused: Fused,
    pub qkv_bias: bool,
    pub o_bias: bool,
    pub mlp_bias: bool,
    pub qk_norm: bool,
    /// Factor on the scores; 1/√head_dim when absent.
    pub attn_scale: Option<f64>,
    pub window: Option<usize>,
    /// The window holds in layers 0, 2, 4, … only.
    pub window_alternates: bool,
    pub attn_softcap: Option<f64>,
    pub logit_softcap: Option<f64>,
    pub logit_scale: f64,
    pub embed_scale: f64,
    pub tied: bool,
    pub block: Block,
    /// Norms after attention and MLP, before the sums (Gemma 2).
    pub post_norms: bool,
    pub causal: bool,
    pub head: bool,
    /// Size of the two massive channels that the second layer's MLP writes.
    pub massive: f64,
    pub batch: usize,
    pub seq: usize,
    /// Decode steps of one token after the prompt; keys carry a step prefix when there are any.
    pub decode: usize,
    pub pad: Padding,
    /// Positions count tokens that are not padding, instead of columns.
    pub positions_skip_padding: bool,
    /// Score of a masked pair.
    pub mask_fill: f64,
}

impl Config {
    pub fn with_rope(mut self, change: impl FnOnce(&mut Rope)) -> Config {
        if let Some(rope) = &mut self.rope {
            change(rope);
        }
        self
    }

    /// `batch` sequences, the last with `pad`, the others with less or none.
    pub fn with_batch(self, batch: usize, pad: Padding) -> Config {
        Config { batch, pad, ..self }
    }

    pub fn with_decode(self, decode: usize) -> Config {
        Config {
            decode,
            seq: 6,
            ..self
        }
    }

    pub fn scale(&self) -> f64 {
        self.attn_scale
            .unwrap_or(1.0 / (self.head_dim as f64).sqrt())
    }

    pub fn has_window(&self, layer: usize) -> bool {
        self.window.is_some() && (!self.window_alternates || layer.is_multiple_of(2))
    }

    pub fn parallel(&self) -> bool {
        matches!(self.block, Block::Parallel | Block::ParallelShared)
    }

    /// Another model of the same family: sizes, depth and length follow from the seed.
    pub fn varied(self, seed: u64) -> Config {
        let times = 1 + (seed % 2) as usize;
        let root = (self.hidden as f64).sqrt();
        let scaled = (self.embed_scale - root).abs() < 1e-9;
        let hidden = self.hidden * times;
        Config {
            hidden,
            head_dim: self.head_dim * times,
            inter: self.inter + 4 * (seed % 11) as usize,
            vocab: self.vocab + 8 * (seed % 5) as usize,
            layers: self.layers + (seed / 2 % 3) as usize,
            seq: self.seq + (seed / 3 % 6) as usize,
            embed_scale: if scaled {
                (hidden as f64).sqrt()
            } else {
                self.embed_scale
            },
            ..self
        }
        .with_rope(|r| r.dims *= times)
    }
}
