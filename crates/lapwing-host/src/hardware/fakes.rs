//! Roots of machines that are not there, for tests.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::Machine;

/// A root folder; it starts empty.
pub struct Fake {
    root: tempfile::TempDir,
}

impl Fake {
    /// A machine with nothing.
    pub fn new() -> Fake {
        Fake { root: tempfile::tempdir().unwrap() }
    }

    /// A Linux machine whose device files can be opened.
    pub fn machine(&self) -> Machine {
        Machine {
            root: self.root.path().to_owned(),
            system: "linux",
            library_folders: Vec::new(),
            openvino: None,
            open: |_| Ok(()),
        }
    }

    /// The same, where opening them is not permitted: root would be permitted whatever their mode.
    pub fn machine_without_permission(&self) -> Machine {
        let open = |_: &Path| Err(io::ErrorKind::PermissionDenied.into());
        Machine { open, ..self.machine() }
    }

    /// A file, below the root.
    pub fn file(&self, path: &str, contents: impl AsRef<[u8]>) -> &Fake {
        let path = self.root.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
        self
    }

    /// A symbolic link.
    pub fn link(&self, path: &str, target: &str) -> &Fake {
        let path = self.root.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
        self
    }

    /// The head of a library for this processor.
    pub fn library(&self, path: &str) -> &Fake {
        let mut header = [0; 64];
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        header.copy_from_slice(&own[..64]);
        self.file(path, header)
    }

    /// The distribution.
    pub fn os_release(&self, id: &str) -> &Fake {
        self.file("/etc/os-release", format!("ID={id}\n"))
    }

    /// A device on the PCI bus; without a driver when that is empty.
    pub fn pci(&self, address: &str, class: &str, maker: &str, driver: &str) -> &Fake {
        let folder = format!("/sys/bus/pci/devices/{address}");
        self.kernel_device(&folder, maker, driver);
        self.file(&format!("{folder}/class"), format!("{class}\n"))
    }

    fn kernel_device(&self, folder: &str, maker: &str, driver: &str) {
        self.file(&format!("{folder}/vendor"), format!("{maker}\n"));
        self.file(&format!("{folder}/device"), "0x64a0\n");
        if !driver.is_empty() {
            self.link(&format!("{folder}/driver"), &format!("../../../bus/pci/drivers/{driver}"));
        }
    }

    /// A device file with the kernel's folder of its class.
    pub fn node(&self, path: &str, class: &str, maker: &str, driver: &str) -> &Fake {
        let name = path.rsplit('/').next().unwrap();
        self.kernel_device(&format!("/sys/class/{class}/{name}/device"), maker, driver);
        self.file(path, "")
    }

    /// An Intel GPU with its driver and its file.
    pub fn gpu(&self) -> &Fake {
        self.pci("0000:00:02.0", "0x030000", "0x8086", "xe");
        self.node("/dev/dri/renderD128", "drm", "0x8086", "xe")
    }

    /// An Intel NPU with its driver and its file.
    pub fn npu(&self) -> &Fake {
        self.pci("0000:00:0b.0", "0x120000", "0x8086", "intel_vpu");
        self.node("/dev/accel/accel0", "accel", "0x8086", "intel_vpu")
    }

    /// What OpenCL needs for an Intel GPU.
    pub fn gpu_libraries(&self) -> &Fake {
        let driver = "/usr/lib64/intel-opencl/libigdrcl.so";
        self.library("/usr/lib64/libOpenCL.so.1").library(driver);
        self.file("/etc/OpenCL/vendors/intel.icd", format!("{driver}\n"))
    }

    /// What Level Zero needs for an Intel NPU.
    pub fn npu_libraries(&self) -> &Fake {
        self.library("/usr/lib64/libze_loader.so.1.26.0");
        self.link("/usr/lib64/libze_loader.so.1", "libze_loader.so.1.26.0");
        self.library("/usr/lib64/libze_intel_npu.so.1");
        self.library("/usr/lib64/libnpu_driver_compiler.so")
    }
}
