"""Every stage runs from drawn scenes to a checkpoint that the suite's own loaders take, in a few steps."""

from pathlib import Path

import numpy as np
import pytest
import torch

from baselines.clip.text import load_strategy as load_clip_text
from baselines.point_query.strategy import load_strategy as load_point_query
from evfsam.errors import CheckpointError
from evfsam.model.strategy import load_strategy as load_evf_sam
from evfsam.types import ImageView
from training import clip, finetune, mllm, pretrain, projector, sam
from training.recipes import STAGES, Places
from training.scene_cache import SceneCache
from workbench.datasets.scenes import scene, split_seeds

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Places:
    folder = tmp_path_factory.mktemp("training")
    places = Places(folder / "work", folder / "out", scene_count=8, held_out_count=8, steps=1)
    with pytest.MonkeyPatch.context() as patch:
        for stage in (finetune, mllm, pretrain, projector, sam):
            patch.setattr(stage, "SCENES_A_STEP", 2)
        patch.setattr(clip, "BATCH", 2)
        for train in STAGES.values():
            torch.manual_seed(0)
            train(places)
    return places


def test_the_three_strategies_load_and_share_one_embedding(trained: Places) -> None:
    options = {"device": "cpu", "dtype": torch.float32}
    strategies = [
        load_evf_sam(trained.out / "evf-sam", **options),
        load_clip_text(trained.out / "clip-text", **options),
        load_point_query(trained.out / "point-query", **options),
    ]
    view = ImageView(np.ascontiguousarray(scene(0).image))
    view.embedding(strategies[0].backbone)
    for strategy in strategies:
        assert view.embedding(strategy.backbone)[1], strategy.card.key
        assert strategy.segment(view, "the fox").mask_logits.shape == (256, 256)


def test_every_checkpoint_has_a_card_with_its_measured_figures(trained: Places) -> None:
    cards = [
        trained.out / name / "README.md" for name in ("evf-sam", "clip-text", "point-query/sam", "point-query/mllm")
    ]
    for card in cards:
        text = card.read_text()
        assert "1 steps" in text
        assert "| figure | value |" in text


def test_files_are_stored_as_float16_and_stay_under_ten_megabytes(trained: Places) -> None:
    files = list(trained.out.rglob("*.safetensors"))
    assert len(files) == 4
    assert max(file.stat().st_size for file in files) < 10_000_000


def test_a_stage_without_what_it_reads_names_the_stage_to_run_first(tmp_path: Path) -> None:
    places = Places(tmp_path / "work", tmp_path / "out", scene_count=4, held_out_count=4, steps=1)
    with pytest.raises(CheckpointError, match="python -m training pretrain"):
        STAGES["finetune"](places)


def test_cached_scenes_are_the_drawn_ones(tmp_path: Path) -> None:
    cache = SceneCache(tmp_path, "val", 3, chunk_size=3, workers=1)
    drawn = scene(split_seeds("val").start + 2, per_kind=3)
    assert np.array_equal(cache[2].image, drawn.image)
    assert cache[2].expressions == drawn.expressions
    for expression in drawn.expressions:
        assert np.array_equal(cache[2].mask(expression.object_indices), drawn.mask(expression))


def test_a_cache_draws_only_the_chunks_it_lacks(tmp_path: Path) -> None:
    SceneCache(tmp_path, "val", 4, chunk_size=2, workers=1)
    kept, lost = (next(tmp_path.rglob(f"0000{chunk}.json")) for chunk in (0, 1))
    kept.write_text(kept.read_text().replace("the ", "das "))
    lost.unlink()
    cache = SceneCache(tmp_path, "val", 4, chunk_size=2, workers=1)
    assert any("das " in e.text for e in cache[0].expressions)
    assert len(cache[3].expressions) > 0
