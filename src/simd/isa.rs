//! Which instructions the hot loops may use. Every choice gives the same bits.

use std::sync::OnceLock;

/// An instruction set the hot loops were compiled for, narrowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What every machine of the architecture has: SSE2 on x86-64, NEON on aarch64.
    Baseline,
    /// x86-64 with AVX2, FMA, F16C and BMI.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL.
    Avx512,
}

static LIMIT: OnceLock<Isa> = OnceLock::new();

impl Isa {
    /// All of them, narrowest first.
    pub const ALL: [Isa; 3] = [Isa::Baseline, Isa::Avx2, Isa::Avx512];

    /// The name used by `TDIFF_ISA`.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Baseline => "baseline",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }

    /// Reads a name that [`Isa::name`] wrote.
    pub fn parse(name: &str) -> Option<Isa> {
        Isa::ALL.into_iter().find(|isa| isa.name() == name)
    }

    /// Lets this process use no wider set than this one (for tests and measurements); the first call counts.
    pub fn limit(self) {
        let _ = LIMIT.set(self);
    }

    /// The widest set that this machine has and the process may use.
    pub fn detect() -> Isa {
        LIMIT
            .get()
            .map_or(Isa::of_machine(), |limit| Isa::of_machine().min(*limit))
    }

    fn of_machine() -> Isa {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c")
                && is_x86_feature_detected!("popcnt")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            if avx2 && avx512 {
                return Isa::Avx512;
            }
            if avx2 {
                return Isa::Avx2;
            }
        }
        Isa::Baseline
    }

    /// This set, or the widest below it that the machine has.
    pub fn available(self) -> Isa {
        self.min(Isa::detect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for isa in Isa::ALL {
            assert_eq!(Isa::parse(isa.name()), Some(isa));
        }
        assert_eq!(Isa::parse("mmx"), None);
    }

    #[test]
    fn a_wider_set_than_the_machine_has_is_never_chosen() {
        for isa in Isa::ALL {
            assert!(isa.available() <= Isa::detect());
        }
        assert_eq!(Isa::Baseline.available(), Isa::Baseline);
    }
}
