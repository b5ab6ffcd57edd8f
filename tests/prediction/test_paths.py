import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from heie_hf.prediction.paths import (
    ImageFile,
    as_text,
    find_images,
    output_names,
    picture_paths,
    printable,
    save_png,
)
from heie_hf.processing.image_files_heie import image_suffixes


def no_report(path, reason):
    raise AssertionError(f"{path}: {reason}")


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def found(sources, report=no_report, output_dir=None):
    return [image.path for image in find_images(map(str, sources), report, output_dir)]


def names_of(*sources):
    images = find_images(map(str, sources), no_report)
    return {image.path: name for image, name in zip(images, output_names(images), strict=True)}


def test_a_folder_gives_its_images_with_all_below_in_sorted_order(tmp_path):
    make(tmp_path, "z.png", "b/c.JPG", "b/a.webp", "notes.txt", "a.pdf", ".hidden/x.gif", "drawing.svg")
    expected = [".hidden/x.gif", "b/a.webp", "b/c.JPG", "drawing.svg", "z.png"]
    assert found([tmp_path]) == [str(tmp_path / name) for name in expected]


def test_files_are_taken_as_they_are_and_each_once(tmp_path):
    make(tmp_path, "a.png", "strange.xyz")
    file, odd = tmp_path / "a.png", tmp_path / "strange.xyz"
    assert found([odd, tmp_path, file, tmp_path / "missing.png"]) == [
        str(odd),
        str(file),
        str(tmp_path / "missing.png"),
    ]


def test_loops_of_links_end(tmp_path):
    make(tmp_path, "a.png", "sub/b.png")
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    assert [Path(path).name for path in found([tmp_path])] == ["a.png", "self.png", "b.png"]


def test_a_folder_without_images_is_reported(tmp_path):
    reports = []
    assert found([tmp_path], lambda *report: reports.append(report)) == []
    assert reports == [(str(tmp_path), "no images in this folder")]


def test_results_of_an_earlier_run_are_no_images(tmp_path):
    make(tmp_path, "a.png", "a.heatmap.png", "a.overlay.png", "out/a.png")
    assert found([tmp_path], output_dir=tmp_path / "out") == [str(tmp_path / "a.png")]
    assert found([tmp_path / "out"], output_dir=tmp_path / "out") == [str(tmp_path / "out" / "a.png")]


def test_names_mirror_the_folder(tmp_path):
    make(tmp_path, "a.png", "x/a.png", "x/y/b.tar.jpg")
    assert list(names_of(tmp_path).values()) == ["a", "x/a", "x/y/b.tar"]


@pytest.mark.parametrize(
    ("files", "sources", "names"),
    [
        (["a.png", "a.jpg"], ["."], ["a.jpg", "a.png"]),
        (["x/a.png", "y/a.png"], ["x", "y"], ["x/a", "y/a"]),
        (["x/a.png", "y/a.png", "y/b.png"], ["x/a.png", "y/a.png", "y/b.png"], ["x/a", "y/a", "b"]),
        (["x/a.png", "y/a.png", "y/a.gif"], ["x", "y"], ["x/a", "y/a.gif", "y/a.png"]),
    ],
)
def test_names_that_would_collide_say_more(tmp_path, monkeypatch, files, sources, names):
    make(tmp_path, *files)
    monkeypatch.chdir(tmp_path)
    assert list(names_of(*sources).values()) == names


def test_names_never_collide(tmp_path):
    make(tmp_path, "a.png", "a.jpg", "a.png.png", "A.PNG", "a.jpg.gif", "x/a.png", "x/A.jpg")
    names = names_of(tmp_path, tmp_path / "x" / "a.png")
    assert len({name.casefold() for name in names.values()}) == len(names) == 7
    assert names == names_of(tmp_path, tmp_path / "x" / "a.png")


def test_no_images_have_no_names():
    assert output_names([]) == []


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS file names are always UTF-8")
def test_bytes_that_are_not_utf8_survive(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    make(tmp_path, name)
    (path,) = found([tmp_path])
    assert Path(path).exists()
    assert as_text(name) == r"caf\xe9.png"
    assert output_names([ImageFile(path, str(tmp_path))]) == [os.fsdecode(b"caf\xe9")]


def test_printable_paths_stay_on_one_line():
    assert printable("a b/ü\nc\x1b[2J'\".png") == "a b/ü\\nc\\x1b[2J'\".png"


def test_pictures_are_written_whole_or_not_at_all(tmp_path):
    class Broken(Image.Image):
        def save(self, path, format):
            Path(path).write_bytes(b"half")
            raise OSError("disk full")

    path = tmp_path / "new" / "a.png"
    save_png(Image.new("L", (3, 2), 7), path)
    with pytest.raises(OSError, match="disk full"):
        save_png(Broken(), path)
    assert os.listdir(path.parent) == ["a.png"]
    assert Image.open(path).getpixel((0, 0)) == 7


def test_every_format_that_can_be_read_counts_in_a_folder(tmp_path):
    names = sorted(f"image{suffix}" for suffix in image_suffixes())
    assert {"image.mpo", "image.ico", "image.tga", "image.dib", "image.qoi", "image.jpg"} <= set(names)
    for name in names:
        (tmp_path / name).touch()
    found = find_images([str(tmp_path)], report=lambda path, reason: pytest.fail(reason))
    assert [Path(image.path).name for image in found] == names


@pytest.mark.parametrize("stem", ["x" * 251, "ü" * 125 + "x", "字" * 83])
def test_names_near_the_limit_of_file_systems_are_shortened(tmp_path, stem):
    make(tmp_path / "in", f"{stem}.png", f"{stem[:-1]}y.png", f"sub/{stem}.png")
    names = names_of(tmp_path / "in")
    assert names == names_of(tmp_path / "in")
    assert len(set(names.values())) == 3
    for name in names.values():
        pictures = picture_paths(tmp_path / "out", name)
        for picture in pictures.values():
            save_png(Image.new("L", (3, 2)), picture)
        assert os.path.basename(name).startswith(stem[:50])
        name.encode("utf-8")  # no character was cut in two
    written = list((tmp_path / "out").rglob("*.png"))
    assert len(written) == 6 and sum(path.parent.name == "sub" for path in written) == 2


def test_names_that_fit_stay_as_they_are(tmp_path):
    make(tmp_path, "x" * 243 + ".png")
    assert list(names_of(tmp_path).values()) == ["x" * 243]


def test_deep_paths_lose_their_folders():
    deep = "/in/" + "/".join(["y" * 200] * 12)
    names = output_names([ImageFile(f"{deep}/a.png", "/in"), ImageFile(f"{deep}/b.png", "/in")])
    assert [os.path.dirname(name) for name in names] == ["", ""]
    assert [name[:2] for name in names] == ["a-", "b-"]
