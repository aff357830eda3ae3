//! Proof, as a value, that the running CPU has an instruction set.

/// Instructions that the running CPU was *checked* to have: those for floats and
/// those for the dot products of integers.
///
/// The fields are private, so holding a `Level` is the proof that makes the
/// dispatch calls sound. Levels of one architecture are ordered, worst first:
/// by the floats, then by the dot products.
///
/// There are two of them because the second is not a line with the first: a CPU
/// may have dot products in 256 bits (AVX-VNNI) and no AVX-512, or AVX-512
/// without dot products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level {
    pub(crate) isa: Isa,
    pub(crate) dot: Dot,
}

/// The instructions for floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(dead_code, reason = "each architecture constructs its own variants")]
pub(crate) enum Isa {
    Scalar,
    /// Arrays in NEON's widths: the loops over lanes are tested on every machine.
    #[cfg(test)]
    Emulated,
    Neon,
    Avx2,
    Avx512,
}

/// The instructions for sums of products of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(dead_code, reason = "each architecture constructs its own variants")]
pub(crate) enum Dot {
    /// None: what kernels then do is plain code.
    Scalar,
    /// NEON's `sdot`.
    Neon,
    /// `vpmaddubsw` in 256 bits, which sums pairs in 16 bits.
    Avx2,
    /// `vpdpbusd` in 256 bits as VEX has it, on CPUs that may lack AVX-512.
    /// Not run on hardware so far.
    AvxVnni,
    /// `vpdpbusd` as EVEX has it. In 256 bits with the floats of AVX2, which no
    /// CPU needs: it is for measuring and testing what AVX-VNNI runs.
    Avx512Vnni,
}

/// What goes together, worst first.
const LEVELS: &[Level] = &[
    Level::SCALAR,
    #[cfg(test)]
    Level { isa: Isa::Emulated, dot: Dot::Scalar },
    Level { isa: Isa::Neon, dot: Dot::Scalar },
    Level { isa: Isa::Neon, dot: Dot::Neon },
    Level { isa: Isa::Avx2, dot: Dot::Avx2 },
    Level { isa: Isa::Avx2, dot: Dot::AvxVnni },
    Level { isa: Isa::Avx2, dot: Dot::Avx512Vnni },
    Level { isa: Isa::Avx512, dot: Dot::Avx2 },
    Level { isa: Isa::Avx512, dot: Dot::Avx512Vnni },
];

impl Level {
    /// The portable level: no intrinsics, available everywhere, the test oracle.
    pub const SCALAR: Level = Level { isa: Isa::Scalar, dot: Dot::Scalar };

    /// The best level of the running CPU.
    #[must_use]
    pub fn detect() -> Level {
        Level::available().last().unwrap_or(Level::SCALAR)
    }

    /// Every level the running CPU can execute, worst first.
    pub fn available() -> impl Iterator<Item = Level> {
        LEVELS.iter().copied().filter(|level| level.isa.is_supported() && level.dot.is_supported())
    }

    /// Those of [`Level::available`] that differ in what they do with floats,
    /// for kernels that know no other numbers.
    pub fn available_for_floats() -> impl Iterator<Item = Level> {
        let mut seen = None;
        Level::available().filter(move |level| seen.replace(level.isa) != Some(level.isa))
    }

    /// The name in logs, tables and records: `scalar`, `neon`, `avx2` or `avx512`,
    /// and behind it the instructions for dot products that the floats' do not bring.
    #[must_use]
    pub fn name(self) -> &'static str {
        match (self.isa, self.dot) {
            (Isa::Scalar, _) => "scalar",
            #[cfg(test)]
            (Isa::Emulated, _) => "emulated",
            (Isa::Neon, Dot::Neon) => "neon+dotprod",
            (Isa::Neon, _) => "neon",
            (Isa::Avx2, Dot::AvxVnni) => "avx2+avxvnni",
            (Isa::Avx2, Dot::Avx512Vnni) => "avx2+avx512vnni",
            (Isa::Avx2, _) => "avx2",
            (Isa::Avx512, Dot::Avx512Vnni) => "avx512+avx512vnni",
            (Isa::Avx512, _) => "avx512",
        }
    }
}

impl Isa {
    fn is_supported(self) -> bool {
        match self {
            Isa::Scalar => true,
            #[cfg(test)]
            Isa::Emulated => true,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Isa::Avx2.is_supported() && is_x86_feature_detected!("avx512f"),
            _ => false,
        }
    }
}

impl Dot {
    fn is_supported(self) -> bool {
        match self {
            Dot::Scalar => true,
            #[cfg(target_arch = "aarch64")]
            Dot::Neon => std::arch::is_aarch64_feature_detected!("dotprod"),
            #[cfg(target_arch = "x86_64")]
            Dot::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Dot::AvxVnni => is_x86_feature_detected!("avxvnni"),
            #[cfg(target_arch = "x86_64")]
            Dot::Avx512Vnni => {
                is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512vl")
            }
            _ => false,
        }
    }
}

/// Run a kernel at a level: `dispatch!(level, name(arg: Type, …) -> Output)`.
///
/// The caller has the modules `scalar`, with the plain `name(arg, …)`, and
/// `vector`, with `name(lanes, arg, …)` for any [`crate::lanes::Lanes`]. The
/// latter is always inlined into a function that is compiled for the level's
/// instructions: all the loops of a kernel run inside of one such call.
macro_rules! dispatch {
    ($level:expr, $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $output:ty)?) => {{
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,f16c")]
        fn avx2($($arg: $type),*) $(-> $output)? {
            vector::$name($crate::lanes::avx2::Avx2::here(), $($arg),*)
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f")]
        fn avx512($($arg: $type),*) $(-> $output)? {
            vector::$name($crate::lanes::avx512::Avx512::here(), $($arg),*)
        }
        #[cfg(target_arch = "aarch64")]
        #[target_feature(enable = "neon")]
        fn neon($($arg: $type),*) $(-> $output)? {
            vector::$name($crate::lanes::neon::Neon::here(), $($arg),*)
        }
        match $level.isa {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Level` proves avx2, fma and f16c.
            $crate::level::Isa::Avx2 => unsafe { avx2($($arg),*) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Level` proves avx512f.
            $crate::level::Isa::Avx512 => unsafe { avx512($($arg),*) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: `Level` proves neon.
            $crate::level::Isa::Neon => unsafe { neon($($arg),*) },
            #[cfg(test)]
            $crate::level::Isa::Emulated => {
                vector::$name($crate::lanes::emulated::Emulated, $($arg),*)
            }
            _ => scalar::$name($($arg),*),
        }
    }};
}
pub(crate) use dispatch;

#[cfg(test)]
mod tests {
    use super::{LEVELS, Level};

    /// A test that silently skips an instruction set proves nothing, so a build
    /// machine says in `LAPWING_TEST_MIN_LEVEL` which one it must have.
    #[test]
    fn the_machine_has_the_level_that_was_asked_for() {
        let Ok(asked) = std::env::var("LAPWING_TEST_MIN_LEVEL") else { return };
        let is_level = LEVELS.iter().any(|level| level.name() == asked);
        assert!(is_level, "LAPWING_TEST_MIN_LEVEL={asked}: no such level");
        let found: Vec<&str> = Level::available().map(Level::name).collect();
        assert!(found.contains(&&*asked), "LAPWING_TEST_MIN_LEVEL={asked}, found {found:?}");
    }

    #[test]
    fn levels_start_with_scalar_and_end_with_the_best() {
        for levels in [Level::available().collect(), Level::available_for_floats().collect()] {
            let levels: Vec<Level> = levels;
            assert_eq!(levels.first(), Some(&Level::SCALAR));
            assert_eq!(levels.last().map(|level| level.isa), Some(Level::detect().isa));
            assert!(levels.is_sorted());
        }
        assert_eq!(Level::available().last(), Some(Level::detect()));
        assert!(LEVELS.is_sorted());
    }

    #[test]
    fn every_level_has_a_name_of_its_own() {
        let mut names: Vec<&str> = LEVELS.iter().map(|level| level.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), LEVELS.len());
    }

    #[test]
    fn levels_for_floats_differ_in_what_they_do_with_floats() {
        let mut isas: Vec<_> = Level::available().map(|level| level.isa).collect();
        isas.dedup();
        assert_eq!(Level::available_for_floats().map(|level| level.isa).collect::<Vec<_>>(), isas);
    }
}
