#!/usr/bin/env python3
"""Run what docs/fleets.md says on a fleet.parquet in the working folder, in DuckDB and in Spark.

Every block of the page is run as it stands there. Both must find what fleet_records.py made slower
and nothing else, with the same figures, and the file must have the columns of profiles/parquet.md.

Usage: fleet_queries.py N_RECORDS
"""

import math
import pathlib
import re
import sys
import time

import pyarrow.parquet

from fleet_records import SLOWER

ROOT = pathlib.Path(__file__).parent.parent
# What a query's rows say is slower, by the heading that it stands below.
FINDINGS = {
    "Which device is slower since Tuesday": ("device", ("device", "test")),
    "Which driver is slower since Tuesday": ("driver", ("device", "driver_before", "driver_after", "test")),
    "Which model is slower since Tuesday": ("model", ("model", "test")),
    "Which machine is slower than its like": ("machine", ("host", "test")),
}


def blocks(page):
    """Heading, language and text of every block of code."""
    heading, found = "", []
    for match in re.finditer(r"^#+ ([^\n]+)$|^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        if match[1]:
            heading = match[1]
        else:
            found.append((heading, match[2], match[3]))
    return found


def check_columns(path):
    """The page about columns says what pyarrow finds in the file."""
    words = {
        "string": "STRING", "int64": "INT64", "uint64": "UINT64", "double": "DOUBLE", "bool": "BOOLEAN",
        "timestamp[us, tz=UTC]": "TIMESTAMP(MICROS, UTC)", "map<string, string>": "MAP<STRING, STRING>",
    }

    def told(kind):
        if pyarrow.types.is_list(kind):
            return f"LIST<{words[str(kind.value_type)]}>"
        if pyarrow.types.is_map(kind):
            return f"MAP<{words[str(kind.key_type)]}, {words[str(kind.item_type)]}>"
        return words[str(kind)]

    schema = pyarrow.parquet.read_schema(path)
    found = [(field.name, told(field.type), "yes" if field.nullable else "no") for field in schema]
    page = (ROOT / "profiles/parquet.md").read_text()
    documented = re.findall(r"^\| `(\w+)` \| `(.+)` \| (yes|no) \|$", page, re.MULTILINE)
    assert found == documented, set(found) ^ set(documented)
    assert schema.metadata[b"lapwing.schema_version"] == b"1", schema.metadata


class DuckDb:
    name = "DuckDB"

    def __init__(self, program):
        self.names = {}
        exec(program, self.names)

    def rows(self, query):
        result = self.names["db"].execute(query)
        columns = [column[0] for column in result.description]
        return [dict(zip(columns, row)) for row in result.fetchall()]


class Spark:
    name = "Spark"

    def __init__(self, program):
        self.names = {}
        exec(program, self.names)
        self.names["spark"].sparkContext.setLogLevel("ERROR")

    def rows(self, query):
        return [row.asDict() for row in self.names["spark"].sql(query).collect()]


def same(one, other):
    """Whether two rows say the same; sums of floats have no order."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9)
    return one == other


def main(n_records):
    path = "fleet.parquet"
    check_columns(path)
    file = pyarrow.parquet.ParquetFile(path)
    assert file.metadata.num_rows == int(n_records), file.metadata
    print(f"{file.metadata.num_rows} rows in {file.metadata.num_row_groups} row groups")

    page = blocks((ROOT / "docs/fleets.md").read_text())
    programs = [text for _, language, text in page if language == "python"]
    queries = [(heading, text) for heading, language, text in page if language == "sql"]
    assert FINDINGS.keys() <= {heading for heading, _ in queries}
    engines = [DuckDb(programs[0]), Spark(programs[1])]
    seconds = {engine.name: 0.0 for engine in engines}
    for heading, query in queries:
        told = []
        for engine in engines:
            begin = time.monotonic()
            told.append(engine.rows(query))
            seconds[engine.name] += time.monotonic() - begin
        if heading in FINDINGS:
            kind, columns = FINDINGS[heading]
            for engine, rows in zip(engines, told):
                found = {tuple(row[column] for column in columns) for row in rows}
                assert found == SLOWER[kind], f"{engine.name}, {heading}: {found}, not {SLOWER[kind]}"
                assert len(rows) == len(found), f"{engine.name}, {heading}: {rows}"
        elif query.startswith("CREATE"):
            continue
        one, other = told
        assert one and len(one) == len(other), f"{heading}: {one}, {other}"
        for ours, theirs in zip(one, other):
            assert ours.keys() == theirs.keys(), (ours, theirs)
            assert all(same(ours[key], theirs[key]) for key in ours), f"{heading}: {ours}, {theirs}"
        print(f"{heading}: {len(one)} rows, the same in both")
        for row in one[:3]:
            print("   ", row)
    print(", ".join(f"{name}: all queries in {spent:.1f} s" for name, spent in seconds.items()))


if __name__ == "__main__":
    main(*sys.argv[1:])
