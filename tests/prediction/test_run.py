"""From image files to results: a bad one is reported, the rest goes on."""

import torch

from heie_hf import ImplausibilityPipeline
from heie_hf.prediction.run import predict_files


def test_an_image_for_which_the_model_gives_nan_is_reported(make_tiny_model, tiny_processor, images, tmp_path):
    model = make_tiny_model(seed=3)
    with torch.no_grad():
        for parameter in model.scorer.parameters():
            parameter.fill_(float("nan"))
    pipe = ImplausibilityPipeline(model=model, processor=tiny_processor, device="cpu")
    paths = [str(tmp_path / f"{number}.png") for number in range(3)]
    for path, image in zip(paths, images):
        image.save(path)
    paths.insert(1, str(tmp_path / "missing.png"))
    reports = []
    results = list(predict_files(pipe, paths, lambda *report: reports.append(report), explain=False, batch_size=2))
    assert results == [(path, None) for path in paths]
    nan = "the model gave NaN or infinity (score)"
    assert dict(reports) == {**dict.fromkeys(paths, nan), paths[1]: "no such file or directory"}
