"""Whether the figures and tokens of a run of `run_peers.py` can be believed.

Each check gives lines to print and whether all is well.
"""

import peer_programs
from peer_programs import ProgramError

EXACT = {"precision": "exact", "n_repetitions": 1, "n_warmups": 1}
N_DIGITS = 12


def exact_tokens(settings, programs, test):
    """One answer of each program in f32, before anything is timed: Lapwing's must be the expected
    one, and a peer with the same export must give the same. Also names the programs that failed,
    with the reason."""
    found, failures = {}, {}
    for program in programs:
        if program["program"] == "llama.cpp":
            continue
        try:
            ran = peer_programs.run(settings | EXACT, program, test)
            found[program["name"]] = ran["tokens_sha256"]
        except ProgramError as error:
            failures[program["name"]] = str(error)
    lines, ok = [f"greedy tokens in f32, {test['name']}"], True
    for program in programs:
        name = program["name"]
        if name in failures:
            verdict = "not made: the program failed !"
        elif name not in found:
            verdict = "not told by llama-bench, which reads another file than the others"
        else:
            verdict = exact_verdict(program, ours_of(programs, program), found)
        lines.append(f"  {name:20} {found.get(name, '')[:N_DIGITS]:{N_DIGITS}} {verdict}")
        ok &= not verdict.endswith("!")
    return lines, ok, failures


def exact_verdict(program, ours, found):
    mine, is_ours = found[program["name"]], program["program"] == "lapwing"
    if is_ours and (expected := program.get("expected_tokens_sha256", [])):
        return "as expected" if mine in expected else f"expected {' or '.join(expected)} !"
    if is_ours:
        return "the definition expects none"
    if ours not in found:
        return "nothing of Lapwing's to compare with"
    return f"same as {ours}" if mine == found[ours] else f"differs from {ours} !"


def ours_of(programs, peer):
    """The name of the program that is Lapwing on the same model as `peer`, or None."""
    names = [program["name"] for program in programs
             if program["program"] == "lapwing" and program["model"] == peer["model"]]
    return names[0] if names else None


def timed_tokens(programs, tests, records):
    """Tells where peers produced other tokens than Lapwing while they were timed. That is no
    error: at its default precision each rounds in its own way."""
    lines = ["greedy tokens while timed, each at its default precision"]
    for program in programs:
        name, ours = program["name"], ours_of(programs, program)
        if program["program"] == "lapwing" or ours is None:
            continue
        words = []
        for test in tests:
            pair = [records.get((which, test["name"])) for which in (name, ours)]
            if None in pair:
                continue
            mine, theirs = (record["tokens_sha256"] for record in pair)
            same = mine is not None and mine == theirs
            words.append(f"{test['name']} {'same' if same else 'other'}")
        if words:
            lines.append(f"  {name:20} against {ours}: {', '.join(words)}")
    return lines if len(lines) > 1 else []


def figures(results, records, tolerance):
    """Records against what each tool says of itself; not well when one is too far away."""
    row = "{:20} {:12} {:26} {:>10} {:>10} {:>7}"
    lines = [row.format("program", "test", "figure", "record", "own_tool", "ratio")]
    ok = True
    for key, rans in results.items():
        for what, ours, theirs in compared(rans, records[key]):
            ratio = ours / theirs
            mark = "" if abs(ratio - 1) * 100 <= tolerance else " !"
            ok &= not mark
            numbers = f"{ours:.2f}", f"{theirs:.2f}", f"{ratio:.4f}"
            lines.append(row.format(*key, what, *numbers) + mark)
    if not ok:
        lines.append(f"! further than {tolerance:g} % from what the tool says")
    return lines, ok


def compared(rans, record):
    """What is compared, the record's figure, and the outside one."""
    if record["program"]["name"] == "lapwing":
        peak, outside = record["memory"]["peak_rss_bytes"], [ran["peak_rss_bytes"] for ran in rans]
        if peak:
            yield "peak MB, by the kernel", peak / 1e6, max(outside) / 1e6
        return
    own = sum(ran["own_tokens_per_s"] for ran in rans) / len(rans)
    yield "tokens/s, by its own tool", record["latency"]["tokens_per_s"]["mean"], own
    outside = [ran["outside"] for ran in rans if ran.get("outside", {}).get("ms")]
    if outside:
        rates = [sum(found["n_tokens"] / found[ms] for found in outside) / len(outside) * 1e3
                 for ms in ("own_ms", "ms")]
        yield "last run, by our clock", *rates
