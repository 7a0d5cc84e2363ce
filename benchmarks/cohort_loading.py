"""How long it takes, and how much memory, to read a cohort and to turn it into tokens.

    python benchmarks/cohort_loading.py --events 20000000

Writes a made-up MEDS data set (two splits, shards of a million events, 20,000 codes) into a
temporary folder, reads it with `load_cohort` (SHA-256 of every file included) and tokenizes both
splits. The reading runs in a process of its own, so that the peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import meds
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from checker.cohort import load_cohort
from checker.policy.documents import DataSpec, TokenizationSpec
from checker.tokenization import Tokenizer, load_vocabulary

CODES = 20_000
SHARD_EVENTS = 1_000_000
MEAN_EVENTS = 200
YEAR_US = 31_557_600_000_000


def write_data_set(root: Path, *, events: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = pa.array([f"DIAGNOSIS//ICD//10//C{i:05d}" for i in range(CODES)])
    (root / "metadata").mkdir(parents=True)
    pq.write_table(pa.table({"code": codes}), root / meds.code_metadata_filepath)
    subject = 0
    for split in (meds.train_split, meds.held_out_split):
        (root / meds.data_subdirectory / split).mkdir(parents=True)
        left, shard = events // 2, 0
        while left > 0:
            count = min(left, SHARD_EVENTS)
            subjects = subject + np.sort(rng.integers(0, max(count // MEAN_EVENTS, 1), count))
            subject, left = int(subjects[-1]) + 1, left - count
            time_us = rng.integers(0, 20 * YEAR_US, count)
            time_us = time_us[np.lexsort((time_us, subjects))]
            chosen = (rng.pareto(1.2, count) * 20).astype(np.int64) % CODES
            table = pa.table(
                {
                    "subject_id": pa.array(subjects),
                    "time": pa.array(time_us).cast(pa.timestamp("us")),
                    "code": codes.take(pa.array(chosen)),
                    "numeric_value": pa.array(rng.normal(size=count).astype(np.float32)),
                }
            )
            path = root / meds.data_subdirectory / split / f"{shard}.parquet"
            pq.write_table(table, path, compression="zstd")
            shard += 1
    tokens = {"[BOS]": 0, "[EOS]": 1, "T//1d": 2, "T//30d": 3, "T//+": 4}
    vocabulary = tokens | {code: i + 5 for i, code in enumerate(codes.to_pylist())}
    (root / "vocab.json").write_text(json.dumps(vocabulary))


def measure(
    root: Path, results: multiprocessing.Queue[tuple[float, float, float, int, int]]
) -> None:
    before = time.perf_counter()
    cohort = load_cohort(DataSpec(path="."), base=root)
    loaded = time.perf_counter()
    peak_load = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    spec = TokenizationSpec.model_validate(
        {
            "vocabulary": "vocab.json",
            "specials": {"bos": "[BOS]", "eos": "[EOS]"},
            "time": [
                {"upTo": "1d", "token": "T//1d"},
                {"upTo": "30d", "token": "T//30d"},
                {"token": "T//+"},
            ],
        }
    )
    vocabulary = load_vocabulary(root / "vocab.json")
    tokenizer = Tokenizer(spec, vocabulary=vocabulary, base=root)
    started = time.perf_counter()
    encoded = [tokenizer.encode(r, cohort.codes) for r in (cohort.members, cohort.nonmembers)]
    tokenized = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    tokens = sum(len(e.tokens) for e in encoded)
    patients = len(cohort.members) + len(cohort.nonmembers)
    print(f"{patients} patients, {tokens} tokens")
    results.put((loaded - before, peak_load, tokenized, int(peak), tokens))


def main() -> None:
    parser = argparse.ArgumentParser(description="time load_cohort and Tokenizer.encode")
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_data_set(root, events=arguments.events, seed=arguments.seed)
        size_mb = sum(path.stat().st_size for path in root.rglob("*.parquet")) / 2**20
        context = multiprocessing.get_context("spawn")
        results = context.Queue()
        process = context.Process(target=measure, args=(root, results))
        process.start()
        load_s, peak_load_mb, tokenize_s, peak_mb, _ = results.get()
        process.join()
    print(f"{arguments.events} events, {size_mb:.0f} MB of parquet\n")
    print(f"{'step':<12}{'seconds':>9}{'events/s':>14}{'peak RSS, MB':>15}")
    for step, seconds, peak in (
        ("load", load_s, peak_load_mb),
        ("tokenize", tokenize_s, peak_mb),
    ):
        print(f"{step:<12}{seconds:>9.1f}{arguments.events / seconds:>14,.0f}{peak:>15,.0f}")


if __name__ == "__main__":
    main()
