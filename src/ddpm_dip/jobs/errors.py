"""One clear message for a user's mistake, without a traceback."""

import argparse
import difflib
import os
import sys
from collections.abc import Callable, Iterable


class UserError(Exception):
    """A mistake that the user can mend. Its message names the key or the file, and says what would be right."""


def nearest(word: object, known: Iterable[object]) -> str:
    """What to say of an unknown word: the known one that is nearest to it, and all of them."""
    known = [str(each) for each in known]
    close = difflib.get_close_matches(str(word), known, 1)
    return (f"did you mean {close[0]!r}? " if close else "") + f"known are {', '.join(known)}"


def at_least(low: float) -> Callable[[str], float]:
    """A type for argparse: a number, whole where `low` is, that is not below `low`."""

    def number(text: str) -> float:
        try:
            value = type(low)(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is not a {'whole ' * isinstance(low, int)}number") from error
        if value < low:
            raise argparse.ArgumentTypeError(f"{text} is below {low}")
        return value

    return number


def run(main: Callable[[], None]) -> None:
    """Run a script's `main`; a UserError becomes one line on stderr and exit status 1."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python itself complains at its end
        sys.exit(1)
