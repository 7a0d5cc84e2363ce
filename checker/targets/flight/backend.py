"""Describes and opens models that are asked over Arrow Flight."""

from __future__ import annotations

import ipaddress
import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, model_validator

from checker.canonical import digest
from checker.errors import TargetError
from checker.policy.documents import ModelSpec
from checker.policy.documents.elements import Element, Text
from checker.targets.adapter.phigate_adapter import ANSWERS, TOKEN_VARIABLE
from checker.targets.backends.model_folder import hash_files, list_files
from checker.targets.flight.connection import Connection, in_words
from checker.targets.flight.remote_model import RemoteModel
from checker.targets.flight.server_process import ServerProcess
from checker.targets.protocol import CAPABILITIES, TargetDescription, TargetInfo

CERTIFICATE_VARIABLE = "PHIGATE_FLIGHT_CERTIFICATE"
"""Names the file of the authority's certificate, where the system does not know it."""


class FlightOptions(Element):
    """How a model's server is reached: started by phigate, or joined."""

    command: Annotated[list[Text], Field(min_length=1)] | None = Field(
        None,
        description="starts the server; program and arguments, run in the folder of the target",
        examples=[["./model/venv/bin/python", "serve.py"]],
    )
    location: Text | None = Field(
        None,
        description="a server that runs: grpc://127.0.0.1:PORT, or grpc+tls://HOST:PORT; its token"
        f" is taken from {TOKEN_VARIABLE}",
        examples=["grpc+tls://models.example.org:8815"],
    )
    timeout: Annotated[int, Field(ge=1)] = Field(
        600, description="seconds for which the server may say nothing, at its start too"
    )

    @model_validator(mode="after")
    def _check(self) -> FlightOptions:
        if (self.command is None) == (self.location is None):
            raise ValueError("name either a command or a location")
        if self.location is None:
            return self
        parts = urlsplit(self.location)
        try:
            complete = parts.hostname is not None and parts.port is not None
        except ValueError:
            complete = False
        if parts.scheme not in ("grpc", "grpc+tls") or not complete or parts.path:
            raise ValueError("a location is grpc://127.0.0.1:PORT or grpc+tls://HOST:PORT")
        if parts.scheme == "grpc" and not _is_this_machine(str(parts.hostname)):
            raise ValueError(
                "over a network, records and token would be read by anybody; use grpc+tls"
            )
        return self


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


_MOST_IDS = 1 << 22  # tables of as many columns as ids are made of it, for each class
_MOST_TOKENS = 1 << 30
_MOST_FILES = 1 << 16

_Name = Annotated[str, Field(max_length=100)]
_Digests = dict[
    Annotated[str, Field(max_length=1000)], Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
]
_Length = Annotated[int, Field(ge=0, le=_MOST_TOKENS)]


class _Described(Element):
    """What a server says of its model; anything else, or more than any model has, is refused."""

    protocol: int
    files: _Digests = Field(min_length=1, max_length=_MOST_FILES)
    code: _Digests = Field(max_length=_MOST_FILES)
    verbs: list[_Name] = Field(max_length=100)
    capabilities: list[_Name] = Field(max_length=100)
    channels: list[_Name] = Field(max_length=100)
    vocabulary_size: Annotated[int, Field(ge=1, le=_MOST_IDS)]
    context_length: Annotated[int, Field(ge=1, le=_MOST_TOKENS)] | None
    bos_token_id: Annotated[int, Field(ge=0, lt=_MOST_IDS)] | None
    device: _Name
    dtype: _Name
    microbatch_tokens: Annotated[int, Field(ge=1, le=_MOST_TOKENS)]
    switch_lengths: dict[_Name, _Length] = Field(max_length=100)
    switches: list[_Length] = Field(max_length=100)
    libraries: dict[_Name, _Name] = Field(max_length=1000)


_TOLD = {"capabilities", "channels", "vocabulary_size", "context_length", "bos_token_id"}
"""What a server says of its model before an audit begins as well as afterwards."""


class FlightBackend:
    """Models behind servers; `model.path`, where it is given, is where their files lie here."""

    name: ClassVar[str] = "flight"
    options: ClassVar[type[Element]] = FlightOptions
    needs_path: ClassVar[bool] = False
    connecting: ClassVar[frozenset[str]] = frozenset({"command", "location", "timeout"})
    """Options that say how a server is reached; who answers is what the server says of itself."""

    def describe(self, spec: ModelSpec, base: Path) -> TargetDescription:
        """Ask a server what it serves; one that is started is left running for `open`.

        Raises:
            TargetError: it cannot be asked, or files here are not those that it names.
        """
        connection, _ = _connect(spec, base, keep=True)
        said = _understood(connection.describe(), connection)
        if spec.path:
            _check_files(said.files, base / spec.path, connection)
        return TargetDescription(
            backend=self.name,
            vocabulary_size=said.vocabulary_size,
            context_length=said.context_length,
            capabilities=frozenset(said.capabilities),
            bos_token_id=said.bos_token_id,
            files=said.files,
            sha256=digest(said.files),
            # what it says of itself may follow from settings that are no file: its environment's
            code=digest({"code": said.code, **said.model_dump(include=_TOLD)}),
        )

    def open(
        self, spec: ModelSpec, base: Path, *, pad_id: int | None, eos_id: int | None
    ) -> RemoteModel:
        """Begin an audit at a server.

        Raises:
            TargetError: as `describe`, and where the server runs the model otherwise than the
                target says, or answers another audit.
        """
        connection, process = _connect(spec, base, keep=False)
        begun = connection.begin(pad_id=pad_id, eos_id=eos_id)
        try:
            said = _understood(begun, connection)
        except TargetError:
            connection.end()
            raise
        for key, wanted, has in (
            ("device", spec.device, said.device),
            ("dtype", spec.dtype, said.dtype),
        ):
            if wanted not in ("auto", has):
                connection.end()
                raise TargetError(
                    f"{connection.name}: runs the model with {key} {in_words(has)}, and {wanted} is"
                    " asked; a server decides it by itself"
                )
        info = TargetInfo(
            backend=self.name,
            vocabulary_size=said.vocabulary_size,
            context_length=said.context_length,
            capabilities=frozenset(said.capabilities),
            device=said.device,
            dtype=said.dtype,
            microbatch_tokens=said.microbatch_tokens,
            libraries=said.libraries,
            switch_lengths=said.switch_lengths,
            channels=frozenset(said.channels),
        )
        model = RemoteModel(
            connection,
            info,
            verbs=said.verbs,
            channels=said.channels,
            switches=said.switches,
            eos_id=eos_id,
        )
        weakref.finalize(model, _let_go, connection, None if process is None else process.end)
        return model


def _let_go(connection: Connection, end: Callable[[], Any] | None) -> None:
    connection.end()
    if end is not None:
        end()


_STARTED: dict[tuple[Any, ...], ServerProcess] = {}
"""Servers that were started to be described, and wait to be opened."""

_OPENED: weakref.WeakValueDictionary[tuple[Any, ...], ServerProcess] = weakref.WeakValueDictionary()
"""The one that was opened last, by the same keys; it lives as long as its model."""

_LOCK = threading.Lock()


def _connect(spec: ModelSpec, base: Path, *, keep: bool) -> tuple[Connection, ServerProcess | None]:
    """Reach a server, which is started where a command says so and none of it runs."""
    options = _options(spec)
    if options.location is not None:
        return _joined(options.location, timeout_s=options.timeout), None
    assert options.command is not None  # one of the two is given
    key = (str(base.resolve()), *options.command)
    with _LOCK:
        process = _STARTED.get(key)
        if process is not None and not process.runs:
            process.end()
            del _STARTED[key]
            process = None
        if process is None and keep:
            process = _OPENED.get(key)
        if process is None or not process.runs:
            process = ServerProcess(options.command, base=base, timeout_s=options.timeout)
            _STARTED[key] = process
        if not keep:
            _OPENED[key] = _STARTED.pop(key)
    return (
        Connection(
            process.location,
            token=process.token,
            name=f"model server '{process.name}'",
            timeout_s=options.timeout,
            last_words=lambda: process.last_words,
        ),
        process,
    )


def _joined(location: str, *, timeout_s: float) -> Connection:
    token = os.environ.get(TOKEN_VARIABLE, "")
    if not token:
        raise TargetError(
            f"model server {location}: set {TOKEN_VARIABLE} to the token that it was started with"
        )
    path, certificate = os.environ.get(CERTIFICATE_VARIABLE), None
    if path:
        try:
            certificate = Path(path).read_bytes()
        except OSError as error:
            raise TargetError(
                f"{path}: cannot be read: {error.strerror or error}; {CERTIFICATE_VARIABLE} names"
                " the certificate of a model server's authority"
            ) from error
    return Connection(
        location,
        token=token,
        name=f"model server {location}",
        timeout_s=timeout_s,
        certificate=certificate,
    )


def _options(spec: ModelSpec) -> FlightOptions:
    try:
        return FlightOptions.model_validate(spec.options or {})
    except ValidationError as error:  # a document is checked before; a library's caller may not be
        found = error.errors(include_url=False)[0]
        raise TargetError(f"model.options: {found['msg']}") from error


def _understood(said: dict[str, Any], connection: Connection) -> _Described:
    fields = {key: value for key, value in said.items() if key != "type"}
    try:
        described = _Described.model_validate(fields)
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        place = in_words(".".join(str(part) for part in found["loc"]))
        raise TargetError(
            f"{connection.name}: describes itself in a way that is not understood: {place}:"
            f" {in_words(found['msg'])}"
        ) from error
    strange = {*described.capabilities} - CAPABILITIES or {*described.verbs} - ANSWERS.keys()
    if strange:
        name = in_words(min(strange))
        raise TargetError(f"{connection.name}: offers '{name}', which is not known here")
    return described


def _check_files(named: dict[str, str], path: Path, connection: Connection) -> None:
    """Hold the files that a server names against those that lie here."""
    if not path.exists():
        raise TargetError(
            f"{path}: no such file or folder; model.path of a flight model is where its files lie"
            " here, and is left out where they do not"
        )
    here = hash_files({path.name: path} if path.is_file() else list_files(path))
    for name in sorted({*named, *here}):
        if named.get(name) != here.get(name):
            what = (
                "is not named by"
                if name not in named
                else "is missing here, and named by"
                if name not in here
                else "is another file than that of"
            )
            raise TargetError(f"{path}: {in_words(name)} {what} {connection.name}")
