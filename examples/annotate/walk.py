"""The whole walk of `heie annotate` without any vendor: scenes, estimate, texts, page, verdicts, training.

python examples/annotate/walk.py                 200 scenes, into annotate-output/
python examples/annotate/walk.py 20 elsewhere
"""

import csv
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

from stub_server import KnownScenes, make_server

from heie_hf.annotation.checks import leaks
from heie_hf.data import load

CONFIG = Path(__file__).parents[1] / "configs" / "tiny-cpu.yaml"


def main(num_images: int = 200, folder: str = "annotate-output") -> None:
    scenes, output = Path(folder) / "scenes", Path(folder) / "texts"
    heie("synthesize", "--num-images", num_images, "--seed", 5, "--output-dir", scenes)
    known = KnownScenes(str(scenes))
    server = make_server(known)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/v1"
    options = ["--dataset", scenes, "--output-dir", output, "--vision-model", "stub", "--vision-url", url]
    heie("annotate", *options, "--dry-run")
    start = time.monotonic()
    heie("annotate", *options, statuses=(0, 1))  # 1: some texts failed, as the stub means them to
    seconds = time.monotonic() - start
    print_figures(scenes, output, known, seconds)
    heie("annotate", "--output-dir", output, "--sheet", "ada", "--sheet-size", 20)
    sheet = judge(output / "sheets" / "ratings_ada.csv")
    heie("annotate", "--output-dir", output, "--review", sheet)
    train = {"train_datasets": f'[{{"name": "{output}"}}]', "eval_strategy": "no", "save_strategy": "no"}
    train["eval_datasets"] = '[{"name": "synthetic", "num_images": 8, "seed": 2}]'
    train |= {"load_best_model_at_end": "false", "max_steps": 2, "output_dir": Path(folder) / "model"}
    arguments = []
    for name, value in train.items():
        arguments += [f"--{name}", value]
    heie("train", CONFIG, *arguments)


def heie(*arguments: object, statuses: tuple[int, ...] = (0,)) -> None:
    command = ["heie", *map(str, arguments)]
    print("$", " ".join(command), file=sys.stderr)
    status = subprocess.run([sys.executable, "-m", "heie_hf.cli", *command[1:]]).returncode
    if status not in statuses:
        sys.exit(status)


def print_figures(scenes: Path, output: Path, known: KnownScenes, seconds: float) -> None:
    """How good the texts are, against what is known of the scenes."""
    truth = {row["id"]: row for row in load(scenes)}
    lines = (output / "records.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    num_right = num_texts = num_leaks = num_repaired = num_leaks_left = 0
    for record in records:
        num_leaks += "speaks of the markings" in "; ".join(record["sent_back"])
        num_repaired += bool(record["sent_back"]) and record["line"] is not None
    for row in load(output):
        scene = truth[row["id"]]
        num_texts += 1
        num_right += (row["description"], row["analysis"]) == (scene["description"], scene["analysis"])
        num_leaks_left += bool(leaks(f"{row['description']} {row['regions']} {row['analysis']}"))
    figures = {
        "calls": dict(known.stages),
        "format_validity": round(num_texts / len(records), 4),
        "leak_rate_at_first": round(num_leaks / len(records), 4),
        "leak_rate_in_the_end": round(num_leaks_left / num_texts, 4),
        "repaired": num_repaired,
        "facts_right": round(num_right / num_texts, 4),
        "seconds": round(seconds, 1),
    }
    print(json.dumps(figures), flush=True)


def judge(sheet: Path) -> Path:
    """What a person would do on the page: here, the first text is called wrong and the others right."""
    with sheet.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["rating"] = "right"
    rows[0] |= {"rating": "wrong", "comment": "I cannot see that."}
    with sheet.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return sheet


if __name__ == "__main__":
    main(*[int(value) if value.isdigit() else value for value in sys.argv[1:]])
