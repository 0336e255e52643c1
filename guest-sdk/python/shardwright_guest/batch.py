"""What a `batch-handler` needs: messages out of columns, and a reply into columns.

    class BatchHandler(exports.BatchHandler):
        @failures
        def handle(self, batch):
            reply = Reply(batch)
            for message in messages(batch):
                with reply.verdict_of(message):
                    reply.emit(message, message.data.upper())
            return reply.finish()
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from shardwright_guest.failure import failure_of
from wit_world.exports import batch_handler
from wit_world.imports import types

_WHOLE_CALL = 0xFFFF_FFFF


@dataclass(slots=True)
class Message:
    """A message of a batch. What `describe` did not ask for is empty or None."""

    index: int
    data: bytes
    key: str
    sequence_number: str
    sub_sequence_number: int | None
    arrival_time: int | None


def messages(batch: batch_handler.Batch) -> Iterator[Message]:
    """The messages of a batch, in order."""
    keys = _entries(batch.keys, batch.key_ends)
    sequence_numbers = _entries(batch.sequence_numbers, batch.sequence_number_ends)
    sub_sequence_numbers = iter(batch.sub_sequence_numbers)
    arrival_times = iter(batch.arrival_times)
    for index, data in enumerate(_entries(batch.data, batch.data_ends)):
        yield Message(
            index,
            data,
            next(keys, b"").decode(),
            next(sequence_numbers, b"").decode(),
            next(sub_sequence_numbers, None),
            next(arrival_times, None),
        )


class Reply:
    """Collects what a call answers. A message of which nothing is said is acked."""

    def __init__(self, batch: batch_handler.Batch | None = None):
        self._messages = len(batch.data_ends) if batch else 0
        self._failures: dict[int, types.Failure] = {}
        self._holds: list[batch_handler.Hold] = []
        self._releases: list[batch_handler.Release] = []
        self._data = bytearray()
        self._data_ends: list[int] = []
        self._keys = bytearray()
        self._key_ends: list[int] = []
        self._sources: list[int] = []
        self._outputs: list[int] = []
        self._output_names: dict[str, int] = {}

    def emit(self, source: "Message | int | None", data: bytes, key: str = "", output: str = "default") -> None:
        """Emits from a message, from what `release` returned, or, with None, from the whole call.

        An empty key stands for the key of the source.
        """
        if source is None:
            source = _WHOLE_CALL
        elif isinstance(source, Message):
            source = source.index
        self._data += data
        self._data_ends.append(len(self._data))
        self._keys += key.encode()
        self._key_ends.append(len(self._keys))
        self._sources.append(source)
        self._outputs.append(self._output_names.setdefault(output, len(self._output_names)))

    def fail(self, message: Message, error: Exception) -> None:
        """Fails one message; its first failure counts."""
        self._failures.setdefault(message.index, failure_of(error))

    @contextmanager
    def verdict_of(self, message: Message):
        """An exception inside fails this message, and the batch goes on."""
        try:
            yield
        except Exception as error:
            self.fail(message, error)

    def hold(self, message: Message, id: int) -> None:
        """Keeps a message un-acked past this call, under a name that is unique among those held."""
        self._holds.append(batch_handler.Hold(message.index, id))

    def release(self, id: int, error: Exception | None = None) -> int:
        """Settles a message that an earlier call held, and returns it as a source of emissions."""
        failure = failure_of(error) if error else None
        self._releases.append(batch_handler.Release(id, failure))
        return self._messages + len(self._releases) - 1

    def finish(self) -> batch_handler.Reply:
        """The reply as the contract wants it."""
        return batch_handler.Reply(
            [batch_handler.MessageFailure(index, failure) for index, failure in self._failures.items()],
            self._holds,
            self._releases,
            batch_handler.Emissions(
                bytes(self._data),
                self._data_ends,
                bytes(self._keys),
                self._key_ends,
                self._sources,
                self._outputs,
                list(self._output_names),
            ),
        )


def _entries(column: bytes, ends: list[int]) -> Iterator[bytes]:
    start = 0
    for end in ends:
        yield column[start:end]
        start = end
