"""Writes the containers beside this file with the Python package aws-kinesis-agg, and what is in them as JSON.

Run in a virtual environment: pip install aws-kinesis-agg==1.2.3 six && python generate.py
"""

import json
import pathlib

from aws_kinesis_agg.aggregator import RecordAggregator

HERE = pathlib.Path(__file__).parent
MAX_HASH = str(2**128 - 1)

CASES = {
    "one": [("only", None, b"alone")],
    "forty": [(f"key-{i % 7}", None, f"line {i} of the text".encode()) for i in range(40)],
    "hash_keys": [("k", str(i * 2**120), bytes([i])) for i in range(20)] + [("k", MAX_HASH, b"last")],
    "mixed_hash_keys": [("a", None, b"1"), ("a", "0", b"2"), ("b", None, b"3"), ("b", MAX_HASH, b"4")],
    "binary": [("schlüssel-鍵", None, bytes(range(256))), ("e", None, b""), ("nul\0", None, b"\0" * 300)],
    "nested_magic": [("m", None, b"\xf3\x89\x9a\xc2 not a container"), ("m", None, b"\xf3\x89\x9a\xc2")],
    "many_keys": [(f"{i:04}", None, b"x" * (i % 20)) for i in range(300)],
}

for name, user_records in CASES.items():
    aggregator = RecordAggregator()
    for key, hash_key, data in user_records:
        assert aggregator.add_user_record(key, data, hash_key) is None
    _, _, container = aggregator.clear_and_get().get_contents()
    (HERE / f"{name}.bin").write_bytes(container)
    expected = [
        {"key": key, "explicit_hash_key": hash_key, "data_hex": data.hex()} for key, hash_key, data in user_records
    ]
    (HERE / f"{name}.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n")
