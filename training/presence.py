"""Teaching a LLaVA to tell what is not there, also in wordings that it never met; its boxes stay as they are.

Only the language model learns, and of it only how an answer begins: with a box, or with "No object found." All that
follows is held to what the model said before. Words that mean nothing are put into a share of the phrases, for a phrase
in an unknown wording was taken for one of something that is there. The weights end between those learnt and those
before: there they tell what is absent as well, and box better.

Source: WiSE-FT, arXiv:2109.01903 (weights averaged with those before fine-tuning).
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from functools import cache
from typing import Any, Final, cast

import numpy as np
import torch
import torch.nn.functional as F
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from baselines.point_query import dialects
from training.loop import Schedule
from training.mllm import MllmStage
from training.scene_dialogues import DialogueBatch, DialogueDraw
from training.scene_stream import SceneSource
from workbench.datasets.grammar import read_grammar, split_words

SCHEDULE = Schedule(steps=1700, learning_rate=3e-4, warmup=40, validate_every=400)
ABSENT_SHARE: Final = 4.0
"""Of phrases: about a quarter."""
LEARNT_SHARE: Final = 0.7
"""Of the weights at the end, the rest being those before. Of 0.3, 0.5, 0.7 and 1 it told most on validation scenes of
the page and of photographs, absent and present phrases weighed alike."""
NOISY_SHARE: Final = 0.4
"""Of phrases that get words that mean nothing."""
_DRAWING: Final[Mapping[str, Any]] = {
    "per_scene": 8,
    "points_a_box": 1,
    "named_points": 0,
    "groups": 0.0,
    "longest": 520,
}
_IMAGE_AND_TURN: Final = 2
"""Segments of a dialogue that is a question for a box."""
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz'-"
_MADE_UP_SHARE: Final = 0.5
_LONGEST_WORD: Final = 8
_REPLACED: Final = frozenset(["the", "a", "an", "that", "which", "is", "are", "in", "at", "of"])
"""Words in whose place another may stand: what is meant can be read without them."""


class PresenceStage(MllmStage):
    """How answers begin; see `training.loop.Stage`. Built as its base."""

    def __init__(
        self,
        source: SceneSource,
        tokenizer: PreTrainedTokenizerFast,
        model: LlavaForConditionalGeneration,
        held_out: int,
    ) -> None:
        super().__init__(source, tokenizer, model, held_out)
        drawing = replace(cast(DialogueDraw, self.draw), **_DRAWING)
        drawing = replace(drawing, weights={**drawing.weights, "absent": ABSENT_SHARE})
        self.draw = replace(drawing, typed=with_noise)
        self.asked = {
            kind: [
                replace(drawing, source=source.held_out(kind), scene_count=16)(np.random.default_rng(1))
                for _ in range(max(1, held_out // 128))
            ]
            for kind in source.shares
        }
        model.requires_grad_(False)
        self._before = deepcopy(model).eval()
        model.model.language_model.requires_grad_(True)
        self._starts = tokenizer.convert_tokens_to_ids("<|assistant|>")
        self._rival: int = tokenizer(dialects.NO_OBJECT, add_special_tokens=False)["input_ids"][0]

    @property
    def before(self) -> LlavaForConditionalGeneration:
        """The LLaVA as it was, on the device where the one that learns is; no part of `module`, so never saved."""
        return self._before.to(self.model.device)

    def loss(self, batch: DialogueBatch) -> torch.Tensor:
        """Cross-entropy of how answers begin, and divergence of the rest from what was said before."""
        answers = self._answer(batch)
        earlier = self.before
        with torch.no_grad():
            last, _, _ = self._run(earlier, batch)
            before = earlier.lm_head(last[batch.rows, batch.before]).float()
        begins = self._begins(batch)
        kept = F.kl_div(
            answers.logits[~begins].log_softmax(-1),
            before[~begins].log_softmax(-1),
            reduction="batchmean",
            log_target=True,
        )
        return F.cross_entropy(answers.logits[begins], answers.labels[begins]) + kept

    @torch.no_grad()
    def average_with_before(self, share: float = LEARNT_SHARE) -> None:
        """Put the weights between those before and those learnt; a share of 1 leaves these."""
        for learnt, before in zip(self.model.parameters(), self.before.parameters(), strict=True):
            learnt.lerp_(before, 1 - share)

    def validate(self) -> dict[str, float]:
        """As before it, and how well absent phrases are told from present ones: the area under the curve."""
        figures = super().validate()
        for kind, batches in self.asked.items():
            scores, labels = [], []
            for each in batches:
                batch = each.to(self.model.device)
                begins = self._begins(batch)
                answers = self._answer(batch)
                scores.append(answers.logits[begins].softmax(-1)[:, self._rival].cpu())
                labels.append((answers.labels[begins] == self._rival).cpu())
            absent, present = (torch.cat(scores)[torch.cat(labels) == wanted] for wanted in (True, False))
            figures[f"{kind} absent told"] = float((absent[:, None] > present).float().mean())
        return figures

    def _begins(self, batch: DialogueBatch) -> torch.Tensor:
        """(A,) bool: whether a token begins the answer to a question for a box, which follows the image itself."""
        follows = batch.ids[batch.rows, batch.before] == self._starts
        seen = batch.sees[batch.rows, batch.owner[batch.rows, batch.columns]].sum(-1)
        begins: torch.Tensor = follows & (seen == _IMAGE_AND_TURN)
        return begins


def with_noise(text: str, rng: np.random.Generator) -> str:
    """Put one to three words that mean nothing into some phrases, between their words or in place of an article."""
    if rng.random() >= NOISY_SHARE:
        return text
    words = text.split(" ")
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(words) + 1))
        is_replaced = at < len(words) and words[at].lower() in _REPLACED
        words[at : at + is_replaced] = [_noise_word(rng)]
    return " ".join(words)


def _noise_word(rng: np.random.Generator) -> str:
    if rng.random() < _MADE_UP_SHARE:
        return "".join(rng.choice(list(_LETTERS), int(rng.integers(1, _LONGEST_WORD))))
    said = _words_around()
    return said[int(rng.integers(len(said)))]


@cache
def _words_around() -> tuple[str, ...]:
    """Return the words of the sentences that stand around phrases in training."""
    frames = [frame for frames in read_grammar().frames for frame in frames if not frame.is_held_out]
    return tuple(sorted({word for frame in frames for word in split_words(frame.text.replace("{x}", " "))}))
