//! Both dumps as arrays in canonical axes, for the relations and laws: loaded when asked for, cut to a sample when large,
//! forgotten when others need the room.

use super::array::Array;
use super::fused::Cut;
use super::geometry::{Geometry, part_of};
use super::head_norm::undumped;
use crate::dump::{Payload, Tensor, TensorInfo};
use crate::name::{Key, Stage};
use crate::pairs::Pair;
use std::collections::{BTreeMap, HashMap};
use std::sync::{LazyLock, Mutex};

/// Which dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    Reference,
    Candidate,
}

impl Side {
    pub const BOTH: [Side; 2] = [Side::Reference, Side::Candidate];

    pub fn name(self) -> &'static str {
        match self {
            Side::Reference => "reference",
            Side::Candidate => "candidate",
        }
    }
}

/// Everything a hypothesis may look at.
pub struct Scene<'a> {
    pub pairs: &'a [Pair],
    /// Relative error of each pair, where it is known.
    pub errors: &'a [Option<f64>],
    /// By tower.
    geometry: BTreeMap<&'static str, Geometry>,
    index: HashMap<Key, usize>,
    cache: Mutex<Cache>,
    sampled: Mutex<Vec<String>>,
    cuts: Mutex<BTreeMap<&'static str, Cut>>,
}

/// Elements per array that are looked at where a difference begins: in a step with a larger tensor all are cut to their first
/// batch elements and tokens.
pub const WHOLE: usize = 1 << 20;
/// The same behind the first divergence, where there are many places to look at.
const BEHIND: usize = 1 << 17;

/// Elements of all arrays together that are held for the next who asks: 2 MiB.
const HELD: usize = 1 << 18;

/// Elements of a glance.
const GLANCE: usize = 256;

/// Arrays by pair and side; the ones not asked for longest are forgotten first.
#[derive(Default)]
struct Cache {
    arrays: HashMap<(usize, Side), (Option<Array>, u64)>,
    elements: usize,
    asked: u64,
}

impl Cache {
    fn get(&mut self, place: (usize, Side)) -> Option<Option<Array>> {
        self.asked += 1;
        let (array, asked) = self.arrays.get_mut(&place)?;
        *asked = self.asked;
        Some(array.clone())
    }

    fn insert(&mut self, place: (usize, Side), array: Option<Array>) {
        let size = |a: &Option<Array>| a.as_ref().map_or(0, |a| a.data.len());
        self.elements += size(&array);
        if let Some((old, _)) = self.arrays.insert(place, (array, self.asked)) {
            self.elements -= size(&old);
        }
        while self.elements > HELD {
            let held = self
                .arrays
                .iter()
                .filter(|(p, (a, _))| **p != place && size(a) > 0);
            let Some((&oldest, _)) = held.min_by_key(|(_, (_, asked))| *asked) else {
                return;
            };
            let gone = self.arrays.remove(&oldest);
            self.elements -= gone.map_or(0, |(a, _)| size(&a));
        }
    }
}

impl<'a> Scene<'a> {
    pub fn new(pairs: &'a [Pair], errors: &'a [Option<f64>]) -> Self {
        Scene::looking_at(pairs, errors, WHOLE)
    }

    /// The same dumps, cut shorter.
    pub fn shorter(&self) -> Scene<'a> {
        Scene::looking_at(self.pairs, self.errors, BEHIND)
    }

    fn looking_at(pairs: &'a [Pair], errors: &'a [Option<f64>], whole: usize) -> Self {
        let index = pairs
            .iter()
            .enumerate()
            .map(|(i, p)| (p.key.clone(), i))
            .collect();
        let mut towers: BTreeMap<&'static str, Vec<&Pair>> = BTreeMap::new();
        for pair in pairs {
            towers.entry(pair.key.tower()).or_default().push(pair);
        }
        let geometry = towers
            .into_iter()
            .map(|(tower, pairs)| (tower, Geometry::infer(&pairs, whole)))
            .collect();
        Scene {
            pairs,
            errors,
            geometry,
            index,
            cache: Mutex::default(),
            sampled: Mutex::default(),
            cuts: Mutex::default(),
        }
    }

    /// The sizes of the tower that a key belongs to.
    pub fn geometry(&self, key: &Key) -> &Geometry {
        static UNKNOWN: LazyLock<Geometry> = LazyLock::new(Geometry::default);
        self.geometry.get(key.tower()).unwrap_or(&UNKNOWN)
    }

    /// The pairs of a tower.
    pub fn tower(&self, tower: &'static str) -> impl Iterator<Item = &'a Pair> + Clone {
        self.pairs.iter().filter(move |p| p.key.tower() == tower)
    }

    /// How the reference's fused projections are cut into Q, K and V in a tower.
    pub fn cut(&self, tower: &'static str) -> Cut {
        if let Some(known) = lock(&self.cuts).get(tower) {
            return *known;
        }
        // the first layer that tells
        let fused = self.tower(tower);
        let fused = fused
            .filter(|p| p.key.stage == Some(Stage::QKV_PROJ))
            .take(2);
        let cut = Cut::of(fused.map(|p| {
            let site = self.site(Side::Reference, &p.key);
            (site.geometry(), move |stage| site.dumped(stage))
        }));
        lock(&self.cuts).insert(tower, cut);
        cut
    }

    pub fn find(&self, key: &Key) -> Option<usize> {
        self.index.get(key).copied()
    }

    /// One side's tensor in canonical axes; `None` when it was not dumped completely or cannot be read.
    pub fn array(&self, side: Side, key: &Key) -> Option<Array> {
        self.load(side, self.find(key)?)
    }

    pub fn load(&self, side: Side, i: usize) -> Option<Array> {
        if let Some(known) = lock(&self.cache).get((i, side)) {
            return known;
        }
        let loaded = self.read(side, i);
        lock(&self.cache).insert((i, side), loaded.clone());
        loaded
    }

    /// As [`Scene::load`], with NaN for the elements that a partial tensor does not know.
    pub fn load_known(&self, side: Side, i: usize) -> Option<Array> {
        let pair = &self.pairs[i];
        let (r, c) = pair.aligned.as_ref()?;
        let tensor = if side == Side::Reference { r } else { c };
        let Payload::Partial(known) = &tensor.payload else {
            return self.load(side, i);
        };
        if tensor.info.len() > WHOLE {
            return None;
        }
        let mut data = vec![f64::NAN; tensor.info.len()];
        for (&at, &value) in known.positions.iter().zip(&known.values) {
            *data.get_mut(at as usize)? = value;
        }
        let array = Array::new(tensor.info.shape().to_vec(), data);
        Some(self.geometry(&pair.key).canonical(&pair.key, array, None))
    }

    /// Counts what another look at the same dumps has cut.
    pub fn sampled_too(&self, other: &Scene<'_>) {
        lock(&self.sampled).extend(other.sampled());
    }

    /// Names of the tensors of which only the first tokens were looked at.
    pub fn sampled(&self) -> Vec<String> {
        let mut names = lock(&self.sampled).clone();
        names.sort();
        names.dedup();
        names
    }

    /// The tensor as it is compared, or as it was dumped where the other side has none.
    fn tensor(&self, side: Side, i: usize) -> Option<&'a Tensor> {
        let pair = &self.pairs[i];
        match (&pair.aligned, side) {
            (Some((r, _)), Side::Reference) => Some(r),
            (Some((_, c)), Side::Candidate) => Some(c),
            (None, Side::Reference) => pair.reference.as_deref(),
            (None, Side::Candidate) => pair.candidate.as_deref(),
        }
    }

    /// The first few elements of a tensor as they are compared: a glance before all of it is loaded.
    pub fn glance(&self, side: Side, i: usize) -> Option<Array> {
        let tensor = self.tensor(side, i).filter(|t| is_complete(t))?;
        if !tensor.info.is_contiguous() {
            return None;
        }
        let shape = vec![tensor.info.len().min(GLANCE)];
        let first = part_of(
            tensor,
            TensorInfo::new(tensor.info.dtype(), shape.clone()).ok()?,
        );
        Some(Array::new(shape, first.values().ok()?))
    }

    /// Whether only a part of a tensor is looked at.
    pub fn is_cut(&self, side: Side, i: usize) -> bool {
        let key = &self.pairs[i].key;
        self.tensor(side, i)
            .is_some_and(|t| self.geometry(key).cut(key, t).is_some())
    }

    /// Elements of a tensor that hypotheses look at.
    pub fn looked_at(&self, i: usize) -> usize {
        let key = &self.pairs[i].key;
        let whole = |t: &Tensor| match self.geometry(key).cut(key, t) {
            Some(part) => part.info.len(),
            None => t.info.len(),
        };
        self.tensor(Side::Reference, i).map_or(0, whole)
    }

    /// Rows along the last axis of a tensor, cut or not.
    pub fn rows(&self, side: Side, key: &Key) -> Option<usize> {
        let info = &self.tensor(side, self.find(key)?)?.info;
        Some(info.len() / info.shape().last()?.max(&1))
    }

    fn read(&self, side: Side, i: usize) -> Option<Array> {
        let pair = &self.pairs[i];
        let tensor = self.tensor(side, i).filter(|t| is_complete(t))?;
        let geometry = self.geometry(&pair.key);
        let cut = geometry.cut(&pair.key, tensor);
        if cut.is_some() {
            lock(&self.sampled).push(tensor.name.clone());
        }
        let dumped = cut.is_some().then(|| tensor.info.shape());
        let tensor = cut.as_ref().unwrap_or(tensor);
        let array = Array {
            shape: tensor.info.shape().to_vec(),
            data: tensor.values().ok()?.into(),
        };
        Some(geometry.canonical(&pair.key, array, dumped))
    }

    /// One side at one place: the taps of a layer.
    pub fn site(&'a self, side: Side, key: &Key) -> Site<'a> {
        Site {
            scene: self,
            side,
            step: key.step,
            rank: key.rank,
            tower: key.tower(),
            layer: key.layer,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn is_complete(t: &Tensor) -> bool {
    use crate::dump::Payload::*;
    matches!(t.payload, File { .. } | Memory(_) | Stream(_))
}

/// One layer (or the part outside the layers) of one side at one step.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    pub scene: &'a Scene<'a>,
    pub side: Side,
    pub step: Option<u32>,
    pub rank: Option<u32>,
    pub tower: &'static str,
    pub layer: Option<u32>,
}

impl<'a> Site<'a> {
    pub fn key(&self, stage: Stage) -> Key {
        let layer = if stage.is_per_layer() {
            self.layer
        } else {
            None
        };
        Key {
            step: self.step,
            rank: self.rank,
            layer,
            stage: Some(stage),
            rest: self.tower.to_owned(),
        }
    }

    /// The sizes of its tower.
    pub fn geometry(&self) -> &'a Geometry {
        self.scene.geometry(&self.key(Stage::EMBED))
    }

    pub fn in_layer(&self, layer: u32) -> Site<'a> {
        Site {
            layer: Some(layer),
            ..*self
        }
    }

    pub fn on(&self, side: Side) -> Site<'a> {
        Site { side, ..*self }
    }

    pub fn at_step(&self, step: Option<u32>) -> Site<'a> {
        Site { step, ..*self }
    }

    /// The tensor dumped at a stage, in canonical axes.
    pub fn dumped(&self, stage: Stage) -> Option<Array> {
        self.scene.array(self.side, &self.key(stage))
    }

    /// The tensor at a stage: dumped, or derived from others that determine it (the stream entering a layer is what left
    /// the one before; the stream after attention is the stream before plus the branch; raw Q is the normed one where the
    /// model norms no heads, and tells it where it does, …).
    pub fn tap(&self, stage: Stage) -> Option<Array> {
        self.dumped(stage).or_else(|| self.derived(stage))
    }

    fn derived(&self, stage: Stage) -> Option<Array> {
        match stage {
            Stage::EMBED => self.dumped(Stage::EMBED_SUM).or_else(|| {
                let others = [Stage::POS_EMBED, Stage::TYPE_EMBED];
                let alone = others
                    .iter()
                    .all(|s| self.scene.find(&self.key(*s)).is_none());
                if alone {
                    self.dumped(Stage::TOK_EMBED)
                } else {
                    None
                }
            }),
            Stage::INPUT => match self.layer? {
                0 => self.tap(Stage::EMBED),
                layer => self.in_layer(layer - 1).dumped(Stage::OUTPUT),
            },
            Stage::ATTN_RESIDUAL => {
                let branch = self
                    .dumped(Stage::ATTN_POST_NORM)
                    .or_else(|| self.dumped(Stage::O_PROJ))?;
                self.tap(Stage::INPUT)?.plus(&branch)
            }
            Stage::MLP_MID => {
                let (act, up) = (self.dumped(Stage::ACT)?, self.dumped(Stage::UP_PROJ)?);
                self.dumped(Stage::GATE_PROJ)?;
                act.zip(&up, |a, u| a * u).filter(|_| act.shape == up.shape)
            }
            Stage::Q_NORM => {
                undumped(self, Stage::Q_PROJ, Stage::Q_ROPE).or_else(|| self.tap(Stage::Q_PROJ))
            }
            Stage::K_NORM => {
                undumped(self, Stage::K_PROJ, Stage::K_ROPE).or_else(|| self.tap(Stage::K_PROJ))
            }
            Stage::Q_PROJ => self.cut(0),
            Stage::K_PROJ => self.cut(1),
            Stage::V_PROJ => self.cut(2),
            _ => None,
        }
    }

    /// A part of a fused projection, when the sizes say how large it is; both sides are cut as the reference's is.
    fn cut(&self, part: usize) -> Option<Array> {
        let whole = self.dumped(Stage::QKV_PROJ)?;
        self.scene
            .cut(self.tower)
            .part(&whole, self.geometry(), part)
    }
}
