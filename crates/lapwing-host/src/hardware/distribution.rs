//! Which Linux distribution this is, and what its packages are called.

use lapwing_files::regular::{self, N_TEXT_BYTES_MAX};

use super::Machine;

/// A family of distributions that share package names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Distribution {
    /// Debian, Ubuntu and theirs.
    Debian,
    /// Fedora and theirs.
    Fedora,
    /// Arch and theirs.
    Arch,
    /// openSUSE.
    OpenSuse,
    /// Another, or an unknown one.
    Other,
}

/// Something to install.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// `libOpenCL.so.1`.
    OpenClLoader,
    /// Intel's OpenCL driver for GPUs.
    OpenClDriver,
    /// `libze_loader.so.1`.
    LevelZeroLoader,
    /// The NPU's driver outside the kernel.
    NpuDriver,
    /// The library that translates graphs for the NPU.
    NpuCompiler,
}

impl Distribution {
    /// The one that `/etc/os-release` names.
    pub(super) fn read(machine: &Machine) -> Distribution {
        let texts = ["/etc/os-release", "/usr/lib/os-release"]
            .into_iter()
            .filter_map(|path| regular::read_text(&machine.below(path), N_TEXT_BYTES_MAX).ok());
        texts.map(|text| Distribution::of(&text)).next().unwrap_or(Distribution::Other)
    }

    /// The family of `ID`, else of the first of `ID_LIKE` that has one.
    fn of(os_release: &str) -> Distribution {
        let value = |key: &str| {
            let mut lines = os_release.lines().filter_map(|line| line.trim().split_once('='));
            let found = lines.find(|(name, _)| *name == key);
            found.map_or("", |(_, value)| value.trim_matches(['"', '\'']))
        };
        let texts = [value("ID"), value("ID_LIKE")];
        let names = texts.iter().flat_map(|text| text.split_whitespace());
        let mut known = names.filter_map(|name| match name {
            "debian" | "ubuntu" => Some(Distribution::Debian),
            "fedora" | "rhel" => Some(Distribution::Fedora),
            "arch" => Some(Distribution::Arch),
            name if name == "suse" || name.starts_with("opensuse") => Some(Distribution::OpenSuse),
            _ => None,
        });
        known.next().unwrap_or(Distribution::Other)
    }

    /// How to install a part. Where a package is not known to exist, the makers' download is
    /// named; names in quotes are what a package provides, whatever it is called.
    pub(super) fn cure(self, part: Part) -> String {
        use Distribution::{Arch, Debian, Fedora, OpenSuse, Other};
        let text = match (part, self) {
            (Part::OpenClLoader, Debian) => "sudo apt install ocl-icd-libopencl1",
            (Part::OpenClLoader, Fedora) => "sudo dnf install 'libOpenCL.so.1()(64bit)'",
            (Part::OpenClLoader, Arch) => "sudo pacman -S ocl-icd",
            (Part::OpenClLoader, OpenSuse) => "sudo zypper install -C 'libOpenCL.so.1()(64bit)'",
            (Part::OpenClLoader, Other) => "install an OpenCL loader (often called ocl-icd)",

            (Part::OpenClDriver, Debian) => {
                "sudo apt install intel-opencl-icd; for a GPU newer than the distribution: \
                 https://github.com/intel/compute-runtime/releases"
            }
            (Part::OpenClDriver, Fedora) => "sudo dnf install intel-compute-runtime",
            (Part::OpenClDriver, Arch) => "sudo pacman -S intel-compute-runtime",
            (Part::OpenClDriver, OpenSuse) => "sudo zypper install intel-opencl",
            (Part::OpenClDriver, Other) => {
                "install Intel's OpenCL driver (often called intel-compute-runtime): \
                 https://github.com/intel/compute-runtime/releases"
            }

            (Part::LevelZeroLoader, Debian) => "sudo apt install libze1",
            (Part::LevelZeroLoader, Fedora) => "sudo dnf install oneapi-level-zero",
            (Part::LevelZeroLoader, Arch) => "sudo pacman -S level-zero-loader",
            (Part::LevelZeroLoader, OpenSuse) => {
                "sudo zypper install -C 'libze_loader.so.1()(64bit)'"
            }
            (Part::LevelZeroLoader, Other) => {
                "install the Level Zero loader: https://github.com/oneapi-src/level-zero/releases"
            }

            (Part::NpuDriver, Fedora) => "sudo dnf install intel-npu-driver (Fedora 44 or later)",
            (Part::NpuDriver, Arch) => "sudo pacman -S intel-npu-driver",
            (Part::NpuDriver, OpenSuse) => "sudo zypper install linux-npu-driver",
            (Part::NpuDriver, Debian | Other) => {
                "no package of the distribution is known: install intel-level-zero-npu and \
                 intel-fw-npu from https://github.com/intel/linux-npu-driver/releases"
            }

            (Part::NpuCompiler, Arch) => "install intel-npu-compiler (from the AUR)",
            (Part::NpuCompiler, _) => {
                "install intel-driver-compiler-npu from \
                 https://github.com/intel/linux-npu-driver/releases"
            }
        };
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions_are_known_by_what_they_are_like() {
        let check = |os_release: &str, expected: Distribution| {
            assert_eq!(Distribution::of(os_release), expected, "{os_release}");
        };
        check("NAME=\"Debian GNU/Linux\"\nID=debian\n", Distribution::Debian);
        check("ID=ubuntu\nID_LIKE=debian\n", Distribution::Debian);
        check("ID=pop\nID_LIKE=\"ubuntu debian\"\n", Distribution::Debian);
        check("ID=fedora\n", Distribution::Fedora);
        check("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", Distribution::Fedora);
        check("ID=endeavouros\nID_LIKE='arch'\n", Distribution::Arch);
        check("ID=\"opensuse-tumbleweed\"\nID_LIKE=\"opensuse suse\"\n", Distribution::OpenSuse);
        check("ID=nixos\n", Distribution::Other);
        check("VARIANT_ID=fedora\n", Distribution::Other);
        check("", Distribution::Other);
    }

    #[test]
    fn every_part_has_a_cure_everywhere() {
        let check = |part: Part, distribution: Distribution, expected: &str| {
            let cure = distribution.cure(part);
            assert!(cure.contains(expected), "{part:?} {distribution:?}: {cure}");
        };
        check(Part::OpenClLoader, Distribution::Debian, "apt install ocl-icd-libopencl1");
        check(Part::OpenClDriver, Distribution::Debian, "apt install intel-opencl-icd");
        check(Part::LevelZeroLoader, Distribution::Debian, "apt install libze1");
        check(Part::NpuDriver, Distribution::Debian, "intel/linux-npu-driver/releases");
        check(Part::NpuCompiler, Distribution::Debian, "intel-driver-compiler-npu");
        check(Part::OpenClDriver, Distribution::Fedora, "dnf install intel-compute-runtime");
        check(Part::NpuDriver, Distribution::Arch, "pacman -S intel-npu-driver");
        check(Part::OpenClDriver, Distribution::OpenSuse, "zypper install intel-opencl");
        check(Part::LevelZeroLoader, Distribution::Other, "level-zero/releases");
    }
}
