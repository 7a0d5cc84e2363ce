"""One side of the wire: questions go out, answers come in, and nobody waits for ever.

Calls are made in threads of their own, because a read cannot be interrupted: the caller waits for
what they bring, so that Ctrl-C works and a server that says nothing is left at last.
"""

from __future__ import annotations

import contextlib
import json
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import pyarrow as pa
from pyarrow import flight

from checker.errors import TargetError
from checker.targets.adapter.phigate_adapter import PROTOCOL, TOKEN_VARIABLE, message, schema_of

_POLL_S: Final = 0.5
_AHEAD: Final = 16  # messages that are read before the first of them is understood
_LARGEST: Final = 1 << 28  # bytes of a message; the adapter's hold a million numbers
_CHARACTERS: Final = 300  # of what a server says in words

Hear = Callable[[dict[str, Any], pa.RecordBatch | None], dict[str, Any] | None]
"""Given what a server says and the rows beside it; returns what it asked for, if it did."""


class Connection:
    """A server that answers questions.

    Args:
        location: as Arrow Flight spells it, "grpc://127.0.0.1:8815" or "grpc+tls://…".
        token: that the server asks for.
        name: of the server in sentences.
        timeout_s: how long it may say nothing.
        certificate: of the authority that signed the server's, PEM; None for the system's.
        last_words: what the server wrote before it ended, where that is known.
    """

    def __init__(
        self,
        location: str,
        *,
        token: str,
        name: str,
        timeout_s: float,
        certificate: bytes | None = None,
        last_words: Callable[[], str] = str,
    ) -> None:
        self.name, self._timeout_s, self._last_words = name, timeout_s, last_words
        secure = {"tls_root_certs": certificate} if certificate is not None else {}
        bounded = [("grpc.max_receive_message_length", _LARGEST)]
        self._client = flight.FlightClient(location, generic_options=bounded, **secure)
        self._options = flight.FlightCallOptions(
            headers=[(b"authorization", f"Bearer {token}".encode())]
        )
        self._session = ""
        self._held: tuple[Any, Any] | None = None

    def describe(self) -> dict[str, Any]:
        """Ask what the server is.

        Raises:
            TargetError: it cannot be asked, or says that it cannot tell.
        """
        action = flight.Action("describe", b"")

        def ask() -> dict[str, Any]:
            (result,) = self._client.do_action(action, self._options)
            return _object(result.body)

        return self._said(self._within(ask))

    def begin(self, *, pad_id: int | None, eos_id: int | None) -> dict[str, Any]:
        """Begin an audit, which the server answers alone until `end`; returns its description.

        Raises:
            TargetError: it cannot be asked, or answers another audit.
        """

        def ask() -> dict[str, Any]:
            asked = {"protocol": PROTOCOL, "verb": "audit", "pad_id": pad_id, "eos_id": eos_id}
            writer, reader = self._exchange(asked)
            writer.begin(schema_of([("none", "int")]))
            self._held = writer, reader
            return _fields(reader.read_chunk())

        try:
            said = self._said(self._within(ask))
        except BaseException:  # a server that refuses waits to be let go
            self.end()
            raise
        self._session = str(said.pop("session", ""))
        return said

    def end(self) -> None:
        """Let the server go."""
        held, self._held = self._held, None
        if held is None:
            return
        writer, reader = held
        reader.cancel()
        _close(writer)

    def converse(
        self,
        verb: str,
        arguments: Mapping[str, Any],
        batches: Iterable[pa.RecordBatch],
        schema: pa.Schema,
        *,
        hear: Hear,
    ) -> None:
        """Ask one question and hear all of the answer.

        Args:
            verb: what is asked.
            arguments: that hold for all rows.
            batches: of the rows.
            schema: of those.
            hear: is given each message, in this thread.

        Raises:
            TargetError: the server says so, says nothing, or ends in the middle.
        """
        heard: queue.Queue[tuple[Any, pa.RecordBatch | None] | BaseException]
        heard, left = queue.Queue(_AHEAD), threading.Event()
        replies: queue.Queue[dict[str, Any] | None] = queue.Queue()
        asked = {"protocol": PROTOCOL, "verb": verb, "session": self._session, **arguments}
        streams: list[tuple[Any, Any]] = []

        def tell(item: tuple[Any, pa.RecordBatch | None] | BaseException) -> None:
            while not left.is_set():  # nobody takes it any more
                with contextlib.suppress(queue.Full):
                    heard.put(item, timeout=_POLL_S)
                    return

        def pump() -> None:
            try:
                streams.append(self._exchange(asked))
                writer, reader = streams[0]
                writer.begin(schema)
                for batch in batches:
                    writer.write_batch(batch)
                writer.write_metadata(message(type="asked"))
                while not left.is_set():
                    chunk = reader.read_chunk()
                    fields = _fields(chunk)
                    tell((fields, chunk.data))
                    if fields.get("type") in ("done", "error"):
                        break
                    if fields.get("type") == "more":
                        reply = replies.get()
                        if reply is None:
                            return
                        writer.write_metadata(message(**reply))
            except BaseException as error:  # told to whoever waits for it
                tell(error)
            finally:
                for writer, _ in streams:
                    _close(writer)

        threading.Thread(target=pump, daemon=True).start()
        done = False
        try:
            while not done:
                item = self._next(heard)
                if isinstance(item, BaseException):
                    raise self._failure(item) from item
                fields, batch = item
                if fields.get("type") == "error":
                    raise TargetError(f"{self.name}: {in_words(fields.get('text'))}")
                done = fields.get("type") == "done"
                if not done and (reply := hear(fields, batch)) is not None:
                    replies.put(reply)
        finally:
            left.set()
            if not done:
                replies.put(None)
                for _, reader in streams:
                    reader.cancel()

    # --- helpers --------------------------------------------------------------------------------

    def _exchange(self, asked: Mapping[str, Any]) -> tuple[Any, Any]:
        descriptor = flight.FlightDescriptor.for_command(json.dumps(asked).encode())
        streams: tuple[Any, Any] = self._client.do_exchange(descriptor, self._options)
        return streams

    def _within(self, ask: Callable[[], Any]) -> Any:
        """Return what a call gives, if it gives it in time."""
        found: queue.Queue[Any] = queue.Queue()

        def run() -> None:
            try:
                found.put((ask(),))
            except BaseException as error:  # told to whoever waits for it
                found.put(error)

        threading.Thread(target=run, daemon=True).start()
        item = self._next(found)
        if isinstance(item, BaseException):
            raise self._failure(item) from item
        return item[0]

    def _next(self, items: queue.Queue[Any]) -> Any:
        until = time.monotonic() + self._timeout_s
        while True:
            try:
                return items.get(timeout=min(_POLL_S, self._timeout_s))
            except queue.Empty:
                if time.monotonic() > until:
                    raise TargetError(
                        f"{self.name}: said nothing for {self._timeout_s:g} s; see whether it"
                        " hangs, or raise timeout in model.options"
                        f"{self._words()}"
                    ) from None

    def _said(self, fields: dict[str, Any]) -> dict[str, Any]:
        error = fields.get("error", fields.get("text") if fields.get("type") == "error" else None)
        if error is not None:
            raise TargetError(f"{self.name}: {in_words(error)}")
        if fields.get("protocol") != PROTOCOL:
            version = in_words(fields.get("protocol"))
            raise TargetError(
                f"{self.name}: speaks version {version} of the adapter, and"
                f" this phigate {PROTOCOL}; use the phigate_adapter.py that comes with it"
            )
        return fields

    def _failure(self, error: BaseException) -> TargetError:
        if isinstance(error, flight.FlightUnauthenticatedError):
            return TargetError(
                f"{self.name}: refuses the token; {TOKEN_VARIABLE} has to be the one that it was"
                " started with"
            )
        if isinstance(error, flight.FlightUnavailableError | StopIteration | OSError):
            what = "ended, or cannot be reached; see that it runs, and run the same command again"
            return TargetError(f"{self.name}: {what}{self._words()}")
        text = f"{type(error).__name__}: {in_words(error)}"
        return TargetError(f"{self.name}: {text}{self._words()}")

    def _words(self) -> str:
        words = self._last_words()
        return f"; its last words: {words}" if words else ""


def in_words(said: object) -> str:
    """Return what a server says, in one line of bounded length that no terminal is driven by."""
    words = " ".join(str(said).split())
    return "".join(one for one in words if one.isprintable())[:_CHARACTERS]


def _close(writer: Any) -> None:
    """Close a stream, which may have failed; what is left open complains when it is collected."""
    with contextlib.suppress(pa.ArrowException, OSError):
        writer.close()


def _fields(chunk: Any) -> dict[str, Any]:
    return {} if chunk.app_metadata is None else _object(chunk.app_metadata)


def _object(content: pa.Buffer) -> dict[str, Any]:
    found = json.loads(content.to_pybytes())
    if not isinstance(found, dict):
        raise ValueError("a message is no JSON object")
    return found
