"""HEIE on an InternVL backbone (arXiv 2411.17261, Figure 2): the parts put together."""

import torch
from torch import nn
from transformers import InternVLForConditionalGeneration
from transformers import initialization as init
from transformers.conversion_mapping import get_checkpoint_conversion_mapping, register_checkpoint_conversion_mapping
from transformers.generation import LogitsProcessorList
from transformers.modeling_utils import slice_logits_to_keep
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from .configuration_heie import HEIEConfig
from .decoding_heie import JumpingDecoder, can_jump
from .fusion_heie import HeatmapFuser, join_patches, to_patch_order
from .generation_heie import (
    ChainOfThoughtLogitsProcessor,
    StateTrace,
    check_generation_arguments,
    check_generation_config,
    template_without_text,
)
from .losses_heie import laplace_nll, lm_loss, quality_focal_loss, score_loss
from .mapper_heie import ImplausibilityMapper, MapOutput
from .outputs_heie import HEIEAssessment, HEIEGenerateOutput, HEIEOutput
from .scorer_heie import VerisimilitudeScorer
from .weight_files_heie import WholeWeights

# A new model_type does not inherit the renames that InternVL's checkpoints need; without them lm_head stays random.
register_checkpoint_conversion_mapping("heie", get_checkpoint_conversion_mapping("internvl"), overwrite=True)


class HEIEForImplausibility(WholeWeights, InternVLForConditionalGeneration):
    """Heatmap, score and explanation of what is implausible in an image.

    The language model writes the chain of thought; the mapper turns the states of its map tokens and the raw vision
    features into one heatmap per patch (Eq. 1), the fuser joins and averages them (Eq. 2, 3), and the scorer reads the
    state of the score token and the fused heatmap.
    """

    config: HEIEConfig
    config_class = HEIEConfig
    # Stay in float32 beside a float16 backbone; every quantiser leaves these modules as they are, too.
    _keep_in_fp32_modules = ["mapper", "scorer"]
    _no_split_modules = ["ImplausibilityMapper", "VerisimilitudeScorer"]  # beside those of the backbone

    def __init__(self, config: HEIEConfig):
        super().__init__(config)
        text_size, vision_size = config.text_config.hidden_size, config.vision_config.hidden_size
        self.mapper = ImplausibilityMapper(config.mapper_config, text_size, vision_size)
        self.fuser = HeatmapFuser(config.fusion, config.uncertainty)
        self.scorer = VerisimilitudeScorer(config.scorer_config, text_size, config.score_source, config.calibration)
        self.loss_type = "ForConditionalGeneration"  # Trainer counts shifted labels by it; the class name hides it
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, MapOutput):
            # Heatmaps start almost empty, as the targets are: p = 0.02 and s = 0.1.
            init.copy_(module.bias, torch.tensor([-4.0, -2.3]))
        elif isinstance(module, HeatmapFuser) and module.fusion == "learned":
            init.zeros_(module.local_logit)
        elif isinstance(module, VerisimilitudeScorer) and module.weighted:
            init.zeros_(module.token_logit)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        pixel_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        mm_encoder_outputs: dict[str, ModelOutput] | None = None,
        num_patches: torch.LongTensor | None = None,
        patch_grid: torch.LongTensor | None = None,
        heatmap_labels: torch.Tensor | None = None,
        score_labels: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        num_heatmap_cells: torch.Tensor | int | None = None,
        num_scores: torch.Tensor | int | None = None,
        **kwargs,
    ) -> tuple | HEIEOutput:
        """One pass over prompt and answer; without map tokens in `input_ids` it is the backbone's alone.

        Args:
            pixel_values: (P, 3, S, S), per image its N_i patches row by row, then the thumbnail.
            num_patches: (B,) N_i + 1.
            patch_grid: (B, 2) columns and rows.
            heatmap_labels: (P, h, w) in [0, 1], cut as the image was, thumbnail last; NaN where unknown.
            score_labels: (B,) in [0, 1], 1 = plausible; NaN where unknown.
            num_items_in_batch, num_heatmap_cells, num_scores: how many label tokens, heatmap cells and scores the
                optimiser step has in all its batches and processes; None counts this batch.
            kwargs: for the backbone, such as the key-value cache (`past_key_values`, from Transformers 5.24 `cache`).

        Raises:
            ValueError: if a row has not exactly its N_i + 1 map tokens and one score token.
        """
        if pixel_values is not None and mm_encoder_outputs is None:
            mm_encoder_outputs = {"image": self.get_image_features(pixel_values, return_dict=True)}
        backbone = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            mm_encoder_outputs=mm_encoder_outputs,
            **kwargs,
        )
        states = backbone.last_hidden_state  # (B, L, D)
        logits = self.lm_head(slice_logits_to_keep(states, logits_to_keep))
        losses = {}
        if labels is not None:
            losses["lm"] = lm_loss(logits, labels, num_items_in_batch)
        assessment = {}
        if num_patches is not None and self._has_answer(input_ids):
            features = mm_encoder_outputs["image"].last_hidden_state
            assessment = self.assess_states(states, input_ids, features, num_patches, patch_grid)
            if heatmap_labels is not None:
                losses |= self.heatmap_losses(assessment, heatmap_labels, patch_grid, num_heatmap_cells)
            if score_labels is not None:
                scores = [assessment.score, assessment.token_score, assessment.map_score]
                losses["score"] = score_loss(scores, score_labels, num_scores)
        named_losses = {f"{name}_loss": loss for name, loss in losses.items()}
        return HEIEOutput(loss=self._weighted_sum(losses), logits=logits, **backbone, **assessment, **named_losses)

    def _weighted_sum(self, losses: dict[str, torch.Tensor]) -> torch.Tensor | None:
        """None where no labels were given."""
        if not losses:
            return None
        return sum(self.config.loss_weights[name] * loss for name, loss in losses.items())

    def _has_answer(self, input_ids: torch.LongTensor | None) -> bool:
        """Whether there are map tokens to read: a prompt alone has none."""
        if input_ids is None or self.config.map_token_id is None:
            return False
        return bool((input_ids == self.config.map_token_id).any())

    def assess_states(
        self,
        states: torch.Tensor,
        token_ids: torch.LongTensor,
        features: torch.Tensor,
        num_patches: torch.LongTensor,
        patch_grid: torch.LongTensor,
    ) -> HEIEAssessment:
        """Mapper, fuser and scorer over the states (B, L, D) AT the map and score tokens among `token_ids` (B, L).

        `features` are the raw vision states (P, 1 + side², D_v), CLS first.
        """
        counts = num_patches.tolist()
        dtype = next(self.mapper.parameters()).dtype  # of the heads, see _keep_in_fp32_modules
        map_states, score_states = self._select_states(states.to(dtype), token_ids, counts)
        patch_features = features[:, 1:].to(dtype)  # (P, side², D_v)
        logits, log_deviation = self.mapper(map_states, patch_features)
        fused = self.fuser(logits, log_deviation, counts, patch_grid.tolist())
        heatmap = [maps.fused for maps in fused]
        score, token_score, map_score = self.scorer(score_states, heatmap)
        return HEIEAssessment(
            heatmap=heatmap,
            local_heatmap=[maps.local_map for maps in fused],
            global_heatmap=[maps.global_map for maps in fused],
            uncertainty=[maps.deviation for maps in fused],
            score=score,
            token_score=token_score,
            map_score=map_score,
            patch_logits=logits,
            patch_log_deviation=log_deviation,
            score_states=score_states,
        )

    def _select_states(
        self, states: torch.Tensor, token_ids: torch.LongTensor, num_patches: list[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """States of the map tokens, (P, D) in patch order (thumbnail last), and of the score tokens, (B, D)."""
        map_ids = [self.config.map_token_id, *self.config.local_map_token_ids]
        is_map = torch.isin(token_ids, torch.tensor(map_ids, device=token_ids.device))
        is_score = token_ids == self.config.score_token_id
        found = [is_map.sum(dim=1).tolist(), is_score.sum(dim=1).tolist()]
        if found != [num_patches, [1] * len(num_patches)]:
            raise ValueError(
                f"every row needs N + 1 = {num_patches} map tokens and one score token, not {found[0]} and {found[1]}"
            )
        return states[is_map][to_patch_order(num_patches, states.device)], states[is_score]

    def heatmap_losses(
        self,
        assessment: HEIEAssessment,
        labels: torch.Tensor,
        patch_grid: torch.LongTensor,
        count: torch.Tensor | int | None = None,
    ) -> dict[str, torch.Tensor]:
        """Focal loss on local, global and fused maps and Laplace NLL (Eq. 3) on local and global ones, per cell."""
        if count is None:
            count = (~labels.isnan()).sum().clamp(min=1)
        gamma = self.config.focal_gamma
        logits = assessment.patch_logits  # (P, h, w)
        focal = quality_focal_loss(logits, labels, gamma, count)
        grids = patch_grid.tolist()
        patches_per_image = [columns * rows + 1 for columns, rows in grids]
        labels_per_image = labels.split(patches_per_image)
        for heatmap, image_labels, (columns, rows) in zip(assessment.heatmap, labels_per_image, grids, strict=True):
            target = join_patches(image_labels[:-1], columns, rows)  # (rows * h, columns * w)
            focal = focal + quality_focal_loss(heatmap.logit(eps=1e-6), target, gamma, count)
        laplace = laplace_nll(logits.sigmoid(), assessment.patch_log_deviation, labels, count)
        return {"heatmap": focal, "laplace": laplace}

    @torch.no_grad()
    def assess(
        self,
        input_ids: torch.LongTensor,
        attention_mask: torch.Tensor,
        num_patches: torch.LongTensor,
        patch_grid: torch.LongTensor,
        **inputs,
    ) -> HEIEOutput:
        """Heatmap and score without text: one forward pass over the prompt and the chain of thought left empty.

        Takes what the processor returns for images; the answer is padded on the right, hence the mask.
        """
        answers = [torch.tensor(template_without_text(self.config, count)) for count in num_patches.tolist()]
        template, mask = (
            nn.utils.rnn.pad_sequence(rows, batch_first=True).to(input_ids.device)
            for rows in (answers, [torch.ones_like(answer) for answer in answers])
        )
        return self(
            input_ids=torch.cat([input_ids, template], dim=1),
            attention_mask=torch.cat([attention_mask, mask], dim=1),
            num_patches=num_patches,
            patch_grid=patch_grid,
            logits_to_keep=1,
            use_cache=False,
            **inputs,
        )

    @torch.no_grad()
    def generate(
        self,
        input_ids: torch.LongTensor,
        num_patches: torch.LongTensor,
        patch_grid: torch.LongTensor,
        pixel_values: torch.Tensor | None = None,
        mm_encoder_outputs: dict[str, ModelOutput] | None = None,
        generation_config=None,
        logits_processor: LogitsProcessorList | None = None,
        **kwargs,
    ) -> torch.LongTensor | HEIEGenerateOutput:
        """Write the chain of thought for a left-padded batch; greedy by default, sampling as in Transformers.

        The grammar is enforced: description, regions, N_i + 1 map tokens, analysis, score token, end. The section
        budgets come from `config.section_max_tokens`, shrunk if `max_new_tokens` asks for less.

        Returns:
            token ids (B, L) with the prompt, or with `return_dict_in_generate=True` a [`HEIEGenerateOutput`], whose
            heatmap and score are read from the states traced while decoding.

        Raises:
            ValueError: for ways to decode that step over the grammar, such as beams, several sequences per image,
                assistants or stop strings; and where `max_new_tokens` is too small.
        """
        check_generation_arguments(kwargs)
        max_length = kwargs.pop("max_length", None) or getattr(generation_config, "max_length", None)
        generation_config, inputs = self._prepare_generation_config(generation_config, **kwargs)
        check_generation_config(generation_config)
        if mm_encoder_outputs is None:
            mm_encoder_outputs = {"image": self.get_image_features(pixel_values, return_dict=True)}
        limit, prompt_length = generation_config.max_new_tokens, input_ids.shape[1]
        if limit is None and max_length is not None:
            limit = max_length - prompt_length
        grammar = ChainOfThoughtLogitsProcessor(self.config, num_patches.tolist(), limit)
        generation_config.update(
            max_length=None, max_new_tokens=grammar.max_new_tokens, eos_token_id=grammar.eos_token_id
        )
        trace = StateTrace()
        outputs = super().generate(
            input_ids=input_ids,
            mm_encoder_outputs=mm_encoder_outputs,
            generation_config=generation_config,
            logits_processor=LogitsProcessorList([*(logits_processor or []), grammar]),
            state_trace=trace,
            **inputs,
        )
        if not generation_config.return_dict_in_generate:
            return outputs
        states = trace.stack()  # (B, T, D)
        token_ids = outputs.sequences[:, prompt_length : prompt_length + states.shape[1]]
        features = mm_encoder_outputs["image"].last_hidden_state
        assessment = self.assess_states(states, token_ids, features, num_patches, patch_grid)
        assessment.score = assessment.score.masked_fill(grammar.gave_nan, torch.nan)  # its text is none, either
        return HEIEGenerateOutput(**outputs, **assessment)

    def _sample(
        self,
        input_ids: torch.LongTensor,
        logits_processor: LogitsProcessorList,
        stopping_criteria,
        generation_config,
        synced_gpus: bool = False,
        streamer=None,
        **model_kwargs,
    ):
        """Literals as chunks; Transformers' own loop where that is asked for more than the tokens, see `can_jump`."""
        if can_jump(self.config, generation_config, len(input_ids), synced_gpus):
            decoder = JumpingDecoder(self, input_ids, logits_processor, generation_config, streamer, model_kwargs)
            return decoder.run()
        return super()._sample(
            input_ids, logits_processor, stopping_criteria, generation_config, synced_gpus, streamer, **model_kwargs
        )

    def prepare_inputs_for_generation(
        self, input_ids: torch.LongTensor, past_key_values=None, cache=None, state_trace=None, **kwargs
    ) -> dict:
        """`generate` takes the arguments that are named here; the cache has its second name from Transformers 5.24."""
        if past_key_values is not None:
            kwargs["past_key_values"] = past_key_values
        if cache is not None:
            kwargs["cache"] = cache
        return super().prepare_inputs_for_generation(input_ids, **kwargs)

    def _update_model_kwargs_for_generation(self, outputs: ModelOutput, model_kwargs: dict, **kwargs) -> dict:
        model_kwargs["state_trace"].append(outputs.last_hidden_state[:, -1:])
        return super()._update_model_kwargs_for_generation(outputs, model_kwargs, **kwargs)


__all__ = ["HEIEForImplausibility"]
