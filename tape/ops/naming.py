"""Functions made of several ops, whose errors speak of the function that was called."""

from __future__ import annotations

from functools import wraps

from tape.errors import TapeError


def named(function):
    """The function, whose errors are in its own name and not in that of an op it calls."""

    @wraps(function)
    def calling(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except TapeError as error:
            error.op = function.__name__
            raise
        except TypeError as error:  # from an operator, such as a number minus text
            if str(error).startswith(function.__name__):
                raise
            raise TypeError(f"{function.__name__}: {error}") from error

    return calling
