"""The state of the machine, as far as a script can read it without Lapwing.

What changes (clock, load, memory, temperature) is read around every process; what does not is
taken from a record of Lapwing of the same run where there is one, which reads more of it.
"""

import os
import platform
import statistics
from pathlib import Path

NOT_READ = "Lapwing was skipped, and only it reads this"
# What a machine does not change within a run.
LASTING = (
    "cpu_model", "architecture", "n_cores_physical", "n_cores_logical", "cores_used",
    "frequency_max_mhz", "governor", "power_source", "battery_percent", "memory_total_bytes", "os",
    "kernel", "hypervisor", "driver_versions",
)


# What a container allows.
LIMITS = ("cpu_quota", "memory_limit_bytes")
# A limit of version 1 that is none: the largest number of whole pages.
MEMORY_UNLIMITED = 1 << 62


def host():
    """The name of this machine, of letters that a folder's name may have."""
    name = "".join(c for c in platform.node() if c.isascii() and (c.isalnum() or c in "-_."))
    return name[:64].lstrip(".") or "unknown"


def snapshot():
    """What is read before and after; None where the system does not tell."""
    try:
        load = os.getloadavg()[0]
    except OSError:
        load = None
    return {
        "load_average": load,
        "frequency_mhz": frequency_mhz(),
        "temperature_c": temperature_c(),
        "memory_available_bytes": meminfo("MemAvailable"),
    }


def conditions(before, after, library_versions, lapwing, nulls):
    """`conditions` of a record of a peer. `lapwing` is a record of Lapwing of this run, or None."""
    told = {
        "load_average_before": before["load_average"], "load_average_after": after["load_average"],
        "frequency_before_mhz": before["frequency_mhz"],
        "frequency_after_mhz": after["frequency_mhz"],
        "temperature_before_c": before["temperature_c"],
        "temperature_after_c": after["temperature_c"],
        "memory_available_bytes": before["memory_available_bytes"],
        "library_versions": library_versions or None,
    }
    for field in told:
        if told[field] is None:
            nulls[f"conditions.{field}"] = "the system does not tell"
    for field in ("isa_level", "n_throttle_events"):
        told[field] = None
    nulls["conditions.isa_level"] = "the program does not tell"
    nulls["conditions.n_throttle_events"] = "only Lapwing reads the counter"
    if not library_versions:
        nulls["conditions.library_versions"] = "the program does not tell"
    # As in records of Lapwing, absent where nothing limits it.
    limits = lapwing["conditions"] if lapwing else allowance()
    told |= {field: limits[field] for field in LIMITS if limits.get(field) is not None}
    if lapwing:
        for field in LASTING:
            told[field] = lapwing["conditions"][field]
            if told[field] is None:
                path = f"conditions.{field}"
                nulls[path] = lapwing["nulls"].get(path, "the system does not tell")
        return told
    lasting = {
        "cpu_model": cpuinfo("model name"), "architecture": platform.machine() or None,
        "n_cores_logical": os.cpu_count(), "memory_total_bytes": meminfo("MemTotal"),
        "kernel": platform.release() or None,
    }
    if hasattr(os, "sched_getaffinity"):
        lasting["cores_used"] = sorted(os.sched_getaffinity(0))
    for field in LASTING:
        told[field] = lasting.get(field)
        if told[field] is None:
            nulls[f"conditions.{field}"] = NOT_READ
    return told


def text(path):
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def fields(path, name):
    lines = (line.partition(":") for line in text(path).splitlines())
    return [value.strip() for key, _, value in lines if key.strip() == name]


def cpuinfo(name):
    return next(iter(fields("/proc/cpuinfo", name)), None)


def meminfo(name):
    values = fields("/proc/meminfo", name)
    return int(values[0].split()[0]) * 1024 if values else None


def frequency_mhz():
    khz = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq")
    mhz = [float(value) / 1e3 for value in map(text, khz) if value]
    mhz = mhz or [float(value) for value in fields("/proc/cpuinfo", "cpu MHz")]
    return statistics.mean(mhz) if mhz else None


def temperature_c():
    names = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
    monitors = [m for m in Path("/sys/class/hwmon").glob("*") if text(m / "name") in names]
    inputs = [text(file) for monitor in monitors for file in monitor.glob("temp*_input")]
    degrees = [int(value) / 1e3 for value in inputs if value.lstrip("-").isdigit()]
    return max(degrees) if degrees else None


def allowance(root="/"):
    """What the control groups of this process allow, as `lapwing_files::Allowance` reads it: the
    tightest limit of all groups around it, of version 1 and 2."""
    quotas, limits = [], []
    root = Path(root)
    for line in text(root / "proc/self/mountinfo").splitlines():
        before, _, behind = line.partition(" - ")
        shown, place = (before.split(" ") + [""] * 5)[3:5]
        kind, _, options = (behind.split(" ") + [""] * 3)[:3]
        controllers = {"cpu", "memory"} & set(options.split(","))
        if not (kind == "cgroup2" or kind == "cgroup" and controllers):
            continue
        for group_line in text(root / "proc/self/cgroup").splitlines():
            number, names, group = (group_line.split(":", 2) + [""] * 2)[:3]
            is_two = number == "0" and not names
            if is_two if kind == "cgroup2" else controllers & set(names.split(",")):
                folder = root / place.lstrip("/")
                for path in groups_around(folder, shown, group):
                    take_limits(path, kind, controllers, quotas, limits)
    quotas = [quota for quota in quotas if quota]
    limits = [limit for limit in limits if limit is not None and limit < MEMORY_UNLIMITED]
    return {
        "cpu_quota": min(quotas, default=None), "memory_limit_bytes": min(limits, default=None),
    }


def groups_around(folder, shown, group):
    """The folders of a group and of all that it is in, below what is shown."""
    try:
        inside = Path(group).relative_to(shown)
    except ValueError:
        # A namespace of groups shows those outside of it, or the container's own root.
        inside = Path()
    if ".." in inside.parts:
        inside = Path()
    return [folder / inside, *(folder / outer for outer in inside.parents)]


def take_limits(path, kind, controllers, quotas, limits):
    if kind == "cgroup2":
        quota, _, period = text(path / "cpu.max").partition(" ")
        quotas.append(ratio(quota, period))
        limits.append(number(text(path / "memory.max")))
        return
    if "cpu" in controllers:
        quota, period = text(path / "cpu.cfs_quota_us"), text(path / "cpu.cfs_period_us")
        quotas.append(ratio(quota, period))
    if "memory" in controllers:
        limits.append(number(text(path / "memory.limit_in_bytes")))


def ratio(quota, period):
    quota, period = number(quota), number(period)
    return quota / period if quota and period else None


def number(digits):
    """None for `max` and -1, which mean no limit."""
    return int(digits) if digits.isascii() and digits.isdigit() else None
