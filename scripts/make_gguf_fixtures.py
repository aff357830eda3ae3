#!/usr/bin/env python3
"""Write crates/lapwing-formats/testdata/all_types.gguf with the `gguf` package (pip install gguf).

For each type that Lapwing dequantises: one tensor of random blocks, and beside it what
`gguf.quants` makes of them, as F32. Also one metadata entry of each value type.
"""
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

OUT = Path(__file__).parent.parent / "crates/lapwing-formats/testdata/all_types.gguf"
SHAPE = (2, 256)
# Byte offsets of the f16 scales in a block: random bits there could be NaN or infinite.
SCALES = {
    Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0],
    Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208],
}


def random_blocks(random, dtype):
    if dtype in (Type.F32, Type.F16, Type.BF16):
        values = random.standard_normal(SHAPE).astype(np.float32)
        return gguf.quants.quantize(values, dtype)
    n_elements, n_bytes = gguf.GGML_QUANT_SIZES[dtype]
    n_blocks = SHAPE[0] * SHAPE[1] // n_elements
    blocks = random.integers(0, 256, (n_blocks, n_bytes), dtype=np.uint8)
    for offset in SCALES[dtype]:
        scales = (random.standard_normal(n_blocks) * 2.0 ** -random.integers(0, 20, n_blocks))
        blocks[:, offset : offset + 2] = scales.astype(np.float16).view(np.uint8).reshape(-1, 2)
    return blocks.reshape(SHAPE[0], -1)


def main():
    random = np.random.default_rng(7)
    writer = gguf.GGUFWriter(OUT, "fixture")
    for name in ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]:
        value = np.iinfo(name).max if name.startswith("u") else np.iinfo(name).min
        getattr(writer, f"add_{name}")(f"value.{name}", int(value))
    writer.add_float32("value.float32", 0.5)
    writer.add_float64("value.float64", 0.1)
    writer.add_bool("value.bool", True)
    writer.add_string("value.string", "Ä lapwing")
    writer.add_array("value.array", [-1, 0, 7])
    writer.add_array("value.strings", ["a", "", "ü"])
    for dtype in [Type.F32, Type.F16, Type.BF16, *SCALES]:
        blocks = random_blocks(random, dtype)
        raw = None if blocks.dtype in (np.float32, np.float16) else dtype
        writer.add_tensor(dtype.name, blocks, raw_dtype=raw)
        expected = gguf.quants.dequantize(blocks, dtype).astype(np.float32).reshape(SHAPE)
        writer.add_tensor(f"{dtype.name}.expected", expected)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
