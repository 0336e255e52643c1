"""Shardwright stream handlers in Python: exceptions become verdicts instead of traps.

`failures` wraps the `handle` of a `message-handler`; `shardwright_guest.batch` has what a `batch-handler` needs.
"""

from shardwright_guest.failure import Reject, Retry, failure_of, failures

__all__ = ["Reject", "Retry", "failure_of", "failures"]
