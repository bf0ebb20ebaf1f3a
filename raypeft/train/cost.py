"""Measure what a trial costs in memory."""

import re
from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """The peak memory since construction: of the GPU, or of the process (resident set) on Linux CPUs."""

    def __init__(self, device: torch.device) -> None:
        """Reset the peak, so that earlier trials of a warm worker do not count."""
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        elif _CLEAR.exists():
            _CLEAR.write_text("5")  # proc(5): resets VmHWM

    def peak_bytes(self) -> int:
        """Return bytes; 0 if the platform does not tell."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        match = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text()) if _STATUS.exists() else None
        return 1024 * int(match[1]) if match else 0
