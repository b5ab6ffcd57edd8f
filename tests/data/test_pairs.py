"""Scenes with and without their defects."""

import json

import numpy as np
import pytest
from PIL import Image, ImageFilter

from heie_hf.cli import main
from heie_hf.data import load
from heie_hf.data.synthetic import DEFECTS, PARTS, draw_pair, draw_scene, synthesize
from heie_hf.data.synthetic.wording import NO_REGIONS

SEED = 555
#: Nothing of a defect's true place is farther from its mask than this share of the square root of the area: a leg or
#: an arm that lies apart is put back, a melted surface is where it ran from.
MARGIN = 0.13
GROUND = [PARTS.index(part) for part in ("background", "light", "shadow")]


@pytest.fixture(scope="module", params=[False, True], ids=["standard", "unseen"])
def twins(request):
    """Flawed and clean scenes."""
    unseen = request.param
    drawn = [draw_pair(SEED, index, unseen) for index in range(25 if unseen else 60)]
    return [(flawed, clean) for flawed, clean in drawn if clean]


def near(mask: np.ndarray) -> np.ndarray:
    """The pixels at most MARGIN from a mask (H, W), in steps of a square."""
    reach = int(MARGIN * mask.size**0.5)
    grown = Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.BoxBlur(reach))
    return np.asarray(grown.point([0] + [255] * 255)) > 0


def inner(mask: np.ndarray) -> np.ndarray:
    """A mask without its edge, where the ground shines through."""
    shrunk = Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.MinFilter(7))
    return np.asarray(shrunk) > 0


def test_the_flawed_one_is_the_scene_and_a_scene_without_a_defect_has_no_twin():
    for index in range(12):
        scene = draw_scene(SEED, index)
        flawed, clean = draw_pair(SEED, index)
        assert flawed.image.tobytes() == scene.image.tobytes() and flawed.analysis == scene.analysis
        assert (clean is None) == (not scene.defects)


def test_the_twin_is_clean_and_says_so(twins):
    for flawed, clean in twins:
        assert flawed.defects and not clean.defects
        assert clean.score == 1 and not clean.heatmap.any() and not clean.defect_map.any()
        assert clean.regions == NO_REGIONS and clean.description == flawed.description
        assert clean.facts == flawed.facts | {"issues": []}


def test_objects_are_equal_but_at_the_defect(twins):
    for flawed, clean in twins:
        far = ~near(flawed.defect_map > 0)
        is_object = ~np.isin(flawed.parts, GROUND)
        differs = np.any(np.asarray(flawed.image) != np.asarray(clean.image), axis=2)
        assert not (differs & far & inner(is_object)).any(), [defect.kind for defect in flawed.defects]


def test_the_ground_differs_by_shadows_at_most(twins):
    """Where no flawed object throws one, not at all."""
    shadowless = {"hand", "clock", "garbled sign"}
    num_checked = 0
    for flawed, clean in twins:
        far = ~near(flawed.defect_map > 0)
        differs = np.any(np.asarray(flawed.image) != np.asarray(clean.image), axis=2)
        assert (differs & far).mean() < 0.1
        if {defect.noun for defect in flawed.defects} <= shadowless:
            assert not (differs & far).any()
            num_checked += 1
    assert num_checked


def test_the_defect_makes_a_difference(twins):
    for flawed, clean in twins:
        differs = np.any(np.asarray(flawed.image) != np.asarray(clean.image), axis=2)
        for defect in flawed.defects:
            mask = flawed.defect_map == DEFECTS.index(defect.kind)
            assert differs[mask].mean() > 0.1, defect.kind


def test_pairs_are_written_and_read_again(tmp_path):
    folder = synthesize(6, 11, tmp_path / "scenes", pairs=True).parent
    lines = [json.loads(line) for line in (folder / "annotations.jsonl").read_text().splitlines()]
    rows = list(load(folder))
    assert [row["id"] for row in rows] == [line["id"] for line in lines]
    ids = {row["id"] for row in rows}
    num_pairs = 0
    for row in rows:
        if row["id"].endswith("-clean"):
            num_pairs += 1
            assert row["pair"] == row["id"].removesuffix("-clean") and row["pair"] in ids
            assert row["defects"] == [] and row["score"] == 1 and row["facts"]["issues"] == []
        else:
            assert row["pair"] == (row["id"] if row["defects"] else None)
    flawed = [row for row in rows if row["defects"]]
    assert 0 < num_pairs == len(flawed) and len(rows) == 6 + num_pairs
    plain = synthesize(6, 11, tmp_path / "plain").parent
    assert not any("pair" in json.loads(line) for line in (plain / "annotations.jsonl").read_text().splitlines())
    for picture in (plain / "images").iterdir():
        assert picture.read_bytes() == (folder / "images" / picture.name).read_bytes()


def test_the_command_writes_pairs(tmp_path):
    with pytest.raises(SystemExit) as status:
        main(["synthesize", "--split", "dev", "--num-images", "3", "--pairs", "--output-dir", str(tmp_path)])
    assert not status.value.code
    lines = [json.loads(line) for line in (tmp_path / "annotations.jsonl").read_text().splitlines()]
    paired = [line["pair"] for line in lines if "pair" in line]
    assert paired and len(paired) == 2 * len(set(paired))
