"""The command, run in this process or in one of its own, and a folder of images for it."""

import json

import pytest

from heie_hf.cli import main


@pytest.fixture
def heie(capsys):
    """Run the command here: heie(...) -> exit status, stdout and stderr as lists of lines."""

    def run(*arguments):
        with pytest.raises(SystemExit) as exit:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return exit.value.code or 0, printed.out.splitlines(), printed.err.splitlines()

    return run


@pytest.fixture
def predict(heie, tiny_checkpoint):
    """heie predict with a tiny model on the CPU; stdout parsed."""

    def run(*arguments):
        status, out, err = heie("predict", "--model", tiny_checkpoint, "--device", "cpu", *arguments)
        return status, [json.loads(line) for line in out], err

    return run


@pytest.fixture
def folder(tmp_path, images):
    """Four images and a text."""
    for image, name in zip(images, ("b.png", "a.jpg", "sub/a.png", "sub/c.webp")):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    return tmp_path / "in"
