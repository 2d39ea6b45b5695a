"""Conversations, and files of them in several forms."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq

ASK, SAY = {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}
SYSTEM = {"role": "system", "content": "Be kind."}
RECORDS = [{"messages": [{**ASK, "content": f"Why {i}? 为什么"}, SAY]} for i in range(50)]


def written(folder, name, records=RECORDS):
    """A file of these records, in the form that its name says."""
    path = folder / name
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(records), path)
    elif name.endswith(".jsonl"):
        path.write_text("".join(json.dumps(r) + "\n" for r in records))
    elif name.endswith(".gz"):
        path.write_bytes(gzip.compress(json.dumps(records, ensure_ascii=False).encode()))
    elif name.startswith("named"):
        path.write_text(json.dumps({str(i): r for i, r in enumerate(records)}, indent=2))
    elif name.startswith("inner"):
        path.write_text(json.dumps({"version": 1, "data": records}))
    else:
        path.write_text(json.dumps(records, indent=1))
    return path
