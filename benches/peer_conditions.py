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
