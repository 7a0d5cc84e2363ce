"""Asks other tools of the zoo's models and writes the second half of the page."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.peers import asking
from benchmarks.peers.feeding import feed
from benchmarks.peers.table import beside, read, rows, sums, write_page
from benchmarks.peers.toolkit import toolkit
from benchmarks.zoo.entries import ENTRIES
from benchmarks.zoo.keeping import Zoo
from benchmarks.zoo.study import read as read_outcomes


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("zoo"), help="the zoo's models")
    parser.add_argument("--zoo", type=Path, nargs="+", default=[Path("zoo.jsonl")])
    parser.add_argument("--out", type=Path, default=Path("peers.jsonl"))
    parser.add_argument("--python", type=Path, help="where the tools are; without, only print")
    parser.add_argument("--docs", type=Path, help="page whose tables are written anew")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--only", choices=sorted(ENTRIES), action="append", default=[])
    asked = parser.parse_args()
    for seed in map(int, asked.seeds.split(",") if asked.python is not None else ()):
        ask(asked.work, asked.out, asked.python, seed, asked.only)
    outcomes = [one for path in asked.zoo for one in read_outcomes(path)]
    said = beside(read(asked.out), outcomes)
    print(sums(said))
    print(rows(said))
    if asked.docs is not None:
        write_page(asked.docs, said)
    return 0


def ask(work: Path, out: Path, python: Path, seed: int, only: list[str]) -> None:
    """Ask of every entry that the file has not.

    One that is described with spare patients is the same model as the one without.
    """
    done = read(out)
    zoo = Zoo.of(work, seed)
    left = [
        entry
        for entry in ENTRIES.values()
        if (entry.name, seed) not in done
        and (not only or entry.name in only)
        and not entry.name.endswith("-spare")
    ]
    if not left:
        return
    zoo.prepare()
    paths = [feed(entry, zoo, zoo.folder / "feeds") for entry in left]
    with subprocess.Popen(
        [python, asking.__file__, *paths],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore"},
    ) as answers:
        assert answers.stdout is not None
        for path, line in zip(paths, answers.stdout, strict=False):
            row = {**json.loads(line), "seed": seed, "toolkit": toolkit(path)}
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(f"{row['entry']:28} asked", flush=True)
    if answers.returncode:
        raise subprocess.CalledProcessError(answers.returncode, str(python))


if __name__ == "__main__":
    sys.exit(main())
