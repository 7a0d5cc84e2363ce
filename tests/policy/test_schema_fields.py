"""The published schemas explain every field to an editor, and refuse what the reader refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from auditing import THREE_CLASSES
from command_line import Command
from jsonschema import Draft7Validator
from waiver_texts import waiver_text

from checker.errors import DocumentError, ExitCode
from checker.policy import DOCUMENT_KINDS, document_schema, load_only, load_policy, parse_documents
from checker.policy.documents import LeakagePolicy

ROOT = Path(__file__).parents[2]
POLICIES = ROOT / "policies"
SHIPPED = sorted(POLICIES.rglob("*.yaml"))

WAIVER = waiver_text()
TEST = """\
apiVersion: phigate/v1
kind: PolicyTest
metadata: {name: t, version: "1"}
spec:
  policy: p.yaml
  cases:
    - name: n
      cells:
        - {cell: c/a, members: 0 of 80, expect: pass}
"""


def as_json(text: str) -> Any:
    return json.loads(json.dumps(yaml.safe_load(text), default=str))


def properties(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every property that a schema describes; conditions only repeat some."""
    if isinstance(node, list):
        for one in node:
            yield from properties(one, path)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in ("properties", "definitions"):
                for name, one in value.items():
                    if key == "properties":
                        yield (*path, name), one
                    yield from properties(one, (*path, name))
            elif key not in ("default", "examples", "const", "enum", "if"):
                yield from properties(value, path)


@pytest.mark.parametrize("kind", DOCUMENT_KINDS)
def test_every_field_has_a_description(kind: str) -> None:
    schema = document_schema(kind)
    found = list(properties(schema))
    assert len(found) > 10
    assert [path for path, one in found if not one.get("description")] == []
    assert all(one.get("description") for one in schema["definitions"].values())


@pytest.mark.parametrize("kind", DOCUMENT_KINDS)
def test_every_field_has_an_example_or_needs_none(kind: str) -> None:
    def is_shown(one: dict[str, Any]) -> bool:
        choices = {"examples", "default", "enum", "const"} & {*one}
        fields = "$ref" in json.dumps(one) or one.get("type") in ("object", "boolean")
        return bool(choices) or fields

    found = [(path, one) for path, one in properties(document_schema(kind)) if one != {}]
    assert [path for path, one in found if not is_shown(one)] == []
    assert not is_shown({"type": "string", "description": "a check that can fail"})


@pytest.mark.parametrize("kind", DOCUMENT_KINDS)
def test_every_example_and_default_fits_its_field(kind: str) -> None:
    schema = document_schema(kind)
    for path, one in properties(schema):
        whole = {**one, "definitions": schema["definitions"]}
        for example in [*one.get("examples", []), *([one["default"]] if "default" in one else [])]:
            assert Draft7Validator(whole).is_valid(example), (path, example)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(POLICIES)))
def test_a_shipped_document_fits_its_schema_and_names_it(path: Path) -> None:
    text = path.read_text()
    kind = yaml.safe_load(text)["kind"]
    Draft7Validator(document_schema(kind)).validate(as_json(text))
    first = text.splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    assert (path.parent / first.partition("=")[2]).resolve() == ROOT / "schemas" / f"{kind}.json"


def test_every_kind_of_document_is_tried() -> None:
    kinds = {yaml.safe_load(path.read_text())["kind"] for path in SHIPPED}
    assert {*kinds, "LeakageWaiver", "Submission"} == {*DOCUMENT_KINDS}
    assert Draft7Validator(document_schema("LeakageWaiver")).is_valid(as_json(WAIVER))
    assert Draft7Validator(document_schema("PolicyTest")).is_valid(as_json(TEST))


TARGET = POLICIES / "starter" / "target.yaml"
LIBRARY = POLICIES / "library" / "hiv.yaml"


@pytest.mark.parametrize(
    ("source", "old", "new"),
    [
        (THREE_CLASSES, "severity: critical", "severity: dire"),
        (THREE_CLASSES, "severity: critical", "severety: critical"),
        (THREE_CLASSES, "context: public-weights", "context: [public-weights]"),
        (THREE_CLASSES, "{fail: 0.05}", "{warn: 0.03}"),
        (THREE_CLASSES, "fail: 0.05", "fail: 5 percent"),
        (THREE_CLASSES, "confidence: 0.95", "confidence: 0.3"),
        (THREE_CLASSES, "apiVersion: phigate/v1", "apiVersion: phigate/v2"),
        (THREE_CLASSES, "hiv-disclosure:", "HIV disclosure:"),
        (THREE_CLASSES, "samples: 20, horizon", "samples: many, horizon"),
        (THREE_CLASSES, "samples: 20, horizon", "sample: 20, horizon"),
        (THREE_CLASSES, "metric: excess_disclosure", "metric: excess_disclosures"),
        (THREE_CLASSES, "metric: membership_auroc", "metric: excess_disclosure"),
        (TARGET, "backend: huggingface", "backend: 7"),
        (TARGET, "members:", "member:"),
        (LIBRARY, "confidentiality: ", "confidentiality: X"),
        (LIBRARY, "status: draft", "status: blessed"),
        (WAIVER, "ceiling: 0.7", "ceiling: 0"),
        (WAIVER, "control: c", "kontrol: c"),
        (WAIVER, "made-up@1", "made-up"),
        (WAIVER, "0" * 64, "0" * 63),
        (WAIVER, "'2026-12-31'", "end of the year"),
        (WAIVER, "compensatingControls:\n  - Two named recipients, under contract", "note: x"),
        (TEST, "expect: pass", "expect: passed"),
        (TEST, "0 of 80", "0/80"),
        (TEST, "cell: c/a", "cell: c"),
        (TEST, "      cells:\n", "      cell:\n"),
    ],
)  # fmt: skip
def test_schema_and_reader_refuse_the_same(source: Path | str, old: str, new: str) -> None:
    text = source.read_text() if isinstance(source, Path) else source
    assert old in text
    validator = Draft7Validator(
        document_schema(as_json(text)["kind"]), format_checker=Draft7Validator.FORMAT_CHECKER
    )
    assert validator.is_valid(as_json(text))
    broken = text.replace(old, new, 1)
    with pytest.raises(DocumentError):
        parse_documents(broken, file="broken.yaml")
    assert not validator.is_valid(as_json(broken))


# --- starting from a shipped policy -------------------------------------------------------------

BASELINES = ["starter", *(path.stem for path in sorted(POLICIES.glob("*.yaml")))]


@pytest.mark.parametrize("name", BASELINES)
def test_a_policy_may_start_from_any_shipped_one(
    phigate: Command, tmp_path: Path, name: str
) -> None:
    shipped = POLICIES / ("starter/policy.yaml" if name == "starter" else f"{name}.yaml")
    outcome = phigate("init", tmp_path, "--baseline", name)  # version 1 too, by its whole name
    if load_only(LeakagePolicy, shipped).document.spec.abstract:
        assert outcome.code == ExitCode.USAGE
        return
    assert outcome.code == ExitCode.PASS, outcome.err
    assert load_policy(tmp_path / "policy.yaml").document == load_policy(shipped).document
    assert phigate("test", tmp_path / "policy-tests.yaml").code == ExitCode.PASS
    for file in ("policy.yaml", "target.yaml", "policy-tests.yaml"):
        first = (tmp_path / file).read_text().splitlines()[0]
        assert (tmp_path / first.partition("$schema=")[2]).is_file()


def test_a_baseline_that_is_not_shipped_is_named(phigate: Command, tmp_path: Path) -> None:
    outcome = phigate("init", tmp_path, "--baseline", "demmo")
    assert outcome.code == ExitCode.USAGE
    assert "did you mean 'demo'?" in outcome.err
    assert not list(tmp_path.iterdir())
