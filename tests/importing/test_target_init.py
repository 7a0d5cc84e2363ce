"""Targets are read off what trainers leave, and say what they take for granted."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny_models
import torch
import yaml
from click.testing import CliRunner
from meds_builder import DAY_ZERO, Patient, write_meds
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from checker.cli.targets import target as command
from checker.errors import DataError, UsageError
from checker.importing import init_target
from checker.policy import load_target
from checker.records.cohort import load_cohort
from checker.records.tokenization import Tokenizer, load_vocabulary
from checker.targets.engine import converting

# --- MEDS-EIC-AR --------------------------------------------------------------------------------

YEAR = 31_556_926.080_000_002
TIME_EDGES = (0.002, 0.01, 1.0, 10.0)
LAB_EDGES = (1.5, 2.5)


def patients(count: int, seed: int) -> list[Patient]:
    rng = np.random.default_rng(seed)
    made: list[Patient] = []
    for _ in range(count):
        day = float(rng.integers(0, 100))
        events: list[Any] = [("GENDER//F", None), ("MEDS_BIRTH", day - 9_000)]
        for _ in range(int(rng.integers(2, 7))):
            day += float(rng.choice([0.5, 3.0, 200.0, 4_000.0]))
            for _ in range(int(rng.integers(1, 4))):
                code = str(rng.choice(["DX//A", "DX//B", "RARE", "LAB//X"]))
                # of the highest bin nobody in the training split has a value
                value = float(rng.choice([1.0, 1.5, 2.0, 9.0][: 4 if seed else 3]))
                events.append((code, day, value) if code == "LAB//X" else (code, day))
        made.append([*events, ("MEDS_DEATH", day)])
    return made


def bin_name(code: str, value: float, edges: tuple[float, ...]) -> str:
    ends = [np.float32("-inf"), *map(np.float32, edges), np.float32("inf")]
    place = int(np.searchsorted(ends[1:-1], np.float32(value), side="right"))
    return f"{code}//value_[{ends[place]},{ends[place + 1]})"


def sequence(patient: Sequence[Any]) -> Iterator[str]:
    """Tell a patient as MEDS-EIC-AR's pipeline does, event by event."""
    yield "TIMELINE//START"
    last = None
    kept = [event for event in patient if event[1] is not None and event[0] != "RARE"]
    for day in sorted({event[1] for event in kept}):
        if last is not None:
            yield bin_name("TIMELINE//DELTA//years", (day - last) * 86_400 / YEAR, TIME_EDGES)
        last = day
        own = [event for event in kept if event[1] == day]
        for event in sorted(own, key=lambda event: not event[0].startswith("MEDS_")):
            yield bin_name(event[0], event[2], LAB_EDGES) if len(event) > 2 else event[0]
    yield "TIMELINE//END"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, and what MEDS-EIC-AR's commands would leave: `loader` and `run`."""
    root = tmp_path_factory.mktemp("eic")
    splits = {"train": patients(40, 0), "tuning": patients(3, 1), "held_out": patients(20, 2)}
    write_meds(root / "data", splits)
    codes = sorted({code for patient in splits["train"] for code in sequence(patient)})
    ids = {code: number for number, code in enumerate(codes, start=1)}
    (root / "loader" / "metadata").mkdir(parents=True)
    table = pa.table({"code": codes, "code/vocab_index": list(ids.values())})
    pq.write_table(table, root / "loader" / "metadata" / "codes.parquet")
    shards = {name: pq.read_table(root / "data" / "data" / name / "0.parquet") for name in splits}
    for name, made in splits.items():
        subjects = list(dict.fromkeys(shards[name]["subject_id"].to_pylist()))
        kept = range(int(name == "train"), len(made))  # one had too few events for the trainer
        folder = root / "loader" / "tokenization" / "event_seqs" / name
        folder.mkdir(parents=True)
        told = [[ids[code] for code in sequence(made[i]) if code in ids] for i in kept]
        columns = {"subject_id": [subjects[i] for i in kept], "code": [[one] for one in told]}
        pq.write_table(pa.table(columns), folder / "0.parquet")
    shape = {
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "hidden_size": 8,
        "intermediate_size": 16,
        "max_position_embeddings": 64,
    }
    config = LlamaConfig(**shape, num_key_value_heads=2, vocab_size=len(codes) + 1)
    weights = LlamaForCausalLM(config).state_dict()
    (root / "run").mkdir()
    state = {f"model.HF_model.{name}": tensor for name, tensor in weights.items()}
    torch.save({"state_dict": state}, root / "run" / "best_model.ckpt")
    settings = {
        "datamodule": {
            "config": {
                "tensorized_cohort_dir": str(root / "loader"),
                "static_inclusion_mode": "OMIT",
                "max_seq_len": 64,
                "seq_sampling_strategy": "BALANCED_RANDOM",
            }
        },
        "lightning_module": {
            # what stands as ??? is filled in when training starts
            "model": {"gpt_kwargs": {**shape, "attention_head_dim": 4, "vocab_size": "???"}}
        },
    }
    (root / "run" / "resolved_config.yaml").write_text(yaml.safe_dump(settings))
    return root


def in_this_process(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
    request = json.loads(Path(command[-1]).read_text())
    report = converting.convert(*(Path(request[key]) for key in ("checkpoint", "config", "out")))
    return subprocess.CompletedProcess(command, 0, stdout=json.dumps(report))


def test_meds_eic_ar_s_sequences_are_made_to_the_last_token(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", in_this_process)  # `test_conversion` starts one
    done = init_target("meds-eic-ar", trained / "run", out=tmp_path, data=trained / "data")
    assert any("62 of 62 sequences of the trainer's" in sentence for sentence in done.assumed)
    assert done.left == ()
    spec = load_target(done.target).document.spec
    assert (spec.tokenization.max_length, spec.tokenization.window) == (64, "tiled")
    assert spec.tokenization.gaps == "codes"
    cohort = load_cohort(spec.data, base=tmp_path)
    assert (len(cohort.members), len(cohort.nonmembers)) == (39, 20)  # as the trainer filtered them
    rules = Tokenizer(
        spec.tokenization, vocabulary=load_vocabulary(tmp_path / "codes.parquet"), base=tmp_path
    )
    for records, split in ((cohort.members, "train"), (cohort.nonmembers, "held_out")):
        folder = trained / "loader" / "tokenization" / "event_seqs" / split
        table = pq.read_table(folder / "0.parquet")
        told = dict(zip(table["subject_id"].to_pylist(), table["code"].to_pylist(), strict=True))
        encoded = rules.encode(records, cohort.codes, partial=True)
        for row, subject in enumerate(records.subject_id.tolist()):
            assert encoded.record(row).tokens.tolist() == told[subject][0]
    found = load_file(tmp_path / "model" / "model.safetensors")
    assert "model.embed_tokens.weight" in found


def test_what_phigate_cannot_say_of_meds_eic_ar_is_said(trained: Path, tmp_path: Path) -> None:
    settings = yaml.safe_load((trained / "run" / "resolved_config.yaml").read_text())
    settings["datamodule"]["config"]["static_inclusion_mode"] = "PREPEND"
    (tmp_path / "resolved_config.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(DataError, match="PREPEND, and phigate can say OMIT alone"):
        init_target("meds-eic-ar", tmp_path, out=tmp_path / "out", data=trained / "data")
    with pytest.raises(DataError, match="--data FOLDER"):
        init_target("meds-eic-ar", trained / "run", out=tmp_path / "out")
    for text in ("a: 1", "[" * 10_000):
        (tmp_path / "resolved_config.yaml").write_text(text)
        with pytest.raises(DataError, match="is no configuration of MEICAR_pretrain"):
            init_target("meds-eic-ar", tmp_path, out=tmp_path / "out", data=trained / "data")


# --- Hugging Face -------------------------------------------------------------------------------

TOKENS = [
    "[PAD]", "[BOS]", "[EOS]", "TIME//1d", "GENDER//F", "MARITAL//X", "DX//A", "DX//B", "Q1",
    *(f"AGE//{years}" for years in range(100)),
]  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("saved")
    tiny_models.save_gpt2(root / "model", vocabulary=len(TOKENS) + 3)
    (root / "model" / "vocab.json").write_text(
        json.dumps({token: number for number, token in enumerate(TOKENS)})
    )
    facts: Patient = [("GENDER//F", None), ("MARITAL//X", None)]
    patient: Patient = [*facts, ("MEDS_BIRTH", -9e3), ("DX//A", 0)]
    write_meds(root / "data", {"train": [patient] * 4, "held_out": [[*patient, ("DX//C", 1)]]})
    return root


def test_a_hugging_face_model_is_described_as_far_as_its_tokens_tell(
    saved: Path, tmp_path: Path
) -> None:
    done = init_target("huggingface", saved / "model", out=tmp_path, data=saved / "data")
    spec = load_target(done.target).document.spec
    assert spec.tokenization.specials.bos == "[BOS]"
    assert spec.tokenization.specials.unk is None
    assert spec.tokenization.age == "AGE//{years}"
    assert spec.tokenization.static == {"sex": "GENDER//*"}
    assert (spec.data.members, spec.data.nonmembers, spec.data.spare) == ("train", "held_out", None)
    assumed, left = "\n".join(done.assumed), "\n".join(done.left)
    assert '1 further codes without a time ("MARITAL//X") stand before the record too' in assumed
    assert 'tokenization.time: 1 tokens seem to tell times ("TIME//1d")' in left
    assert '2 tokens stand for no code of the data set ("DX//B", "Q1")' in left
    assert '93.8% of the 16 events as they are, and not "DX//C"' in left
    text = done.target.read_text()
    assert all(sentence in text for sentence in (*done.assumed, *done.left))
    with pytest.raises(UsageError, match="is there already; --force overwrites it"):
        init_target("huggingface", saved / "model", out=tmp_path, data=saved / "data")


def test_a_model_without_a_vocabulary_is_refused(tmp_path: Path) -> None:
    folder = tiny_models.save_gpt2(tmp_path / "model")
    with pytest.raises(DataError, match="holds no vocabulary"):
        init_target("huggingface", folder, out=tmp_path / "out")
    (folder / "vocab.json").write_text('{"A": 999}')
    with pytest.raises(DataError, match="'A' has the id 999, but the model has"):
        init_target("huggingface", folder, out=tmp_path / "out")


def test_the_command_says_what_it_took_for_granted_and_what_is_next(
    saved: Path, tmp_path: Path
) -> None:
    arguments = ["init", str(saved / "model"), "--from", "huggingface", "--out", str(tmp_path)]
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 0, done.output
    assert f"wrote {tmp_path / 'target.yaml'}" in done.output
    assert "* '[BOS]' is the BOS token, by its spelling." in done.output
    assert "next: say that, then `phigate target test" in done.output
    again = CliRunner().invoke(command, [*arguments, "--force", "--json"])
    assert json.loads(again.output)["target"] == str(tmp_path / "target.yaml")


# --- hf_ehr -------------------------------------------------------------------------------------


def ranges(code: str, *ends: tuple[float, float]) -> list[dict[str, Any]]:
    return [
        {
            "code": code,
            "type": "numerical_range",
            "tokenization": {"unit": "None", "range_start": low, "range_end": high},
            "stats": [],
        }
        for low, high in ends
    ]


def plain(code: str) -> dict[str, Any]:
    return {"code": code, "type": "code", "tokenization": {}, "stats": []}


HF_EHR: list[dict[str, Any]] = [
    plain("DX//A"),
    plain("LAB//X"),
    *ranges("LAB//X", (float("-inf"), 1.0), (1.0, 2.5), (4.0, float("inf"))),
    *ranges("LAB//Y", (-3.0, 3.0), (0.1, 9.0)),
]


def hf_ehr_tokens(patient: Patient) -> list[str]:
    """Tell a patient as hf_ehr's CLMBR tokenizer does, event by event."""
    told = ["[CLS]", "[BOS]"]
    for code, _, *rest in patient:
        own = [one for one in HF_EHR if one["code"] == code]
        value = float(np.float32(rest[0])) if rest and rest[0] else None
        spans = [one["tokenization"] for one in own if one["type"] == "numerical_range"]
        if spans and value is not None:
            for span in spans:
                if span["range_start"] <= value <= span["range_end"]:
                    name = f"{code} || None || {span['range_start']} - {span['range_end']}"
                    told.append(name)
                    break
        elif any(one["type"] == "code" for one in own):
            told.append(code)
    return [*told, "[EOS]"]


def test_hf_ehr_s_tokens_are_made_to_the_last(tmp_path: Path) -> None:
    tiny_models.save_gpt2(tmp_path / "model", vocabulary=20)
    (tmp_path / "model" / "tokenizer_config.json").write_text(json.dumps({"tokens": HF_EHR}))
    values = [-9.0, -3.0, -0.5, 0.0, 0.1, 1.0, np.nextafter(np.float32(1), 2), 2.5, 3.0, 4.0, 99.0]
    labs = [(f"LAB//{name}", 1.0, float(value)) for name in "XY" for value in values]
    patient: Patient = [("GENDER//F", None), ("DX//A", 0), *labs, ("LAB//X", 2), ("LAB//Y", 2)]
    write_meds(tmp_path / "data", {"train": [patient], "held_out": [patient[:4]]})
    done = init_target("hf-ehr", tmp_path / "model", out=tmp_path / "out", data=tmp_path / "data")
    spec = load_target(done.target).document.spec
    base = done.target.parent
    vocabulary = load_vocabulary(base / "vocabulary.json")
    assert vocabulary.ids["DX//A"] == 7
    cohort = load_cohort(spec.data, base=base)
    rules = Tokenizer(spec.tokenization, vocabulary=vocabulary, base=base)
    encoded = rules.encode(cohort.members, cohort.codes, partial=True)
    found = [vocabulary.tokens[token] for token in encoded.record(0).tokens]
    assert found == hf_ehr_tokens(patient)


def test_what_rules_cannot_tell_of_hf_ehr_leads_to_a_table(tmp_path: Path) -> None:
    text = {
        "code": "X",
        "type": "categorical",
        "tokenization": {"categories": ["YES"]},
        "stats": [],
    }
    for tokens, message in (
        ([*HF_EHR, text], "1 tokens of texts.*--from token-table"),
        ([{**HF_EHR[0], "type": "new"}], "unknown type 'new'"),
        ("many", "holds no list 'tokens'"),
    ):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokens": tokens}))
        with pytest.raises(DataError, match=message):
            init_target("hf-ehr", tmp_path, out=tmp_path / "out")
    tiny_models.save_gpt2(tmp_path / "model", vocabulary=9)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokens": HF_EHR}))
    with pytest.raises(DataError, match="has 9 ids and the tokenizer 14 tokens"):
        init_target("hf-ehr", tmp_path / "model", out=tmp_path / "out", loader=tmp_path)


# --- token tables -------------------------------------------------------------------------------


def test_a_table_and_a_model_make_a_target(saved: Path, tmp_path: Path) -> None:
    subjects = pq.read_table(saved / "data" / "metadata" / "subject_splits.parquet")
    rows = []
    for subject in subjects["subject_id"].to_pylist()[1:]:
        for token, event, kind, code in (
            ("[BOS]", None, "special", None),
            ("GENDER//F", None, "static", "GENDER//F"),
            ("DX//A", 0, "code", "DX//A"),
            ("[EOS]", None, "special", None),
        ):
            number = TOKENS.index(token)
            rows.append((subject, number, event, kind, code, None if event is None else DAY_ZERO))
    names = ("subject_id", "token", "event", "kind", "code", "time")
    table = pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
    pq.write_table(table, tmp_path / "tokens.parquet")
    done = init_target(
        "token-table",
        saved / "model",
        out=tmp_path,
        data=saved / "data",
        loader=tmp_path / "tokens.parquet",
    )
    spec = load_target(done.target).document.spec
    assert spec.tokenization.records == "./tokens.parquet"
    assert (spec.tokenization.specials.bos, spec.tokenization.specials.eos) == ("[BOS]", "[EOS]")
    assert spec.tokenization.static == {"sex": "GENDER//*"}
    cohort = load_cohort(spec.data, base=tmp_path)
    assert (len(cohort.members), len(cohort.nonmembers)) == (3, 1)  # as the table holds them
    with pytest.raises(UsageError, match=r"--loader TABLE\.parquet"):
        init_target("token-table", saved / "model", out=tmp_path / "out", data=saved / "data")
