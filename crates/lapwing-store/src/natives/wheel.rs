//! The pinned wheels.
//!
//! To move to a new version: change [`super::Native::version`], then name, size and hash here,
//! from `pip download` with the arguments that [`crate::pip`] uses.

use super::{Native, Runtime};

/// One wheel on PyPI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wheel {
    /// The platform tag to ask pip for.
    pub platform: &'static str,
    /// Size of the file.
    pub size_bytes: u64,
    /// Hash of the file.
    pub sha256: &'static str,
}

const ONNX_RUNTIME: Native = Native::Runtime(Runtime::OnnxRuntime);
const OPENVINO: Native = Native::Runtime(Runtime::OpenVino);

/// The wheel of `runtime` for the computer that this program was built for.
pub(super) fn pinned(runtime: Native) -> Option<Wheel> {
    pinned_for(runtime, std::env::consts::OS, std::env::consts::ARCH)
}

fn pinned_for(runtime: Native, system: &str, processor: &str) -> Option<Wheel> {
    match (runtime, system, processor) {
        (ONNX_RUNTIME, "linux", "x86_64") => Some(Wheel {
            platform: "manylinux_2_28_x86_64",
            size_bytes: 23_753_652,
            sha256: "5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f",
        }),
        (ONNX_RUNTIME, "linux", "aarch64") => Some(Wheel {
            platform: "manylinux_2_28_aarch64",
            size_bytes: 21_413_526,
            sha256: "da05378364c44d4407e463982d2bf8d5e4cfea873283757e48beeb41df97b7f3",
        }),
        (OPENVINO, "linux", "x86_64") => Some(Wheel {
            platform: "manylinux_2_28_x86_64",
            size_bytes: 59_130_756,
            sha256: "2d22b1da03f7caf74df30e9f6417d0ab2f637e4a38e08e1dcd294d2c37407aaf",
        }),
        (OPENVINO, "linux", "aarch64") => Some(Wheel {
            platform: "manylinux_2_35_aarch64",
            size_bytes: 30_348_540,
            sha256: "bea1eb3733c34ef331adc945da0ccda5937865031139073663be84c517ffda22",
        }),
        (Native::OrtPlugin, "linux", "x86_64") => Some(Wheel {
            platform: "manylinux_2_28_x86_64",
            size_bytes: 52_587_628,
            sha256: "3832643158c8c187fcab6db661cde2a8c06a2b3559d95d0f2411ac0e51c5e924",
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_complete_and_differ() {
        let mut hashes = Vec::new();
        for runtime in Runtime::ALL {
            for processor in ["x86_64", "aarch64"] {
                let wheel = pinned_for(runtime.into(), "linux", processor).unwrap();
                assert_eq!(wheel.sha256.len(), 64);
                assert!(wheel.platform.ends_with(processor));
                hashes.push(wheel.sha256);
            }
            assert_eq!(pinned_for(runtime.into(), "plan9", "x86_64"), None);
        }
        let plugin = pinned_for(Native::OrtPlugin, "linux", "x86_64").unwrap();
        assert_eq!(plugin.sha256.len(), 64);
        hashes.push(plugin.sha256);
        assert_eq!(pinned_for(Native::OrtPlugin, "linux", "aarch64"), None);
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), 5);
    }
}
