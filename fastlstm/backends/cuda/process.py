"""What can happen to a process while a model is on the GPU: CUDA is closed, or the process is forked."""

from __future__ import annotations

import os
from typing import Any

from numba.core import config

from fastlstm.errors import DeviceError

FORKED = (
    "a process that was forked after CUDA had been started, which cannot use the GPU: start it by multiprocessing's "
    "'spawn' or 'forkserver', or let nothing use CUDA in its parent before"
)
_forks = 0  # between the first process and this one
_started: int | None = None  # the same of when CUDA was


def _forked() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def cuda_is_started() -> None:
    global _started
    _started = _forks


def check_not_forked(doing: str) -> None:
    """Raise DeviceError where CUDA was started in a parent of this process."""
    if _started is not None and _started != _forks:
        raise DeviceError(f"{doing}: this is {FORKED}")


class Held:
    """The GPU's context as it was when something was put there.

    device  the GPU's number
    """

    def __init__(self) -> None:
        self.device, self._context = 0, None
        if not config.ENABLE_CUDASIM:
            from numba import cuda

            self._context: Any = cuda.current_context()
            self.device = int(self._context.device.id)

    def check(self, doing: str) -> None:
        """Raise DeviceError unless it still is: addresses would mean nothing."""
        if _started != _forks:
            check_not_forked(doing)
        context = self._context
        if context is not None and context.device.primary_context is not context:
            raise DeviceError(
                f"{doing}: CUDA was closed after the model was loaded (numba.cuda.close(), or a reset of the GPU), and "
                f"what the model had there is gone; load it again"
            )
