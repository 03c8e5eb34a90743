"""What moves between the GPU's memory and the host's: counted where it is decided, timed where time passes."""

from dataclasses import dataclass, fields
from typing import NamedTuple


class Moved(NamedTuple):
    """Blocks that a step must wait for before it can begin."""

    to_host: int = 0
    from_host: int = 0
    from_disk: int = 0


NOTHING = Moved()


@dataclass(slots=True)
class Transfers:
    """Blocks that were moved: all of them, and those that the next step waits for.

    `kept_blocks` were written to the host's memory in the background, when they were evicted: the link's other
    direction is free then, and no step waits.
    """

    pending: Moved = NOTHING
    swapped_out_blocks: int = 0
    swapped_in_blocks: int = 0
    recomputed_instead: int = 0
    """Preemptions that found no room in the swap space."""
    kept_blocks: int = 0
    host_hit_blocks: int = 0
    disk_hit_blocks: int = 0

    def swap_out(self, blocks: int) -> None:
        """A preempted request's blocks go to the host; the step waits."""
        self.swapped_out_blocks += blocks
        self.pending = self.pending._replace(to_host=self.pending.to_host + blocks)

    def swap_in(self, blocks: int) -> None:
        """They come back; the step waits."""
        self.swapped_in_blocks += blocks
        self.pending = self.pending._replace(from_host=self.pending.from_host + blocks)

    def load(self, host_blocks: int, disk_blocks: int) -> None:
        """A request's prefix is loaded instead of computed; the step waits."""
        self.host_hit_blocks += host_blocks
        self.disk_hit_blocks += disk_blocks
        to_host, from_host, from_disk = self.pending
        self.pending = Moved(to_host, from_host + host_blocks, from_disk + disk_blocks)

    def begin_step(self) -> Moved:
        """What the step that begins now has to wait for."""
        moved, self.pending = self.pending, NOTHING
        return moved

    def totals(self) -> dict[str, int]:
        """All counts, by name."""
        return {count.name: getattr(self, count.name) for count in fields(self) if count.name != "pending"}
