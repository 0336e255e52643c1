"""Counts the words of each batch, `raise` and `reject` in a message fail it, `fail` the batch, and `trap` traps."""

from collections import Counter

from shardwright_guest import Reject, failures
from shardwright_guest.batch import Reply, messages
from wit_world import exports


class BatchHandler(exports.BatchHandler):
    def handle(self, batch):
        if batch.data == b"trap":
            raise RuntimeError("raised around the wrapper")
        return self.count(batch)

    @failures
    def count(self, batch):
        if batch.data == b"fail":
            raise OSError("the whole batch failed")
        reply = Reply(batch)
        counts = Counter()
        for message in messages(batch):
            with reply.verdict_of(message):
                if message.data == b"raise":
                    raise ValueError(f"raised for {message.key} {message.sequence_number}")
                if message.data == b"reject":
                    raise Reject("never")
                counts.update(message.data.decode().split())
        for word, count in counts.items():
            reply.emit(None, f'{{"word":"{word}","count":{count}}}'.encode(), key=word)
        return reply.finish()
