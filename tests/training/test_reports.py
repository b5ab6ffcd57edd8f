import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import EarlyStoppingCallback, EvalPrediction

from heie_hf.metrics import auc_judd, cc, mse, plcc, srcc
from heie_hf.training.reports import comparison, evaluation_metrics
from tests.training.small_run import make_rows, make_trainer


@pytest.fixture
def trainer(tiny_checkpoint, tmp_path):
    return make_trainer(tiny_checkpoint, tmp_path, save_strategy="no", text_source="none", num_overlays=2)


class TestMetrics:
    def test_figures_are_those_without_text(self, trainer, make_tiny_model, tiny_processor):
        trainer.eval_dataset = rows = [row for row in make_rows() if row["heatmap"]]
        figures = trainer.evaluate()
        with torch.no_grad():
            outputs = make_tiny_model().assess(**tiny_processor(images=[row["image"] for row in rows]))
        scored = [index for index, row in enumerate(rows) if row["score"] is not None]
        scores, targets = outputs.score.numpy()[scored], [rows[index]["score"] for index in scored]
        assert figures["eval_plcc"] == pytest.approx(plcc(scores, targets), abs=1e-4)
        assert figures["eval_srcc"] == pytest.approx(srcc(scores, targets), abs=1e-4)
        cells = [torch.nn.functional.adaptive_avg_pool2d(h[None], (16, 16))[0].numpy() for h in outputs.heatmap]
        thumbnails = [tiny_processor.image_processor.cut_heatmap(_array(row), (1, 1))[-1] for row in rows]
        for name, metric in (("cc", cc), ("mse", mse), ("auc_judd", auc_judd)):
            pairs = [pair for pair in zip(cells, thumbnails, strict=True) if name == "mse" or pair[1].any()]
            expected = np.mean([metric(*pair) for pair in pairs])
            assert figures[f"eval_{name}"] == pytest.approx(expected, abs=1e-4), name

    def test_given_text_is_told_apart(self, trainer):
        figures = trainer.evaluate()
        assert figures["eval_plcc"] != figures["eval_plcc_given_text"]
        assert figures["eval_cc"] != figures["eval_cc_given_text"]

    def test_empty_heatmaps_and_unknown_labels(self):
        random = np.random.default_rng(0)
        maps, targets = random.random((4, 8, 8)), random.random((4, 8, 8))
        scores = random.random(4)
        targets[0], targets[1] = 0, np.nan
        labels = np.array([0.1, 0.2, np.nan, 0.4])
        figures = evaluation_metrics(EvalPrediction((scores, maps, scores, maps), (labels, targets)))
        assert figures["mse_gt0"] == pytest.approx((maps[0] ** 2).mean())
        assert figures["cc"] == pytest.approx(np.mean([cc(maps[i], targets[i]) for i in (2, 3)]))
        assert figures["plcc"] == pytest.approx(plcc(scores[[0, 1, 3]], labels[[0, 1, 3]]))

    @pytest.mark.parametrize("kind", ["score", "heatmap"])
    def test_without_any_label_of_a_kind_there_are_no_figures_of_it(self, kind, trainer):
        figures = trainer.evaluate([row | {kind: None} for row in make_rows(4)])
        assert ("eval_plcc" in figures) == (kind == "heatmap")
        assert ("eval_cc" in figures) == (kind == "score")
        assert np.isfinite(figures["eval_loss"])

    def test_the_texts_of_the_training_do_not_matter(self, tiny_checkpoint, tmp_path):
        figures = [
            make_trainer(tiny_checkpoint, tmp_path, text_source=source).evaluate() for source in ("none", "swapped")
        ]
        names = [name for name in figures[0] if "second" not in name and "time" not in name]
        assert {"eval_loss", "eval_mse_gt0", "eval_plcc"} <= set(names)
        assert [figures[0][name] for name in names] == [figures[1][name] for name in names]


def _array(row):
    return np.asarray(row["heatmap"], dtype=np.float32) / 255


class TestLogs:
    def test_rate_norm_components_and_speed(self, trainer):
        trainer.args.max_steps = 2
        trainer.train()
        logs = [entry for entry in trainer.state.log_history if "loss" in entry]
        assert len(logs) == 2
        for entry in logs:
            assert {"lm_loss", "heatmap_loss", "laplace_loss", "score_loss"} <= set(entry)
            assert {"learning_rate", "grad_norm"} <= set(entry)
            assert entry["images_per_second"] > 0

    def test_tokens_and_images_are_all_counted(self, trainer):
        trainer.args.max_steps = trainer.args.logging_steps = 4  # an epoch
        trainer.train()
        log = next(entry for entry in trainer.state.log_history if "loss" in entry)
        mask = trainer.data_collator(make_rows())["attention_mask"]
        assert log["tokens_per_second"] / log["images_per_second"] == pytest.approx(float(mask.sum() / len(mask)))


class TestOverlays:
    def test_pictures_beside_the_checkpoints(self, trainer, tmp_path):
        trainer.evaluate()
        files = sorted((tmp_path / "_overlays" / "step-0").iterdir())
        assert [file.name for file in files] == ["row-0.png", "row-1.png"]
        square, wide = (Image.open(file).size for file in files)
        assert square[1] == wide[1] and square[0] < wide[0]

    def test_pictures_and_figures_in_tensorboard(self, tiny_checkpoint, tmp_path, monkeypatch):
        monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "board"))
        settings = {"report_to": "tensorboard", "eval_strategy": "steps", "eval_steps": 1, "max_steps": 2}
        trainer = make_trainer(
            tiny_checkpoint, tmp_path / "run", save_strategy="no", text_source="none", num_overlays=1, **settings
        )
        trainer.train()
        board = EventAccumulator(str(tmp_path / "board")).Reload()
        assert [image.step for image in board.Images("overlays/row-0")] == [1, 2]
        assert {"train/score_loss", "train/images_per_second", "train/grad_norm", "eval/plcc", "eval/cc"} <= set(
            board.Tags()["scalars"]
        )
        assert not (tmp_path / "run" / "_overlays").exists()

    def test_a_comparison_shows_both_heatmaps(self):
        image = Image.new("RGB", (64, 32), "white")
        left, right = np.zeros((32, 64)), np.zeros((32, 64))
        left[:, :32], right[:, 32:] = 1, 1
        picture = np.asarray(comparison(image, left, right, score=0.5, side=160)).astype(int)
        white = (picture[80, :960] > 250).all(axis=1)
        assert [white[x] for x in (80, 240, 400, 560, 720, 880)] == [True, True, False, True, True, False]
        unknown = comparison(image, None, right, score=0.5, side=160)
        assert unknown.width == picture.shape[1] - 320


class TestStopping:
    def test_early_stopping_by_a_default_figure(self, tiny_checkpoint, tmp_path):
        settings = {"eval_strategy": "steps", "eval_steps": 1, "save_steps": 1, "learning_rate": 0.0, "max_steps": 6}
        trainer = make_trainer(
            tiny_checkpoint,
            tmp_path,
            text_source="none",
            metric_for_best_model="plcc",
            load_best_model_at_end=True,
            **settings,
        )
        trainer.add_callback(EarlyStoppingCallback(early_stopping_patience=2))
        trainer.train()
        assert trainer.state.global_step == 3  # the first evaluation is the best, two more are no better
        assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-1")
