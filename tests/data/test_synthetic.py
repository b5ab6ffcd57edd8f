import json
import re
from collections import Counter

import numpy as np
import pytest
from datasets import Image as ImageFeature
from PIL import Image

from heie_hf.data.schema import FEATURES
from heie_hf.data.synthetic import DEFECTS, PARTS, draw_scene, issues_in, load, synthesize
from heie_hf.data.synthetic.labels import FLOOR, heatmap, plausibility, severity
from heie_hf.data.synthetic.layout import sight
from heie_hf.data.synthetic.vocabulary import UNSEEN_DEFECTS
from heie_hf.data.synthetic.wording import CUES, LINES, NO_REGIONS
from heie_hf.processing.explanation_heie import Explanation, parse, render

#: What the visible strokes of a defect belong to.
PARTS_OF = {
    "extra finger": {"hand"},
    "extra eye": {"eye"},
    "misaligned eyes": {"eye", "hair"},
    "garbled sign": {"letter"},
    "extra leg": {"leg", "animal leg", "chair leg"},
    "extra clock hand": {"clock hand"},
    "wrong shadow": {"shadow"},
}


@pytest.fixture(scope="module")
def scenes():
    return [draw_scene(11, index) for index in range(200)]


def masks_of(scene):
    return {d.kind: scene.defect_map == DEFECTS.index(d.kind) for d in scene.defects}


def test_a_scene_depends_on_seed_and_index_only():
    before = np.random.get_state()[1].copy()
    first = [draw_scene(3, index) for index in (0, 1, 2)]
    again = [draw_scene(3, index) for index in (2, 1, 0)][::-1]
    for a, b in zip(first, again):
        assert a.image.tobytes() == b.image.tobytes()
        assert np.array_equal(a.heatmap, b.heatmap) and np.array_equal(a.parts, b.parts)
        assert (a.defects, a.description, a.regions, a.analysis) == (b.defects, b.description, b.regions, b.analysis)
    assert draw_scene(4, 0).image.tobytes() != first[0].image.tobytes()
    assert np.array_equal(before, np.random.get_state()[1])


def test_sizes_and_shapes(scenes):
    for scene in scenes:
        width, height = scene.image.size
        assert scene.image.mode == "RGB"
        assert 112 <= min(width, height) and max(width, height) <= 672 and 1 / 3 <= width / height <= 3
        assert scene.heatmap.shape == scene.parts.shape == scene.defect_map.shape == (height, width)
        assert scene.heatmap.dtype == np.float32 and scene.heatmap.min() >= 0 and scene.heatmap.max() <= 1
        assert scene.parts.max() < len(PARTS)
    ratios = [scene.image.width / scene.image.height for scene in scenes]
    assert min(ratios) < 0.6 and max(ratios) > 1.8


def test_a_clean_scene_has_nothing_wrong(scenes):
    clean = [scene for scene in scenes if not scene.defects]
    assert 0.25 < len(clean) / len(scenes) < 0.4  # about a third, as docs/benchmark.md says
    for scene in clean:
        assert scene.score == 1 and not scene.heatmap.any() and not scene.defect_map.any()
        assert scene.regions == NO_REGIONS


def test_every_standard_kind_is_planted(scenes):
    counts = Counter(defect.kind for scene in scenes for defect in scene.defects)
    assert set(counts) == set(DEFECTS[1:]) - set(UNSEEN_DEFECTS)
    assert min(counts.values()) >= 5
    assert max(len(scene.defects) for scene in scenes) == 3


def test_each_defect_is_where_it_is_said_to_be(scenes):
    for scene in scenes:
        for defect in scene.defects:
            x0, y0, x1, y1 = map(int, defect.box)
            inside = scene.defect_map[y0:y1, x0:x1] == DEFECTS.index(defect.kind)
            assert inside.sum() * sight(scene.image.size) ** 2 >= 30  # a viewer of 224 x 224 pixels can see it
            assert scene.heatmap[y0:y1, x0:x1].max() >= 0.4
        assert {*np.unique(scene.defect_map)} - {0} == {DEFECTS.index(d.kind) for d in scene.defects}


def test_defects_are_strokes_of_the_right_part(scenes):
    for scene in scenes:
        for kind, mask in masks_of(scene).items():
            if kind in PARTS_OF:
                painted = scene.parts[mask]
                right = np.isin(painted, [PARTS.index(part) for part in PARTS_OF[kind]])
                assert right.mean() > 0.7, kind


def test_the_heatmap_is_exactly_zero_far_from_defects(scenes):
    for scene in scenes:
        if not scene.defects:
            continue
        near = Image.fromarray((scene.defect_map > 0).astype(np.uint8) * 255)
        reach = int(0.12 * (near.width * near.height) ** 0.5) + 3
        far = np.ones(scene.heatmap.shape, bool)
        for x0, y0, x1, y1 in [map(int, defect.box) for defect in scene.defects]:
            far[max(0, y0 - reach) : y1 + reach, max(0, x0 - reach) : x1 + reach] = False
        assert not scene.heatmap[far].any()


def test_heatmap_of_a_known_mask():
    mask = np.zeros((200, 200), bool)
    mask[80:120, 80:120] = True
    graver = np.zeros((200, 200), bool)
    graver[20:60, 20:60] = True
    field = heatmap((200, 200), [mask, graver], [0.2, 0.7])
    assert field[100, 100] == pytest.approx((0.6 - FLOOR) / (1 - FLOOR), abs=0.01)  # 0.4 + severity
    assert field[40, 40] == pytest.approx(1.0, abs=0.01)
    assert field[80, 100] == pytest.approx((0.3 - FLOOR) / (1 - FLOOR), abs=0.03)  # half the peak at the mask's edge
    assert field[135:, :].max() == field[:, 135:].max() == 0 < field[125, 100]  # the blur's tail is cut
    assert not heatmap((30, 20), [], []).any() and heatmap((30, 20), [], []).shape == (20, 30)


def test_the_score_falls_with_each_defect_and_its_severity():
    assert plausibility([]) == 1
    assert plausibility([0.2]) == pytest.approx(0.8)
    assert plausibility([0.2, 0.5]) == pytest.approx(0.4)
    small, large = np.zeros((90, 90), bool), np.zeros((90, 90), bool)
    small[:3, :3], large[:30, :30] = True, True
    assert severity("extra leg", small) < severity("extra leg", large) == pytest.approx(0.68)


def test_scores_follow_from_severities(scenes):
    for scene in scenes:
        assert scene.score == pytest.approx(np.prod([1 - d.severity for d in scene.defects]))
    scores = [scene.score for scene in scenes if scene.defects]
    assert np.ptp(scores) > 0.5 and np.std(scores) > 0.1


def test_the_planted_kinds_are_read_back_from_every_text(scenes):
    for scene in scenes:
        kinds = {defect.kind for defect in scene.defects}
        assert issues_in(scene.analysis) == kinds
        assert issues_in(scene.regions + "\n" + scene.analysis) == kinds
        assert issues_in(scene.description) == set()


def test_every_wording_names_its_kind_alone():
    assert set(LINES) == set(CUES) == set(DEFECTS[1:])
    for kind, wordings in LINES.items():
        for wording in wordings:
            assert issues_in(wording.format(part="arm")) == {kind}
    assert issues_in("") == issues_in("N/A") == issues_in(NO_REGIONS) == set()


def test_texts_are_short_plain_and_well_formed(scenes):
    words = set()
    for scene in scenes:
        assert len(scene.description.split()) <= 30
        assert all(len(line.split()) <= 15 for line in scene.analysis.splitlines())
        text = f"{scene.description} {scene.regions} {scene.analysis}"
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", text), text
        words |= set(re.findall(r"[a-z]+", text.lower()))
        explanation = Explanation(scene.description, scene.regions, scene.analysis)
        assert parse(render(explanation)) == explanation
    assert len(words) < 300
    assert len({scene.description for scene in scenes}) > 150


def test_the_unseen_domain_adds_kinds_and_sizes():
    scenes = [draw_scene(0, index, unseen=True) for index in range(24)]
    assert {d.kind for scene in scenes for d in scene.defects} & set(UNSEEN_DEFECTS)
    for scene in scenes:
        assert min(scene.image.size) >= 500
        assert issues_in(scene.analysis) == {d.kind for d in scene.defects}


def test_load_gives_the_common_schema_whatever_the_number_of_images():
    few, more = load(2, seed=5), load(4, seed=5)
    assert few.features == FEATURES and len(more) == 4
    raw = [rows.cast_column("image", ImageFeature(decode=False)) for rows in (few, more)]
    assert [row["image"]["bytes"] for row in raw[0]] == [row["image"]["bytes"] for row in raw[1]][:2]
    for index, row in enumerate(more):
        scene = draw_scene(5, index)
        assert np.array_equal(np.asarray(row["image"]), np.asarray(scene.image))
        assert np.abs(np.asarray(row["heatmap"]) / 255 - scene.heatmap).max() <= 0.5 / 255 + 1e-6
        assert row["score"] == pytest.approx(scene.score) and row["regions"] == scene.regions
        assert [d["kind"] for d in row["defects"]] == [d.kind for d in scene.defects]
        assert row["prompt"] is None and row["misalignment_heatmap"] is None
    assert len(set(more["id"])) == 4


def test_synthesize_writes_the_published_layout(tmp_path):
    annotations = synthesize(3, seed=7, output_dir=tmp_path / "out")
    rows = [json.loads(line) for line in annotations.read_text().splitlines()]
    planted = [json.loads(line) for line in (tmp_path / "out" / "defects.jsonl").read_text().splitlines()]
    assert len(rows) == 3
    for index, (row, extra) in enumerate(zip(rows, planted)):
        scene = draw_scene(7, index)
        assert list(row) == ["id", "image", "heatmap", "score", "conversations"]
        assert [turn["from"] for turn in row["conversations"]] == ["human", "gpt"]
        assert row["conversations"][0]["value"].startswith("<image>\n")
        text = row["conversations"][1]["value"]
        assert text.count("[MAP]") == text.count("[SCORE]") == 1 and parse(text).analysis == scene.analysis
        with (
            Image.open(tmp_path / "out" / row["image"]) as image,
            Image.open(tmp_path / "out" / row["heatmap"]) as field,
        ):
            assert image.mode == "RGB" and field.mode == "L" and image.size == field.size == scene.image.size
            assert np.array_equal(np.asarray(image), np.asarray(scene.image))
        assert extra["id"] == row["id"] and [d["kind"] for d in extra["defects"]] == [d.kind for d in scene.defects]


def test_synthesize_goes_on_where_it_was_interrupted(tmp_path):
    annotations = synthesize(3, seed=7, output_dir=tmp_path)
    content = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    lost, kept = sorted((tmp_path / "images").iterdir())[:2]
    lost.unlink()
    annotations.unlink()
    written = kept.stat().st_mtime_ns
    synthesize(3, seed=7, output_dir=tmp_path)
    assert {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()} == content
    assert kept.stat().st_mtime_ns == written


def test_an_interrupted_run_leaves_no_annotations(tmp_path, monkeypatch):
    from heie_hf.data.synthetic import export

    def stop_at_second(seed, index, unseen=False):
        if index == 1:
            raise KeyboardInterrupt
        return draw_scene(seed, index, unseen)

    monkeypatch.setattr(export, "draw_scene", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        synthesize(3, seed=7, output_dir=tmp_path)
    assert not (tmp_path / "annotations.jsonl").exists()
    assert len(list((tmp_path / "images").iterdir())) == 1


def test_wrong_arguments_are_named(tmp_path):
    with pytest.raises(ValueError, match="num_images must be at least 1, not 0"):
        synthesize(0, seed=0, output_dir=tmp_path)
    with pytest.raises(ValueError, match="num_images"):
        load(0, seed=0)
    with pytest.raises(ValueError, match="seed must not be negative"):
        load(1, seed=-1)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(NotADirectoryError, match="file"):
        synthesize(1, seed=0, output_dir=file)
