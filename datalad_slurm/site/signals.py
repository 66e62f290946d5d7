"""Signals as wishes that are looked at between two jobs, never in the middle of one."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Signals"]


class Signals:
    """While this context lasts: SIGTERM and SIGINT ask to stop, SIGHUP asks to read again.

    Python calls handlers in the main thread only; in another one, signals stay
    as they are.
    """

    def __init__(self) -> None:
        self.stop = False
        self.reread = False
        self._before: dict[int, Any] = {}
        self._wakeup_before = -1
        self._read_end, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            self._wakeup_before = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before:
            signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._read_end)
        os.close(self._write_end)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self.reread = True
        else:
            self.stop = True

    def fileno(self) -> int:
        """Return a descriptor that becomes readable with a signal."""
        return self._read_end

    def drain(self) -> None:
        """Take what has made the descriptor readable."""
        try:
            os.read(self._read_end, 4096)
        except BlockingIOError:
            return
