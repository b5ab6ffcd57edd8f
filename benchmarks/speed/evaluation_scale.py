"""Does `heie evaluate` keep its memory flat over many images, and how many does it do per second?

    python -m benchmarks.speed.evaluation_scale --images 20000 --small

Draws `--distinct` scenes and lists them again and again under new ids, runs the command and reads the memory of its
processes while they work (Linux). Prints one JSON line: images per second, and the memory of the main process and of
all its processes together (MB): when each tenth of the images was done, and the highest while measuring afterwards.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from heie_hf import HEIEConfig, HEIEForImplausibility, HEIEProcessor
from heie_hf.checkpoints import default_checkpoint
from heie_hf.data.synthetic import synthesize


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--distinct", type=int, default=50)
    parser.add_argument("--text", default="none", choices=["none", "generated", "reference"])
    parser.add_argument("--model", help="by default the embedded one")
    parser.add_argument("--small", action="store_true", help="one layer of it each, random: memory is what counts")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--num-workers", type=int, default=1)
    return parser.parse_args()


def small_model(folder: Path) -> None:
    """The embedded model's processor, and a network of one vision and one language layer with random weights."""
    config = HEIEConfig.from_pretrained(default_checkpoint()).to_dict()
    config["vision_config"]["num_hidden_layers"] = 1
    config["text_config"] |= {"num_hidden_layers": 1, "layer_types": None}
    HEIEForImplausibility(HEIEConfig.from_dict(config)).save_pretrained(folder)
    HEIEProcessor.from_pretrained(default_checkpoint()).save_pretrained(folder)


def many_rows(folder: Path, distinct: int, images: int) -> None:
    """A folder of `images` rows that share `distinct` pictures."""
    for name in ("annotations", "defects"):
        lines = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
        rows = [lines[i % distinct] | {"id": f"{lines[i % distinct]['id']}-{i // distinct}"} for i in range(images)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def processes(root: int) -> list[int]:
    """A process and all that it started."""
    found = [root]
    for process in found:
        for children in Path(f"/proc/{process}/task").glob("*/children"):
            found += [int(child) for child in children.read_text().split()]
    return found


def memory(process: int) -> float:
    """MB that belong to a process: shared pages count by their share."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):  # it has just ended
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def watch(command: subprocess.Popen, shards: Path, num_shards: int) -> dict[str, dict[str, float]]:
    """Memory of the main process and of all together: at each tenth of the shards, and the highest after the last."""
    seen, highest = {}, {"main": 0, "all": 0}
    while command.poll() is None:
        done = 10 * sum(1 for _ in shards.glob("*.npz")) // num_shards
        now = [memory(process) for process in processes(command.pid)]
        reading = {"main": round(now[0]), "all": round(sum(now))}
        if 1 <= done < 10:
            seen.setdefault(f"{done}0 %", reading)
        elif done == 10:
            highest = {name: max(highest[name], reading[name]) for name in highest}
        time.sleep(0.5)
    return seen | {"measuring": highest}


def main() -> None:
    opt = options()
    with tempfile.TemporaryDirectory() as scratch:
        folder, output = Path(scratch, "scenes"), Path(scratch, "out")
        synthesize(opt.distinct, 11, folder)
        many_rows(folder, opt.distinct, opt.images)
        arguments = [sys.executable, "-m", "heie_hf.cli", "evaluate", "--dataset", folder, "--output-dir", output]
        for name in ("text", "device", "batch_size", "num_workers"):
            arguments += [f"--{name.replace('_', '-')}", str(getattr(opt, name))]
        if opt.small:
            small_model(Path(scratch, "small"))
        model = Path(scratch, "small") if opt.small else opt.model
        command = subprocess.Popen([*arguments, *(["--model", model] if model else [])], stdout=subprocess.DEVNULL)
        num_shards = -(-opt.images // opt.batch_size)
        readings = watch(command, output / "predictions" / f"scenes-{opt.text}", num_shards)
        if command.returncode:
            sys.exit(command.returncode)
        run = json.loads((output / "metrics.json").read_text())["run"]
    speed = round(run["images_per_second"], 2)
    print(json.dumps({"images": opt.images, "images_per_second": speed, "memory_mb": readings}))


if __name__ == "__main__":
    main()
