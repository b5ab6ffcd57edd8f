"""Checkpoints from which a run goes on exactly: whole or not there, and with every tensor."""

import os
import shutil

import torch
from transformers import Trainer
from transformers.trainer import TRAINER_STATE_NAME, TRAINING_ARGS_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints

from heie_hf.training.writing import whole_draft

UNFINISHED = "_unfinished"  # what is being written is in here; uploads leave out names that begin with "_"


class WholeCheckpoints(Trainer):
    """What `Trainer` (5.23) lacks for a resumed run to be the run that was not interrupted."""

    def _save_checkpoint(self, model, trial) -> None:
        """As in `Trainer`, but the checkpoint gets its name when all processes have written everything.

        So `resume_from_checkpoint=True` never sees one that a killed run left half-written.

        Raises:
            OSError: if it cannot be written, naming the checkpoint; nothing of it is left.
        """
        run_dir = self._get_output_dir(trial)
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        draft = os.path.join(run_dir, UNFINISHED, name)
        final = os.path.join(run_dir, name)
        if self.args.should_save:
            shutil.rmtree(os.path.dirname(draft), ignore_errors=True)  # what a killed run left
        self.accelerator.wait_for_everyone()
        with whole_draft(os.path.dirname(draft), final, self.args.should_save):
            self._write_checkpoint(model, trial)
            if self.state.best_model_checkpoint == draft:
                self.state.best_model_checkpoint = final
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                self.state.save_to_json(os.path.join(draft, TRAINER_STATE_NAME))  # again: it names the best checkpoint
                _publish(draft, final)
        if self.args.should_save:
            rotate_checkpoints(run_dir, self.args.save_total_limit, self.state.best_model_checkpoint, use_mtime=True)
        self.accelerator.wait_for_everyone()
        if self.args.push_to_hub:
            self._push_from_checkpoint(final)

    def _write_checkpoint(self, model, trial) -> None:
        self._is_saving = True
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self._is_saving = False

    _is_saving = False

    def _get_output_dir(self, trial) -> str:
        run_dir = super()._get_output_dir(trial)
        return os.path.join(run_dir, UNFINISHED) if self._is_saving else run_dir

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if not self._is_saving:  # the upload goes on in the background, and the draft will be renamed
            super()._push_from_checkpoint(checkpoint_folder)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """As in `Trainer`, but with the model's own key names.

        `save_pretrained` writes InternVL's older key names by default, and a resumed `Trainer` loads with
        strict=False: it would leave out the whole backbone without a word.
        """
        if not self.args.should_save:
            return
        output_dir = output_dir or self.args.output_dir
        os.makedirs(output_dir, exist_ok=True)
        model = self.accelerator.unwrap_model(self.model)
        model.save_pretrained(output_dir, state_dict=state_dict, save_original_format=False)
        self.processing_class.save_pretrained(output_dir)
        torch.save(self.args, os.path.join(output_dir, TRAINING_ARGS_NAME))


def _publish(draft: str, final: str) -> None:
    """Rename, with what stood there before (of an earlier run into the same folder) moved out of the way."""
    drafts = os.path.dirname(draft)
    if os.path.exists(final):
        os.rename(final, os.path.join(drafts, "replaced"))
    os.rename(draft, final)
    shutil.rmtree(drafts)
