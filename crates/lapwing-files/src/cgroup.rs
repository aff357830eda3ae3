//! What a container allows its processes, as Linux shows it in files: control groups, version 1
//! and 2, one in another.
//!
//! A library that counts cores and memory of the machine counts more than it gets: a container's
//! quota of the processors slows all threads down, and its limit of memory ends the process.

use std::path::{Component, Path, PathBuf};

use crate::regular;

/// A limit of version 1 that is none: the largest number of whole pages.
const MEMORY_UNLIMITED: u64 = 1 << 62;
/// Groups in groups that are looked at.
const DEPTH_MAX: usize = 64;
/// A longer file is none of the kernel's.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What the control groups of this process allow.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Allowance {
    /// Processors' time, in processors: 1.5 is three halves of one. `None` where nothing limits it.
    pub n_cpus: Option<f64>,
    /// Memory, in bytes. `None` where nothing limits it.
    pub memory_bytes: Option<u64>,
}

impl Allowance {
    /// That of this process; without limits on systems that are no Linux.
    pub fn of_this_process() -> Allowance {
        Allowance::below(Path::new("/"))
    }

    /// The same, with a folder in the place of `/`.
    pub fn below(root: &Path) -> Allowance {
        let (Some(mounts), Some(groups)) =
            (text(&root.join("proc/self/mountinfo")), text(&root.join("proc/self/cgroup")))
        else {
            return Allowance::default();
        };
        let mut allowance = Allowance::default();
        for mount in mounts.lines().filter_map(Mount::parse) {
            for group in groups.lines().filter_map(|line| mount.group(line)) {
                mount.walk(root, &group, &mut allowance);
            }
        }
        allowance
    }

    fn limit_cpus(&mut self, n_cpus: Option<f64>) {
        let n_cpus = n_cpus.filter(|n_cpus| n_cpus.is_finite() && 0.0 < *n_cpus);
        self.n_cpus = self.n_cpus.into_iter().chain(n_cpus).reduce(f64::min);
    }

    fn limit_memory(&mut self, n_bytes: Option<u64>) {
        let n_bytes = n_bytes.filter(|&n_bytes| n_bytes < MEMORY_UNLIMITED);
        self.memory_bytes = self.memory_bytes.into_iter().chain(n_bytes).min();
    }
}

/// Where groups of one hierarchy are shown.
struct Mount<'a> {
    /// The group that is shown at `place`.
    root: &'a str,
    place: &'a str,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Version 1, with the controllers that are looked at.
    One {
        cpu: bool,
        memory: bool,
    },
    Two,
}

impl Mount<'_> {
    /// A line of `mountinfo`: `36 25 0:31 ROOT PLACE rw,… shared:1 - TYPE SOURCE OPTIONS`.
    fn parse(line: &str) -> Option<Mount<'_>> {
        let (before, behind) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (root, place) = (before.next()?, before.next()?);
        let mut behind = behind.split(' ');
        let (filesystem, options) = (behind.next()?, behind.nth(1)?);
        let has = |controller| options.split(',').any(|option| option == controller);
        let kind = match filesystem {
            "cgroup2" => Kind::Two,
            "cgroup" if has("cpu") || has("memory") => {
                Kind::One { cpu: has("cpu"), memory: has("memory") }
            }
            _ => return None,
        };
        Some(Mount { root, place, kind })
    }

    /// The group in a line of `cgroup`, `4:cpu,cpuacct:/GROUP`, relative to what is shown; `None`
    /// for one of another hierarchy.
    fn group(&self, line: &str) -> Option<PathBuf> {
        let (number, rest) = line.split_once(':')?;
        let (controllers, group) = rest.split_once(':')?;
        let has = |controller| controllers.split(',').any(|of_line| of_line == controller);
        let is_meant = match self.kind {
            Kind::Two => number == "0" && controllers.is_empty(),
            Kind::One { cpu, memory } => (cpu && has("cpu")) || (memory && has("memory")),
        };
        let group = Path::new(group);
        // A namespace of groups shows those outside of it with `..`, or the container's own root.
        let inside = group.strip_prefix(self.root).unwrap_or(Path::new(""));
        let is_named = inside.components().all(|part| matches!(part, Component::Normal(_)));
        is_meant.then(|| if is_named { inside.to_owned() } else { PathBuf::new() })
    }

    /// Take in the limits of a group and of all that it is in.
    fn walk(&self, root: &Path, group: &Path, allowance: &mut Allowance) {
        let place = root.join(self.place.trim_start_matches('/'));
        for group in group.ancestors().take(DEPTH_MAX) {
            let value = |file: &str| text(&place.join(group).join(file));
            match self.kind {
                Kind::Two => {
                    allowance.limit_cpus(value("cpu.max").as_deref().and_then(quota_of_pair));
                    allowance.limit_memory(value("memory.max").as_deref().and_then(number));
                }
                Kind::One { cpu, memory } => {
                    if cpu {
                        let quota = value("cpu.cfs_quota_us").as_deref().and_then(number);
                        let period = value("cpu.cfs_period_us").as_deref().and_then(number);
                        allowance.limit_cpus(ratio(quota, period));
                    }
                    if memory {
                        let limit = value("memory.limit_in_bytes");
                        allowance.limit_memory(limit.as_deref().and_then(number));
                    }
                }
            }
        }
    }
}

/// `50000 100000`, or `max 100000` for no quota.
fn quota_of_pair(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    ratio(number(quota), number(period))
}

fn ratio(quota: Option<u64>, period: Option<u64>) -> Option<f64> {
    Some(quota? as f64 / period? as f64)
}

/// A number; none for `max` and for -1, which mean no limit.
fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// A file of the kernel's, which says nothing of its length.
fn text(path: &Path) -> Option<String> {
    regular::read_text(path, FILE_BYTES_MAX).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A machine with these files.
    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn check(files: &[(&str, &str)], n_cpus: Option<f64>, memory_bytes: Option<u64>) {
        let found = Allowance::below(machine(files).path());
        assert_eq!(found, Allowance { n_cpus, memory_bytes }, "{files:?}");
    }

    const TWO: &str = "24 1 0:21 / /proc rw - proc proc rw\n\
        30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
    const ONE: &str = "30 24 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n\
        31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:1 - cgroup cgroup rw,cpu,cpuacct\n\
        32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn version_2_counts_the_tightest_of_the_groups_around_a_process() {
        let of = |files: &[(&'static str, &'static str)]| {
            let always =
                [("proc/self/mountinfo", TWO), ("proc/self/cgroup", "0::/user.slice/a.scope\n")];
            [&always[..], files].concat()
        };
        check(&of(&[]), None, None);
        let unlimited = [
            ("sys/fs/cgroup/user.slice/a.scope/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/user.slice/a.scope/memory.max", "max\n"),
        ];
        check(&of(&unlimited), None, None);
        let inner = [
            ("sys/fs/cgroup/user.slice/a.scope/cpu.max", "150000 100000\n"),
            ("sys/fs/cgroup/user.slice/a.scope/memory.max", "629145600\n"),
        ];
        check(&of(&inner), Some(1.5), Some(629_145_600));
        let nested = [
            ("sys/fs/cgroup/user.slice/a.scope/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/user.slice/a.scope/memory.max", "800000000\n"),
            ("sys/fs/cgroup/user.slice/cpu.max", "20000 50000\n"),
            ("sys/fs/cgroup/user.slice/memory.max", "700000000\n"),
        ];
        check(&of(&nested), Some(0.4), Some(700_000_000));
    }

    #[test]
    fn version_1_and_both_at_once() {
        let groups = "9:cpu,cpuacct:/box\n4:memory:/box/inner\n0::/box\n";
        let of = |files: &[(&'static str, &'static str)]| {
            [&[("proc/self/mountinfo", ONE), ("proc/self/cgroup", groups)][..], files].concat()
        };
        let unlimited = [
            ("sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        check(&of(&unlimited), None, None);
        let limited = [
            ("sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us", "50000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "629145600\n"),
            ("sys/fs/cgroup/memory/box/inner/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        check(&of(&limited), Some(0.5), Some(629_145_600));
        // A hierarchy of version 2 beside them.
        let both = [&limited[..], &[("sys/fs/cgroup/unified/box/memory.max", "1000\n")]].concat();
        check(&of(&both), Some(0.5), Some(1000));
    }

    #[test]
    fn a_container_sees_its_own_group_at_the_root() {
        let mounts = "30 24 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup ro\n";
        let of = |group: &'static str| {
            [
                ("proc/self/mountinfo", mounts),
                ("proc/self/cgroup", group),
                ("sys/fs/cgroup/memory.max", "1000\n"),
                ("sys/fs/cgroup/sub/memory.max", "900\n"),
            ]
        };
        check(&of("0::/docker/abc\n"), None, Some(1000));
        check(&of("0::/docker/abc/sub\n"), None, Some(900));
        check(&of("0::/\n"), None, Some(1000));
        check(&of("0::/../../elsewhere\n"), None, Some(1000));
    }

    #[test]
    fn what_makes_no_sense_limits_nothing() {
        check(&[], None, None);
        check(&[("proc/self/mountinfo", "x\n - \n1 2 3 - cgroup2\n")], None, None);
        let odd = [
            ("proc/self/mountinfo", TWO),
            ("proc/self/cgroup", "0::/a\n:\n\n0:\n"),
            ("sys/fs/cgroup/a/cpu.max", "5 0\n"),
            ("sys/fs/cgroup/a/memory.max", "-5\n"),
            ("sys/fs/cgroup/cpu.max", "0 100000\n"),
        ];
        check(&odd, None, None);
    }
}
