"""Fine-tune a HEIE model on rows of the common schema; here on drawn scenes, from the embedded model.

python examples/finetune.py --num-images 64 --epochs 1 --output-dir out
"""

import argparse

from transformers import AutoModelForImageTextToText, AutoProcessor

import heie_hf
from heie_hf.checkpoints import default_checkpoint
from heie_hf.data import synthetic


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=None, help="a HEIE checkpoint; default: the embedded one")
    parser.add_argument("--num-images", type=int, default=256)
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--output-dir", default="outputs/finetune")
    options = parser.parse_args()

    path = options.model or default_checkpoint()
    trainer = heie_hf.HEIETrainer(
        AutoModelForImageTextToText.from_pretrained(path),
        heie_hf.HEIETrainingArguments(
            options.output_dir,
            num_train_epochs=options.epochs,
            per_device_train_batch_size=8,
            learning_rate=1e-4,
            logging_steps=4,
            report_to="none",
        ),
        train_dataset=synthetic.load(options.num_images, seed=1),
        eval_dataset=synthetic.load(32, seed=2),
        processing_class=AutoProcessor.from_pretrained(path),
    )
    trainer.train()
    print(trainer.evaluate())
    trainer.save_model(options.output_dir)


if __name__ == "__main__":
    main()
