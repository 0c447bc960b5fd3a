"""A handler that needs a lock of the main thread."""

import os
import signal
import threading

import pytest

from ddpm_dip.jobs import signals


@pytest.fixture
def term():
    before = signal.getsignal(signal.SIGTERM)
    yield signal.SIGTERM
    signal.signal(signal.SIGTERM, before)


def test_a_signal_while_the_main_thread_holds_the_lock(term):
    lock, handled = threading.Lock(), threading.Semaphore(0)

    def handler(number, frame):
        if lock.acquire(timeout=5):  # in the main thread it could wait for ever
            handled.release()
            lock.release()

    signal.signal(term, handler)
    signals.handle_in_a_thread(term)
    with lock:
        os.kill(os.getpid(), term)
        assert not handled.acquire(timeout=0.1)  # it waits, and we go on
    os.kill(os.getpid(), term)
    assert handled.acquire(timeout=10) and handled.acquire(timeout=10)


def test_a_signal_without_a_handler_keeps_its_default(term):
    signal.signal(term, signal.SIG_DFL)
    signals.handle_in_a_thread(term)
    assert signal.getsignal(term) is signal.SIG_DFL
