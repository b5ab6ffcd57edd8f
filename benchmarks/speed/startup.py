"""What the command and the package cost before they do anything, as ratios of processor time.

    python -m benchmarks.speed.startup

The command's help, version, usage errors and completion against `import torch`; the whole import of the package
against the imports that any user of such a model writes. Both sides of a ratio run in turn, each in a process of its
own, and the medians are compared. Every start is warm: each side runs once before it counts.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys

TORCH = "import torch"
TRANSFORMERS = "import torch; from transformers import AutoModelForImageTextToText, AutoProcessor, Pipeline"
REGISTERED = "import heie_hf; from transformers import AutoModelForImageTextToText, AutoProcessor, Pipeline"
COMPLETION = {"_HEIE_COMPLETE": "complete_bash", "COMP_WORDS": "heie pre", "COMP_CWORD": "1"}

# name: arguments of `heie`, environment
COMMANDS = {
    "heie --help": (["--help"], {}),
    "heie predict --help": (["predict", "--help"], {}),
    "heie --version": (["--version"], {}),
    "heie pridict": (["pridict"], {}),
    "heie predict a.png --colour": (["predict", "a.png", "--colour"], {}),
    "heie pre, tabulator": ([], COMPLETION),
}
# name: code
IMPORTS = {
    "import heie_hf": "import heie_hf",
    "import heie_hf and all that it registers": REGISTERED,
}
COMMAND_LIMIT, IMPORT_LIMIT = 0.6, 1.15


def cpu_seconds(arguments: list[str], environment: dict[str, str]) -> float:
    """Processor time, user and system, of one Python process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], env={**os.environ, **environment}, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    user = after.ru_utime - before.ru_utime
    system = after.ru_stime - before.ru_stime
    return user + system


def compare(name: str, arguments: list[str], environment: dict[str, str], peer: str, limit: float, runs: int) -> None:
    """Print a line of the table: ours, the code that it is compared with, the ratio of their medians."""
    ours, theirs = [], []
    for _ in range(runs + 1):
        ours.append(cpu_seconds(arguments, environment))
        theirs.append(cpu_seconds(["-c", peer], {}))
    our_median = statistics.median(ours[1:])
    their_median = statistics.median(theirs[1:])
    ratio = our_median / their_median
    print(f"| {name} | {our_median:.2f} | `{peer}` | {their_median:.2f} | {ratio:.2f} | {limit} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="processes per side of a ratio")
    runs = parser.parse_args().runs
    print("| what | CPU seconds | compared with | CPU seconds | ratio | allowed |")
    print("|---|---:|---|---:|---:|---:|")
    for name, (arguments, environment) in COMMANDS.items():
        compare(name, ["-m", "heie_hf.cli", *arguments], environment, TORCH, COMMAND_LIMIT, runs)
    for name, code in IMPORTS.items():
        compare(name, ["-c", code], {}, TRANSFORMERS, IMPORT_LIMIT, runs)


if __name__ == "__main__":
    main()
