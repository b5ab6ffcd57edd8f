"""A disk that is full: one line, nothing half-written, and the run goes on from the last whole checkpoint."""

import errno
import subprocess
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from heie_hf import HEIEForImplausibility
from heie_hf.training import train
from heie_hf.training.writing import whole_draft
from tests.training.small_run import make_trainer

KIB = 1024


@pytest.fixture
def disk(tmp_path):
    """A small disk of its own; `.limit(size)` says how many bytes it holds."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True, text=True)
    if mount.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {mount.stderr.strip()}")

    class Disk:
        path = folder

        def limit(self, size: int) -> None:
            options = f"remount,size={size // KIB}k"
            subprocess.run(["mount", "-o", options, folder], check=True)

    yield Disk()
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def config(disk, tmp_path, tiny_checkpoint, scenes):
    """config(field=value ...) -> path of a YAML file whose run writes to the small disk."""

    def write(**fields):
        common = {
            "model_name_or_path": tiny_checkpoint,
            "train_datasets": [str(scenes)],
            "output_dir": str(disk.path / "out"),
            "per_device_train_batch_size": 2,
            "max_steps": 2,
            "save_steps": 1,
            "use_cpu": True,
            "num_overlays": 0,
            "report_to": "none",
        }
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(common | fields))
        return path

    return write


def size_of(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint, tmp_path_factory):
    """A checkpoint as large as those of the runs below."""
    folder = tmp_path_factory.mktemp("sizes")
    make_trainer(tiny_checkpoint, folder, max_steps=1, save_steps=1, text_source="none").train()
    return folder / "checkpoint-1"


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.pt"])
def test_a_checkpoint_that_finds_no_room(file, config, disk, checkpoint):
    """`file` is the one that is cut off: the first, by safetensors, or one that comes later, by torch."""
    before = 0 if file == "model.safetensors" else size_of(checkpoint / "model.safetensors")
    room = size_of(checkpoint) + before + size_of(checkpoint / file) // 2
    disk.limit(room + 64 * KIB)  # files fill whole pages
    out = disk.path / "out"
    with pytest.raises(OSError, match="No space left on device") as error:
        train(config())
    assert error.value.errno == errno.ENOSPC and error.value.filename == str(out / "checkpoint-2")
    assert [path.name for path in out.iterdir()] == ["checkpoint-1"]

    disk.limit(100 * room)
    said = []
    assert train(config(), say=said.append)["steps"] == 2
    assert f"going on from {out / 'checkpoint-1'}" in said
    assert {path.name for path in out.glob("checkpoint-*")} == {"checkpoint-1", "checkpoint-2"}
    assert HEIEForImplausibility.from_pretrained(out)


def test_the_command_says_it_in_one_line(heie_train, config, disk, checkpoint):
    disk.limit(size_of(checkpoint) // 2)
    status, printed, errors = heie_train(config())
    assert (status, printed) == (1, [])
    line = f"heie: cannot write {disk.path / 'out' / 'checkpoint-1'}: No space left on device"
    assert errors.count(line) == 1  # the trainer's progress bar may be drawn once more below it
    assert not any("Traceback" in line for line in errors)


def test_a_final_model_that_finds_no_room(config, disk, checkpoint):
    """The model that an earlier run left there stays whole."""
    disk.limit(100 * size_of(checkpoint))
    out = disk.path / "out"
    train(config(save_strategy="no"))
    before = load_file(out / "model.safetensors")
    disk.limit(size_of(out) + size_of(checkpoint / "model.safetensors") // 2)
    with pytest.raises(OSError, match="No space left on device") as error:
        train(config(save_strategy="no"))
    assert error.value.errno == errno.ENOSPC and error.value.filename == str(out)
    after = load_file(out / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert HEIEForImplausibility.from_pretrained(out) and not (out / "_final").exists()


def test_pictures_that_find_no_room(config, disk, scenes):
    disk.limit(32 * KIB)
    evaluation = {"eval_strategy": "steps", "eval_steps": 1, "eval_datasets": [str(scenes)], "num_overlays": 1}
    with pytest.raises(OSError, match="No space left on device") as error:
        train(config(save_strategy="no", **evaluation))
    picture = Path(error.value.filename)
    assert picture.parent == disk.path / "out" / "_overlays" / "step-1" and picture.suffix == ".png"
    assert list(picture.parent.iterdir()) == []


def test_errors_of_another_kind_stay_what_they_are(tmp_path):
    draft = tmp_path / "draft"
    draft.mkdir()
    with pytest.raises(RuntimeError, match="out of memory"), whole_draft(draft, tmp_path / "model"):
        raise RuntimeError("CUDA out of memory")
    assert not draft.exists()
