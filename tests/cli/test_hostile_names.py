"""Names from data, policies and file systems drive no terminal, whatever command shows them."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from unicodedata import category

import click
import meds
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from auditing import AS_OF, three_classes
from command_line import Command, Outcome

from checker.cli import cli

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\u2066\u200b"
HOSTILE = f"{ESCAPES}\nholds   FORGED\r"
"""Sets a terminal's title, wipes it, colours and turns what follows; then a line of its own."""
TITLE = "[red]FORGED[/] \u2067"
"""What a document may hold: a style of the library that draws tables, and a direction."""


def command_names(group: click.Command, *before: str) -> Iterator[str]:
    """Yield every command, those of a group behind its name."""
    if not isinstance(group, click.Group):
        yield " ".join(before)
        return
    for name, command in group.commands.items():
        yield from command_names(command, *before, name)


def assert_harmless(outcome: Outcome) -> None:
    for text in (outcome.out, outcome.err):
        wrong = {c for c in text if category(c)[0] == "C" or c in "\u2028\u2029"} - {"\n", "\t"}
        assert not wrong, (wrong, text)
        assert not any(line.startswith("holds   FORGED") for line in text.splitlines()), text


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, simulated_targets: Path) -> Path:
    """An audit whose folder, codes, descriptions, tokens, data set and titles are all hostile."""
    folder = tmp_path_factory.mktemp("hostile") / f"work{ESCAPES}"
    shutil.copytree(simulated_targets, folder)
    cohort = folder / "cohort"
    for shard in (cohort / "data").rglob("*.parquet"):
        table = pq.read_table(shard)
        codes = table["code"].to_pylist()
        named = [f"{code}{HOSTILE}" if "E11" in code else code for code in codes]
        place = table.column_names.index("code")
        pq.write_table(table.set_column(place, "code", pa.array(named)), shard)
    metadata = cohort / meds.code_metadata_filepath
    table = pq.read_table(metadata)
    place = table.column_names.index("description")
    described = pa.array([f"{HOSTILE}[bold]x[/]"] * table.num_rows)
    pq.write_table(table.set_column(place, "description", described), metadata)
    (cohort / meds.dataset_metadata_filepath).write_text(
        json.dumps({"dataset_name": f"data{HOSTILE}", "dataset_version": "1"})
    )
    vocabulary = json.loads((folder / "vocab.json").read_text())
    renamed = {f"{t}{HOSTILE}" if "E11" in t else t: i for t, i in vocabulary.items()}
    (folder / "vocab.json").write_text(json.dumps(renamed))
    policy = yaml.safe_load(three_classes())
    spec = policy["spec"]
    for part in ("attackers", "attributeClasses", "controls", "citations"):
        for one in spec[part].values():
            one["title"] = f"{one['title']} {TITLE}"
    (folder / "policy.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))
    policy["metadata"]["version"] = "1.0.1"
    (folder / "other.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))
    broken = copy.deepcopy(policy)
    broken["spec"]["controls"]["hiv-disclosure"]["title"] = HOSTILE  # documents refuse it
    broken["spec"]["controls"]["hiv-disclosure"]["severity"] = HOSTILE
    broken["spec"][HOSTILE] = HOSTILE
    (folder / "broken.yaml").write_text(yaml.safe_dump(broken, sort_keys=False))
    (folder / "map.csv").write_text(f"code,parent\nE11{HOSTILE},{HOSTILE}\n")
    return folder


def test_no_command_writes_what_a_terminal_obeys(phigate: Command, hostile: Path) -> None:
    policy, target, run = hostile / "policy.yaml", hostile / "leaking.yaml", hostile / "run"
    ledger, key = hostile / "ledger.jsonl", hostile / "key"
    commands: list[tuple[object, ...]] = [
        ("validate", policy, target),
        ("validate", hostile / "broken.yaml"),
        ("validate", hostile / "broken.yaml", "--json"),
        ("validate", hostile / "missing.yaml"),
        ("validate", target, HOSTILE),
        (HOSTILE,),
        ("plan", HOSTILE, "--device", HOSTILE),
        ("explain", policy),
        ("explain", policy, HOSTILE),
        ("explain", policy, "--json"),
        ("diff", policy, hostile / "other.yaml"),
        ("classes", "list", "--policy", policy),
        ("classes", "list", "--policy", policy, "--json"),
        ("classes", "show", "hiv", "--policy", policy),
        ("classes", "show", HOSTILE),
        ("classes", "match", f"E11{HOSTILE}", "--policy", policy),
        ("classes", "coverage", target, "--policy", policy),
        ("classes", "coverage", target, "--policy", policy, "--json"),
        ("classes", "find", HOSTILE),
        ("classes", "review", f"hiv{HOSTILE}"),
        ("classes", "review", "hiv", "--policy", policy, "--target", target),
        ("classes", "map", target, "--map", hostile / "map.csv"),
        ("limits", policy),
        ("limits", policy, HOSTILE),
        ("new", "policy", hostile / "heir.yaml", "--extends", HOSTILE),
        ("new", "class", policy, "another", "--title", TITLE, "--code", f"icd10cm={HOSTILE}"),
        ("new", "control", policy, "another", "--title", TITLE, "--class", HOSTILE),
        ("new", "waiver", hostile / "waiver.yaml", "--run", hostile / HOSTILE.replace("/", "")),
        ("target", "init", hostile, "--from", "huggingface", "--out", hostile / "described"),
        ("target", "convert", hostile / "map.csv", "--out", hostile / "converted"),
        ("completion", HOSTILE),
        ("plan", policy, target),
        ("plan", policy, target, "--json"),
        ("power", policy, "--target", target),
        ("target", "test", target),
        ("target", "prompts", target, "--policy", policy, "--out", hostile / "asked"),
        ("ledger", "make", ledger),
        ("run", policy, target, "--out", run),
        ("check", policy, target, "--out", run, "--ledger", ledger, "--as-of", AS_OF,
         "--format", "json"),
        ("judge", run, "--as-of", AS_OF, "--format", "json", "--json"),
        ("report", run, "--format", "markdown"),
        ("report", run, "--compare", run),
        ("report", run, "--compare", run, "--json"),
        ("standing-out", run),
        ("standing-out", run, "--data", target, "--out", hostile / HOSTILE.replace("/", "")),
        ("keys", "make", key),
        ("sign", run, "--key", key, "--url", f"https://ci.example/{ESCAPES}"),
        ("verify", run, "--ledger", ledger, "--policy", policy, "--model", hostile),
        ("verify", run, "--json"),
        ("ledger", "list", ledger),
        ("ledger", "list", ledger, "--json"),
        ("ledger", "verify", ledger),
        ("ledger", "mend", ledger),
        ("test", policy),
        ("canaries", "make", target, "--out", hostile / "c", "--manifest", hostile / "m.json",
         "--count", "20", "--events", "4"),
        ("init", hostile / "new"),
        ("schema", HOSTILE),
    ]  # fmt: skip
    begins = {" ".join(map(str, one[:2])) for one in commands} | {str(one[0]) for one in commands}
    assert set(command_names(cli)) - begins == {"demo"}  # which reads nothing of anybody's
    outcomes = {" ".join(map(str, one)): phigate(*one) for one in commands}
    for outcome in outcomes.values():
        assert_harmless(outcome)
    whole = "".join(outcome.out + outcome.err for outcome in outcomes.values())
    # the names were shown, and what they hold is to be seen
    assert whole.count("FORGED") > 20
    assert "\N{REPLACEMENT CHARACTER}]0;owned" in whole
    planned = json.loads(phigate("plan", policy, target, "--json").out)
    assert planned["data"]["name"] == f"data{HOSTILE} 1"  # escaped, and not changed


def test_the_check_can_fail() -> None:
    with pytest.raises(AssertionError):
        assert_harmless(Outcome(0, f"data{ESCAPES}", ""))
    with pytest.raises(AssertionError):
        assert_harmless(Outcome(0, "ok\nholds   FORGED", ""))


def test_colours_are_kept_on_a_terminal_and_only_ours() -> None:
    import io

    from checker.cli.console import told
    from checker.cli.harmless import HarmlessConsole

    stream = io.StringIO()
    console = HarmlessConsole(
        highlight=False, file=stream, force_terminal=True, color_system="standard"
    )
    console.print(f"[bold]{told('E11' + ESCAPES)}[/] and [not a style]")
    console.print("E11" + ESCAPES)
    shown = stream.getvalue()
    assert "\x1b[1m" in shown
    assert set(re.findall(r"\x1b[^m]*m", shown)) <= {"\x1b[1m", "\x1b[0m"}
    assert not {"\x07", "\x9b", "\u202e", "\u2066", "\u200b"} & set(shown)
