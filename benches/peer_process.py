"""One peer, one test, in a process of its own: prints what it measured as one line of JSON.

Usage: peer_process.py openvino-genai|onnxruntime-genai MODEL 'JSON'

run_peers.py starts it. The JSON says what to do: n_prompt_tokens (before the first timed step),
n_steps (0: the prompt is timed), n_warmups, n_repetitions, n_threads (0: the library chooses),
precision ("fast": as the library comes, or "exact"), seed, n_vocab. Times are read twice: by this
file's own clock at each token, and as the peer tells them of itself, so that the two can be held
against each other.
"""

import json
import sys
import time
from pathlib import Path

from peer_prompts import prompt_ids, tokens_sha256


def resident():
    """Resident and proportional set in bytes; None where the system does not tell."""
    def field(file, name):
        try:
            lines = Path("/proc/self", file).read_text().splitlines()
        except OSError:
            return None
        words = next((line.split() for line in lines if line.startswith(name + ":")), None)
        return int(words[1]) * 1024 if words else None

    return {"rss_bytes": field("status", "VmRSS"), "pss_bytes": field("smaps_rollup", "Pss")}


# f32 throughout, as `lapwing --precision exact` has it.
EXACT = {
    "INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
}


class OpenVinoGenai:
    """`LLMPipeline` as it comes, on the CPU; its own figures are those of `perf_metrics`."""

    def __init__(self, model, work):
        import numpy
        import openvino
        import openvino_genai

        self.genai, self.numpy, self.openvino, self.work = openvino_genai, numpy, openvino, work
        properties = dict(EXACT) if work["precision"] == "exact" else {}
        if work["n_threads"]:
            properties["INFERENCE_NUM_THREADS"] = work["n_threads"]
        self.pipeline = openvino_genai.LLMPipeline(model, "CPU", **properties)
        self.config = openvino_genai.GenerationConfig()
        self.config.max_new_tokens = self.config.min_new_tokens = work["n_steps"] + 1
        self.config.do_sample, self.config.ignore_eos = False, True

        class Stamps(openvino_genai.StreamerBase):
            """Reads the clock whenever tokens come."""

            def begin(self):
                self.stamps, self.ids = [], []

            def write(self, tokens):
                tokens = tokens if isinstance(tokens, list) else [tokens]
                self.stamps += [time.perf_counter()] * len(tokens)
                self.ids += tokens
                return openvino_genai.StreamingStatus.RUNNING

            def end(self):
                pass

        self.stamps = Stamps()

    def about(self):
        version = self.genai.__version__
        return {
            "version": version.split("-")[0],
            # 2026.4.1.0-3408-ab01d1771e4: the last part is the commit.
            "git_revision": version.split("-")[2] if version.count("-") >= 2 else None,
            "backend_version": self.openvino.__version__.split("-")[0],
            "library_versions": {
                "openvino": self.openvino.__version__, "openvino-genai": version,
            },
            "device_used": None,
            "device_name": self.openvino.Core().get_property("CPU", "FULL_DEVICE_NAME"),
        }

    def run(self, ids):
        array = self.numpy.array([ids], self.numpy.int64)
        inputs = self.genai.TokenizedInputs(
            self.openvino.Tensor(array), self.openvino.Tensor(self.numpy.ones_like(array))
        )
        self.stamps.begin()
        began = time.perf_counter()
        metrics = self.pipeline.generate(inputs, self.config, self.stamps).perf_metrics
        if self.work["n_steps"]:
            own = metrics.get_throughput().mean
        else:
            own = len(ids) / metrics.get_ttft().mean * 1e3
        return began, self.stamps.stamps, self.stamps.ids, own


class OnnxRuntimeGenai:
    """`Generator` as it comes, on the CPU; it knows one precision only. It has no figures of its
    own: what counts as such is the formula of `benchmark/python/benchmark_e2e.py` in its
    repository, that is prompt tokens by the time of `append_tokens`, and one by the mean time of
    `generate_next_token` after that."""

    def __init__(self, model, work):
        import numpy
        import onnxruntime
        import onnxruntime_genai

        self.genai, self.numpy, self.ort, self.work = onnxruntime_genai, numpy, onnxruntime, work
        config = onnxruntime_genai.Config(model)
        if work["n_threads"]:
            options = {"intra_op_num_threads": work["n_threads"]}
            config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
        self.model, self.generator = onnxruntime_genai.Model(config), None

    def about(self):
        version = self.genai.__version__
        return {
            "version": version,
            "git_revision": None,
            "backend_version": self.ort.__version__,
            "library_versions": {
                "onnxruntime": self.ort.__version__, "onnxruntime-genai": version,
            },
            "device_used": self.model.device_type,
            "device_name": None,
        }

    def run(self, ids):
        n_tokens = self.work["n_steps"] + 1
        n_positions = len(ids) + n_tokens
        params = self.genai.GeneratorParams(self.model)
        params.set_search_options(
            max_length=n_positions, min_length=n_positions, do_sample=False
        )
        # The last one goes before the next one comes, so that only one cache is in memory.
        self.generator = None
        self.generator = generator = self.genai.Generator(self.model, params)
        array = self.numpy.array(ids, self.numpy.int32)
        began = time.perf_counter()
        generator.append_tokens(array)
        appended = time.perf_counter()
        stamps, calls = [], []
        for _ in range(n_tokens):
            called = time.perf_counter()
            generator.generate_next_token()
            calls.append(time.perf_counter() - called)
            stamps.append(time.perf_counter())
        steps = calls[1:]
        own = len(steps) / sum(steps) if steps else len(ids) / (appended - began)
        return began, stamps, generator.get_sequence(0)[len(ids):].tolist(), own


def main():
    name, model, work = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    memory = {"idle": resident()}
    peer = {"openvino-genai": OpenVinoGenai, "onnxruntime-genai": OnnxRuntimeGenai}[name](
        model, work
    )
    memory["loaded"] = resident()
    answer = {"about": peer.about(), "repetitions": [], "memory": memory}
    for run_idx in range(work["n_warmups"] + work["n_repetitions"]):
        ids = prompt_ids(work["seed"], run_idx, work["n_prompt_tokens"], work["n_vocab"])
        began, stamps, token_ids, own = peer.run(ids)
        if len(stamps) != work["n_steps"] + 1:
            sys.exit(f"expected {work['n_steps'] + 1} tokens, found {len(stamps)}")
        if run_idx == 0:
            answer["tokens_sha256"] = tokens_sha256(token_ids)
            memory["decoding" if work["n_steps"] else "prefilled"] = resident()
        if run_idx < work["n_warmups"]:
            continue
        gaps_ms = [(after - before) * 1e3 for before, after in zip(stamps, stamps[1:])]
        answer["repetitions"].append({
            "ttft_ms": (stamps[0] - began) * 1e3,
            "total_ms": ((stamps[-1] - stamps[0]) if gaps_ms else (stamps[0] - began)) * 1e3,
            "gaps_ms": gaps_ms,
            "own_tokens_per_s": own,
        })
    print(json.dumps(answer))


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # Of any library: it ends as one line for whoever started this.
        sys.exit(f"{type(error).__name__}: {error}")
