"""Being stopped."""

import queue
import signal
import threading
from typing import Any


def handle_in_a_thread(number: signal.Signals) -> None:
    """Run the handler that `number` has now in a thread of its own.

    Python runs handlers in the main thread, between any two of its instructions. A handler that takes a lock which the
    main thread may hold, as Snakemake's for SIGTERM does, would wait for ever.
    """
    handler = signal.getsignal(number)
    if not callable(handler):  # the default, or ignored
        return
    received: queue.SimpleQueue[Any] = queue.SimpleQueue()  # the one queue whose put() is safe in a handler

    def handle() -> None:
        while True:
            handler(*received.get())

    threading.Thread(target=handle, name=f"handles {number.name}", daemon=True).start()
    signal.signal(number, lambda *arguments: received.put(arguments))
