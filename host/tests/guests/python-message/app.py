"""Upper-cases each message; `raise` raises through the wrapper, `reject` rejects, and `trap` raises around it."""

from shardwright_guest import Reject, Retry, failures
from wit_world import exports
from wit_world.exports.message_handler import Emission


class MessageHandler(exports.MessageHandler):
    def handle(self, message):
        if message.data == b"trap":
            raise RuntimeError("raised around the wrapper")
        return self.upper(message)

    @failures
    def upper(self, message):
        match message.data:
            case b"raise":
                raise ValueError("raised in the handler")
            case b"retry":
                raise Retry("not yet", after_ms=250)
            case b"reject":
                raise Reject("never")
            case b"key":
                return [Emission(b"KEY", "own", "late")]
        return [Emission(message.data.upper(), None, None)]
