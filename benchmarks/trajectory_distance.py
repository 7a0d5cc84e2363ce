"""How much faster distances are when each code is embedded once and an assignment is solved.

The plain way embeds every label of every sequence anew and hands the costs to a general solver of
optimal transport (`benchmarks.paper_reference`); ours embeds the vocabulary once, gathers, and
solves the assignment problem that it is. Both get the same sequences, with the same two embedders:
*encoder* is a text encoder of six layers and a width of 384 (the size of MiniLM-L6; random weights,
which cost what trained ones cost), *lexical* are phigate's own TF-IDF vectors.

The plain way is measured on some of the sequences and counted per sequence; ours on all of them,
the vocabulary's embedding included. Values must agree to 1e-9 on the same vectors (lexical ones are
the same to the last digit, an encoder's differ by its rounding in batches of other shapes).

    python -m benchmarks.trajectory_distance --out distances.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer as WordTokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from benchmarks.paper_reference import (
    Embed,
    encoder_embedder,
    lexical_embedder,
    transport_distance,
)
from checker.attacks.trajectory_memorization.code_labels import (
    LabelVectors,
    _entries,
    label_vectors,
)
from checker.attacks.trajectory_memorization.distance import distances_of_many
from checker.attacks.trajectory_memorization.trajectories import Trajectory, TrajectoryReader
from checker.policy import load_target
from checker.records.cohort import Cohort, load_cohort
from checker.records.tokenization import Tokenizer, load_vocabulary
from checker.testing.hospital import Hospital, write_hospital, write_target

HORIZON, SAMPLES, KNOWN = 100, 10, 30
PATIENTS_AT_ONCE = 256


def write_encoder(folder: Path, texts: list[str], *, layers: int = 6, width: int = 384) -> Path:
    """Write a random text encoder that knows the words of some texts."""
    known = ["[PAD]", "[UNK]", *dict.fromkeys(word for text in texts for word in text.split())]
    words = WordTokenizer(WordLevel({word: i for i, word in enumerate(known)}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(known),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        intermediate_size=4 * width,
        max_position_embeddings=64,
        initializer_range=0.1,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class Sequences:
    """True continuations, and for each patient several others that repeat a part of it."""

    truths: list[Trajectory]
    others: list[list[Trajectory]]

    @classmethod
    def of(cls, cohort: Cohort, tokenizer: Tokenizer, *, patients: int) -> Sequences:
        """Read the trajectories of so many members."""
        records = tokenizer.encode(cohort.members, cohort.codes)
        reader, rng = TrajectoryReader(tokenizer), np.random.default_rng(0)
        truths, others = [], []
        for i in range(patients):
            truth = records.record(i).tokens[KNOWN : KNOWN + HORIZON]
            own = []
            for other in rng.integers(0, len(records), SAMPLES).tolist():
                drawn = records.record(other).tokens[KNOWN : KNOWN + HORIZON].copy()
                repeated = int(rng.integers(0, min(len(truth), len(drawn)) + 1))
                drawn[:repeated] = truth[:repeated]
                own.append(drawn)
            truths.append(reader.read(truth))
            others.append(reader.read_all(own))
        return cls(truths, others)

    def distances(self, labels: LabelVectors) -> np.ndarray:
        """Return all distances as phigate computes them: [patients * SAMPLES]."""
        found: list[np.ndarray] = []
        for start in range(0, len(self.truths), PATIENTS_AT_ONCE):
            part = slice(start, start + PATIENTS_AT_ONCE)
            found += distances_of_many(self.truths[part], self.others[part], labels=labels)
        return np.concatenate(found)

    def plain_distances(self, embed: Embed, *, patients: int) -> np.ndarray:
        """Return those of the first patients as the paper describes them."""
        return np.array(
            [
                transport_distance(truth, vectors, other, embed)
                for truth, own in zip(self.truths[:patients], self.others[:patients], strict=True)
                for vectors in [embed(truth.tokens)]
                for other in own
            ]
        )


def compare(
    folder: Path, *, patients: int, codes: int, measured: dict[str, int], layers: int = 6
) -> dict[str, Any]:
    """Measure both ways with each embedder; `measured` patients the plain way."""
    hospital = Hospital(max(patients, 64), 8, events=160, codes=codes)
    write_hospital(folder, hospital)
    target = load_target(write_target(folder / "target.yaml", {"path": "none"})).document.spec
    cohort = load_cohort(target.data, base=folder)
    vocabulary = load_vocabulary(folder / "vocab.json")
    tokenizer = Tokenizer(target.tokenization, vocabulary=vocabulary, base=folder)
    texts = [entry.text for entry in _entries(cohort, tokenizer) if entry]
    write_encoder(folder / "encoder", texts, layers=layers, width=64 * layers)
    sequences = Sequences.of(cohort, tokenizer, patients=patients)
    total = patients * SAMPLES
    plain = {
        "lexical": lexical_embedder(cohort, tokenizer, ()),
        "encoder": encoder_embedder(folder / "encoder", cohort, tokenizer),
    }
    result: dict[str, Any] = {
        "patients": patients,
        "sequences": total,
        "horizon_tokens": HORIZON,
        "events_a_sequence": float(np.mean([len(o) for own in sequences.others for o in own])),
        "vocabulary": len(texts),
        "threads": torch.get_num_threads(),
    }
    for name, embed in plain.items():
        source = name if name == "lexical" else "encoder"
        began = time.perf_counter()
        labels = label_vectors(source, cohort=cohort, tokenizer=tokenizer, base=folder)
        embedded_s = time.perf_counter() - began
        ours_s = []
        for _ in range(3):
            began = time.perf_counter()
            ours = sequences.distances(labels)
            ours_s.append(time.perf_counter() - began)
        count = measured[name]
        embed(sequences.truths[0].tokens)
        began = time.perf_counter()
        theirs = sequences.plain_distances(embed, patients=count)
        plain_s = time.perf_counter() - began
        vectors = labels.vectors.astype(np.float64)
        same = sequences.plain_distances(vectors.__getitem__, patients=count)
        each_ms = 1000 * plain_s / len(theirs)
        solved_s = float(np.median(ours_s))
        result[name] = {
            "plain_sequences_measured": len(theirs),
            "plain_ms_a_sequence": each_ms,
            "ours_ms_a_sequence": 1000 * (embedded_s + solved_s) / total,
            "ours_vocabulary_s": embedded_s,
            "ours_distances_s": solved_s,
            "ratio": each_ms * total / 1000 / (embedded_s + solved_s),
            "largest_deviation": float(np.abs(theirs - ours[: len(theirs)]).max()),
            "largest_deviation_on_the_same_vectors": float(np.abs(same - ours[: len(same)]).max()),
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="where to write the JSON")
    parser.add_argument("--patients", type=int, default=1600, help="of ten sequences each")
    parser.add_argument("--quick", action="store_true", help="few of everything")
    arguments = parser.parse_args()
    transformers_logging.disable_progress_bar()
    sizes: dict[str, Any] = {"patients": arguments.patients, "codes": 1000, "layers": 6}
    measured = {"lexical": 100, "encoder": 5}
    if arguments.quick:
        sizes, measured = {"patients": 40, "codes": 60, "layers": 2}, {"lexical": 4, "encoder": 2}
    with tempfile.TemporaryDirectory() as folder:
        result = compare(Path(folder), measured=measured, **sizes)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"{result['sequences']} sequences of {result['events_a_sequence']:.0f} events on average")
    print(f"{'embedder':<10}{'plain, ms':>11}{'ours, ms':>11}{'ratio':>9}{'apart by':>11}")
    for name in ("lexical", "encoder"):
        own = result[name]
        apart = own["largest_deviation_on_the_same_vectors"]
        print(
            f"{name:<10}{own['plain_ms_a_sequence']:>11.2f}{own['ours_ms_a_sequence']:>11.3f}"
            f"{own['ratio']:>9.0f}{apart:>11.1e}"
        )


if __name__ == "__main__":
    main()
