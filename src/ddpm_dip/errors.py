"""One clear message for a user's mistake, without a traceback."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """A mistake that the user can mend. Its message names the key or the file, and says what would be right."""


def run(main: Callable[[], None]) -> None:
    """Run a script's `main`; a UserError becomes one line on stderr and exit status 1."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
