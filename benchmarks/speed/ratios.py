"""Ours against a peer, in turn and in one process: medians of processor time, and their ratio."""

import statistics
import time
from collections.abc import Callable

HEADING = "| what | CPU ms | compared with | CPU ms | ratio | wanted |\n|---|---:|---|---:|---:|---:|"


def cpu_milliseconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return 1e3 * (time.process_time() - start)


def compare(
    name: str, ours: Callable[[], object], peer_name: str, peer: Callable[[], object], wanted: float, rounds: int
) -> None:
    """Print a line of the table. The first round warms up and does not count."""
    our_times, peer_times = [], []
    for _ in range(rounds + 1):
        our_times.append(cpu_milliseconds(ours))
        peer_times.append(cpu_milliseconds(peer))
    our_median = statistics.median(our_times[1:])
    peer_median = statistics.median(peer_times[1:])
    ratio = our_median / peer_median
    print(f"| {name} | {our_median:.1f} | {peer_name} | {peer_median:.1f} | {ratio:.2f} | {wanted} |", flush=True)
