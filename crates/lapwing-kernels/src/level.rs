//! Proof, as a value, that the running CPU has an instruction set.

/// An instruction set the running CPU was *checked* to have.
///
/// The field is private, so holding a `Level` is the proof that makes the
/// dispatch calls sound. Levels of one architecture are ordered, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(pub(crate) Isa);

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

const ISAS: &[Isa] = &[
    Isa::Scalar,
    #[cfg(test)]
    Isa::Emulated,
    Isa::Neon,
    Isa::Avx2,
    Isa::Avx512,
];

impl Level {
    /// The portable level: no intrinsics, available everywhere, the test oracle.
    pub const SCALAR: Level = Level(Isa::Scalar);

    /// The best level of the running CPU.
    #[must_use]
    pub fn detect() -> Level {
        Level::available().last().unwrap_or(Level::SCALAR)
    }

    /// Every level the running CPU can execute, worst first.
    pub fn available() -> impl Iterator<Item = Level> {
        ISAS.iter().copied().filter(|isa| isa.is_supported()).map(Level)
    }

    /// The name in logs, tables and records: `scalar`, `neon`, `avx2` or `avx512`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.name()
    }
}

impl Isa {
    fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            #[cfg(test)]
            Isa::Emulated => "emulated",
            Isa::Neon => "neon",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }

    fn is_supported(self) -> bool {
        match self {
            Isa::Scalar => true,
            #[cfg(test)]
            Isa::Emulated => true,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Isa::Avx2.is_supported() && is_x86_feature_detected!("avx512f"),
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
        #[target_feature(enable = "avx2,fma")]
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
        match $level.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Level` proves avx2 and fma.
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
    use super::{ISAS, Level};

    /// A test that silently skips an instruction set proves nothing, so a build
    /// machine says in `LAPWING_TEST_MIN_LEVEL` which one it must have.
    #[test]
    fn the_machine_has_the_level_that_was_asked_for() {
        let Ok(asked) = std::env::var("LAPWING_TEST_MIN_LEVEL") else { return };
        let isa = ISAS.iter().copied().find(|isa| isa.name() == asked);
        let isa = isa.unwrap_or_else(|| panic!("LAPWING_TEST_MIN_LEVEL={asked}: no such level"));
        assert!(isa.is_supported(), "LAPWING_TEST_MIN_LEVEL={asked}, found {:?}", Level::detect());
    }

    #[test]
    fn levels_start_with_scalar_and_end_with_the_best() {
        let levels: Vec<Level> = Level::available().collect();
        assert_eq!(levels.first(), Some(&Level::SCALAR));
        assert_eq!(levels.last(), Some(&Level::detect()));
        assert!(levels.is_sorted());
    }
}
