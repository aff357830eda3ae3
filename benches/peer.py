"""One peer, one prompt, warm: prints time to first token, time per token and resident memory as JSON.

Usage: peer.py openvino-genai|onnxruntime-genai|openvino-loop|onnxruntime-loop MODEL N_PROMPT N_NEW THREADS

THREADS 0 leaves the choice to the library.

The two "-loop" peers are the plainest loops over the libraries themselves: what a backend's own
library costs without anything of Lapwing's. Prompt ids are those of `prompt_ids` in
compare_peers.py, so that every program does the same work.
"""

import json
import statistics
import sys
import time

import numpy as np

from compare_peers import prompt_ids

def rss_bytes():
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(status["VmRSS"].split()[0]) * 1024


# What Python and NumPy take before the library is there: not the library's own.
python_rss_bytes = rss_bytes()
kind, model_dir = sys.argv[1:3]
n_prompt, n_new, n_threads = map(int, sys.argv[3:6])


def openvino_genai():
    import openvino as ov
    import openvino_genai as genai

    properties = {"INFERENCE_NUM_THREADS": n_threads} if n_threads else {}
    pipe = genai.LLMPipeline(model_dir, "CPU", **properties)
    config = genai.GenerationConfig()
    config.max_new_tokens = config.min_new_tokens = n_new
    config.do_sample, config.ignore_eos = False, True

    def answer(ids):
        tokens = genai.TokenizedInputs(
            ov.Tensor(np.array([ids], np.int64)), ov.Tensor(np.ones((1, n_prompt), np.int64))
        )
        metrics = pipe.generate(tokens, config).perf_metrics
        return metrics.get_ttft().mean, statistics.median(metrics.raw_metrics.m_durations[1:]) / 1e3

    return answer


def onnxruntime_genai():
    import onnxruntime_genai as genai

    config = genai.Config(model_dir)
    if n_threads:
        options = {"intra_op_num_threads": n_threads}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
    model = genai.Model(config)

    def answer(ids):
        params = genai.GeneratorParams(model)
        params.set_search_options(max_length=n_prompt + n_new, min_length=n_prompt + n_new, do_sample=False)
        generator = genai.Generator(model, params)
        started = time.perf_counter()
        generator.append_tokens(np.array(ids, np.int32))
        generator.generate_next_token()
        first = (time.perf_counter() - started) * 1e3
        steps = []
        while not generator.is_done():
            started = time.perf_counter()
            generator.generate_next_token()
            steps.append((time.perf_counter() - started) * 1e3)
        return first, statistics.median(steps)

    return answer


def openvino_loop():
    import openvino as ov

    core = ov.Core()
    properties = {"PERFORMANCE_HINT": "LATENCY"}
    if n_threads:
        properties["INFERENCE_NUM_THREADS"] = n_threads
    compiled = core.compile_model(f"{model_dir}/openvino_model.xml", "CPU", properties)

    def step(request, tokens, n_past):
        request.infer({
            "input_ids": np.array([tokens], np.int64),
            "attention_mask": np.ones((1, n_past + len(tokens)), np.int64),
            "position_ids": np.arange(n_past, n_past + len(tokens), dtype=np.int64)[None],
            "beam_idx": np.zeros(1, np.int32),
        })
        return int(request.get_tensor("logits").data[0, -1].argmax())

    return lambda ids: timed(lambda: compiled.create_infer_request(), step, ids)


def onnxruntime_loop():
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = n_threads
    session = ort.InferenceSession(f"{model_dir}/model.onnx", options, providers=["CPUExecutionProvider"])
    config = json.load(open(f"{model_dir}/genai_config.json"))["model"]["decoder"]
    shape = (1, config["num_key_value_heads"], n_prompt + n_new, config["head_size"])
    n_layers = config["num_hidden_layers"]

    def start():
        binding = session.io_binding()
        for layer in range(n_layers):
            for part in ("key", "value"):
                # One buffer is past and present at once.
                buffer = ort.OrtValue.ortvalue_from_numpy(np.zeros(shape, np.float32))
                binding.bind_ortvalue_input(f"past_key_values.{layer}.{part}", buffer)
                binding.bind_ortvalue_output(f"present.{layer}.{part}", buffer)
        binding.bind_output("logits")
        return binding

    def step(binding, tokens, n_past):
        binding.bind_cpu_input("input_ids", np.array([tokens], np.int64))
        binding.bind_cpu_input("attention_mask", np.ones((1, n_past + len(tokens)), np.int64))
        binding.bind_output("logits")
        session.run_with_iobinding(binding)
        index = [output.name for output in session.get_outputs()].index("logits")
        names = binding.get_outputs()
        logits = next(value for value in names if value.shape()[-1] > 1024) if index else names[0]
        return int(logits.numpy()[0, -1].argmax())

    return lambda ids: timed(start, step, ids)


def timed(start, step, ids):
    state = start()
    began = time.perf_counter()
    token, n_past, steps = step(state, ids, 0), n_prompt, []
    first = (time.perf_counter() - began) * 1e3
    for _ in range(n_new - 1):
        began = time.perf_counter()
        token = step(state, [token], n_past)
        n_past += 1
        steps.append((time.perf_counter() - began) * 1e3)
    return first, statistics.median(steps)


answer = {
    "openvino-genai": openvino_genai,
    "onnxruntime-genai": onnxruntime_genai,
    "openvino-loop": openvino_loop,
    "onnxruntime-loop": onnxruntime_loop,
}[kind]()
# The first answer creates primitives and buffers. Its prompt is another one, of the same length: a
# peer that keeps prompts would otherwise not have to read the second at all.
answer(prompt_ids(n_prompt, seed=101))
ttft_ms, tpot_ms = answer(prompt_ids(n_prompt))
print(json.dumps({
    "ttft_ms": ttft_ms,
    "tpot_ms": tpot_ms,
    "rss_bytes": rss_bytes(),
    "python_rss_bytes": python_rss_bytes,
}))
