"""What `Trainer` uploads to the Hub, made a repository of HEIE: its code and its card, and no pickle."""

from pathlib import Path

from transformers import Trainer
from transformers.trainer import TRAINING_ARGS_NAME

from heie_hf.hub.card import METRICS, CardFacts, origin, render_card
from heie_hf.hub.repository import add_code, leave_out


class PublishedModels(Trainer):
    """`push_to_hub` with HEIE's card and the code that the model needs where heie-hf is not installed."""

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """As in `Trainer`; all uploads leave out training_args.bin, which is a pickle."""
        super().init_hf_repo(token, private)
        if self.is_world_process_zero():
            leave_out(TRAINING_ARGS_NAME, self.args.output_dir)

    def create_model_card(
        self, license=None, tags=None, model_name=None, finetuned_from=None, dataset=None, **kwargs
    ) -> None:
        """The last step of `push_to_hub` before it uploads the output folder: HEIE's card, and the code beside it.

        The figures of the last evaluation are in the card where `compute_metrics` names them as `heie evaluate` does.
        """
        if not self.is_world_process_zero():
            return
        facts = CardFacts(
            repo_id=self.hub_model_id or model_name,
            license=license,
            base_model=finetuned_from or origin(self.model),
            datasets=_as_list(dataset),
            metrics=self._last_figures(),
            tags=_as_list(tags),
        )
        folder = Path(self.args.output_dir)
        add_code(folder)
        render_card(folder, facts).save(folder / "README.md")

    def _last_figures(self) -> dict[str, float] | None:
        """What was logged last under each name; None if none of it is a figure of `heie evaluate`."""
        figures = {}
        for entry in self.state.log_history:
            for name, value in entry.items():
                if value == value:  # not NaN
                    figures[name.removeprefix("eval_")] = value
        return figures if METRICS.keys() & figures.keys() else None


def _as_list(names: str | list[str] | None) -> list[str]:
    return [names] if isinstance(names, str) else names or []
