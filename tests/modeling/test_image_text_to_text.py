"""Transformers' own image-text-to-text pipeline works on the model, since `generate` returns a tensor by default."""

from transformers import pipeline

from heie_hf.processing.explanation_heie import parse


def test_the_stock_pipeline_writes_the_chain_of_thought(tiny_checkpoint, images):
    pipe = pipeline("image-text-to-text", model=tiny_checkpoint)
    content = [{"type": "image", "image": images[0]}, {"type": "text", "text": "What is wrong with this image?"}]
    [result] = pipe(text=[{"role": "user", "content": content}], return_full_text=False)
    text = result["generated_text"]
    assert "### Image Description" in text and "### Analysis of Issues" in text
    assert parse(text).description or parse(text).analysis
