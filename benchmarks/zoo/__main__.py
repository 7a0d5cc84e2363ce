"""Measures what is left of the zoo and writes the page; exits 1 if anything is judged wrongly."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.zoo.entries import ENTRIES
from benchmarks.zoo.keeping import Zoo
from benchmarks.zoo.study import COLUMNS, page, read, run, sums, write_page, wrongs
from checker.testing import offer_simulated_backend


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("zoo"), help="models are kept here")
    parser.add_argument("--out", type=Path, default=Path("zoo.jsonl"))
    parser.add_argument("--docs", type=Path, help="page whose table is written anew")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--only", choices=sorted(ENTRIES), action="append", default=[])
    parser.add_argument("--kind", action="append", default=[])
    parser.add_argument("--policy", choices=COLUMNS, action="append", default=[])
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    asked = parser.parse_args()
    outcomes = read(asked.out)
    chosen = [
        entry
        for entry in ENTRIES.values()
        if (not asked.only or entry.name in asked.only)
        and (not asked.kind or entry.kind in asked.kind)
    ]
    columns = [one for one in COLUMNS if not asked.policy or one in asked.policy]
    if not asked.table:
        offer_simulated_backend()
        asked.work.mkdir(parents=True, exist_ok=True)
        for seed in map(int, asked.seeds.split(",")):
            zoo = Zoo.of(asked.work, seed)
            outcomes = run(zoo, asked.out, entries=chosen, columns=columns)
    print(page(outcomes))
    print(sums(outcomes))
    if asked.docs is not None:
        write_page(asked.docs, outcomes)
    wrong = wrongs(outcomes)
    for sentence in wrong:
        print(f"* {sentence}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
