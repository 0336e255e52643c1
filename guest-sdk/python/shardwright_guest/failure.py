"""Exceptions as failures.

What is raised and is not the contract's own `Err` traps: the instance is lost, and starting Python again takes
milliseconds. Whatever a handler raises is therefore turned into a failure here.
"""

import functools

from componentize_py_types import Err
from wit_world.imports import types


class Reject(Exception):
    """Permanent: trying again cannot help. The message goes to the dead-letter sink."""


class Retry(Exception):
    """Transient: try the message again, no sooner than after `after_ms` milliseconds where that is given."""

    def __init__(self, reason: str, after_ms: int | None = None):
        super().__init__(reason)
        self.after_ms = after_ms


def failure_of(error: Exception) -> types.Failure:
    """The failure that an exception stands for: `Reject` rejects, and everything else is tried again."""
    if isinstance(error, Err):
        return error.value
    if isinstance(error, Reject):
        return types.Failure_Reject(str(error))
    if isinstance(error, Retry):
        return types.Failure_Retry(types.RetryLater(error.after_ms, str(error)))
    return types.Failure_Retry(types.RetryLater(None, f"{type(error).__name__}: {error}"))


def failures(handle):
    """Wraps a `handle` or `flush` so that an exception fails the call instead of trapping."""

    @functools.wraps(handle)
    def wrapped(*arguments):
        try:
            return handle(*arguments)
        except Exception as error:
            raise Err(failure_of(error)) from error

    return wrapped
