"""What LoRA adapters cost in time: the steps that hold them, and those that wait for them."""

from collections.abc import Callable
from dataclasses import dataclass

from sim.engine.adapterslots import Loads
from sim.latency import StepTimer


@dataclass(frozen=True)
class AdapterCosts:
    """`timer(k)` times steps that hold k adapters; one has gpu_bytes on each GPU, and file_bytes on disk.

    Reading from disk and copying to the GPU follow each other, and one adapter the other; unpacking a file takes no
    time here, so `disk_bytes_per_s` is what an engine achieves.
    """

    timer: Callable[[int], StepTimer]
    gpu_bytes: int
    file_bytes: int
    link_bytes_per_s: float
    disk_bytes_per_s: float

    def load_s(self, loads: Loads) -> float:
        """How long a step waits for its adapters."""
        copied, read = loads.to_gpu * self.gpu_bytes, loads.from_disk * self.file_bytes
        return copied / self.link_bytes_per_s + read / self.disk_bytes_per_s
