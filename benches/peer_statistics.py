"""Figures of samples as the records of `lapwing bench` hold them.

The counterpart of `crates/lapwing-measure/src/statistics.rs` and `measuring/summary.rs`, where the
choices are explained.
"""

import bisect
import math
import random
import statistics

N_RESAMPLES = 2000
N_BINS_PER_DECADE = 48
ONE_REPETITION = "one repetition has no spread"

# Student's t that is exceeded, either way, once in 20 times, for 1, 2, … degrees of freedom.
T_TABLE = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
]
T_NORMAL = 1.960


def interval(samples, path, nulls):
    """The median of positive samples and its 95 % interval; reasons for nulls go to `nulls`."""
    median, n = statistics.median(samples), len(samples)
    if n < 2:
        nulls |= {f"{path}.{end}": ONE_REPETITION for end in ("low", "high")}
        return {"median": median, "low": None, "high": None}
    n_free = n - 1
    is_tabled = n_free <= len(T_TABLE)
    t = T_TABLE[n_free - 1] if is_tabled else (
        T_NORMAL + (T_TABLE[-1] - T_NORMAL) * len(T_TABLE) / n_free
    )
    draw = random.Random(0)
    logs = [
        math.log(statistics.median(draw.choices(samples, k=n))) for _ in range(N_RESAMPLES)
    ]
    factor = math.exp(t * statistics.stdev(logs))
    return {"median": median, "low": median / factor, "high": median * factor}


def latency(samples_ms, n_tokens, ttfts_ms, inter_token_ms, nulls):
    """`latency` of a record: of repetitions that each read or produce `n_tokens`."""
    rates = [n_tokens / sample * 1e3 for sample in samples_ms]
    mean = statistics.mean(rates)
    throughput = interval(rates, "latency.tokens_per_s", nulls)
    throughput |= {"mean": mean, "coefficient_of_variation": None}
    if len(rates) > 1:
        throughput["coefficient_of_variation"] = statistics.stdev(rates) / mean
    else:
        nulls["latency.tokens_per_s.coefficient_of_variation"] = ONE_REPETITION
    median = statistics.median(samples_ms)
    return {
        "samples_ms": samples_ms,
        "ms_median": median,
        "ms_mad": statistics.median(abs(sample - median) for sample in samples_ms),
        "tokens_per_s": throughput,
        "ttft_ms": interval(ttfts_ms, "latency.ttft_ms", nulls) if ttfts_ms else None,
        "inter_token_ms": inter_token_ms,
    }


def inter_token(gaps_ms):
    """`latency.inter_token_ms` of times from token to token."""
    ordered, n = sorted(gaps_ms), len(gaps_ms)

    def percentile(percent):
        return ordered[max(math.ceil(percent * n / 100 - 1e-9), 1) - 1]

    first, last = bin_of(ordered[0]), bin_of(ordered[-1])
    counts = [0] * (last - first + 1)
    for gap in ordered:
        counts[bin_of(gap) - first] += 1
    return {
        "p50": percentile(50), "p90": percentile(90), "p99": percentile(99),
        "max": ordered[-1], "mean": statistics.mean(ordered), "n": n,
        "histogram": {"edges_ms": [edge(first + k) for k in range(len(counts) + 1)],
                      "counts": counts},
    }


def merged_inter_token(parts):
    """One of several `inter_token_ms`. Histograms share their edges, so that all is exact but the
    percentiles, which lie anywhere within a bin of 5 %: they are put where the counts say."""
    counts = {}
    for part in parts:
        first = bin_of(part["histogram"]["edges_ms"][0])
        for idx, count in enumerate(part["histogram"]["counts"]):
            counts[first + idx] = counts.get(first + idx, 0) + count
    first, last = min(counts), max(counts)
    counts = [counts.get(k, 0) for k in range(first, last + 1)]
    n, largest = sum(counts), max(part["max"] for part in parts)

    def percentile(percent):
        rank = max(math.ceil(percent * n / 100 - 1e-9), 1)
        if rank == n:
            return largest
        n_below = 0
        for idx, count in enumerate(counts):
            if rank <= n_below + count:
                share = (rank - n_below - 0.5) / count
                low, high = edge(first + idx), edge(first + idx + 1)
                return min(low * (high / low) ** share, largest)
            n_below += count

    return {
        "p50": percentile(50), "p90": percentile(90), "p99": percentile(99), "max": largest,
        "mean": sum(part["mean"] * part["n"] for part in parts) / n, "n": n,
        "histogram": {"edges_ms": [edge(first + k) for k in range(len(counts) + 1)],
                      "counts": counts},
    }


def edge(k):
    """The lower edge of bin `k`: 10^(k/48) in seven digits."""
    return float(f"{10 ** (k / N_BINS_PER_DECADE):.6e}")


def bin_of(value):
    """The bin that holds `value`."""
    nearest = round(math.log10(value) * N_BINS_PER_DECADE)
    edges = [edge(nearest + step) for step in (-1, 0, 1)]
    return nearest - 2 + bisect.bisect_right(edges, value)
