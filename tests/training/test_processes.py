"""Training on two processes, as torchrun starts them: the same losses and weights as on one, and they stop together."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.joined import on_processes, train_in_two_goes, train_interrupted
from helpers.training import (
    UNTIMED,
    caption,
    changed,
    class_recipe,
    log_rows,
    make_pictures,
    run,
    text_recipe,
    tokenizer_recipe,
    video_recipe,
)
from safetensors.torch import load_file

from grn.media import write_image
from grn.training.recipe import GeneratorRecipe, TokenizerRecipe

FAST = {"run.save_every": 2, "run.batch_size": 8, "run.accumulate": 2, "optimizer.lr": 1e-3}
RECIPES: dict[str, TokenizerRecipe | GeneratorRecipe] = {
    "tokenizer": changed(tokenizer_recipe("pictures"), FAST | {"losses.gan": 0.2, "losses.gan_start": 1}),
    "joint": changed(video_recipe("pictures", "clips"), FAST | {"data.cache": 0.0}),
    "classes": changed(class_recipe("pictures", "tokenizer"), FAST),
    "shapes": changed(
        text_recipe("captioned", "tokenizer", "words"), FAST | {"data.sizes": [[16, 16], [20, 16]], "run.ema": 0.9}
    ),
}


def test_two_processes_train_as_one_and_stop_together(place: Path, made: Path) -> None:
    shutil.copytree(made / "clips", place / "clips")
    pictures = make_pictures(place / "captioned")
    write_image(pictures / "left" / "1.png", np.zeros((20, 20, 3), np.uint8))  # a square among wide ones
    caption(pictures)
    recipes = {name: recipe.model_dump(mode="json") for name, recipe in RECIPES.items()}
    for name, recipe in RECIPES.items():
        run(recipe, Path("one") / name)
    (place / "recipes.json").write_text(json.dumps(recipes))
    first, second = on_processes(2, place, train_interrupted)
    assert first["stopped"] == second["stopped"] == 15
    assert first["checkpoints"] == second["checkpoints"] == ["step-00000002"]
    assert second["reported"] == []
    assert "run.batch_size 6 is not a multiple of the 2 processes" in first["odd"] == second["odd"]
    # Pictures leave weights alone that clips use; else every step uses all, and none is looked for.
    assert first["looks"] == {
        "tokenizer": {"model": False, "discriminator": False},
        "joint": {"model": True, "discriminator": False},
        "classes": {"model": False},
        "shapes": {"model": False},
    }
    for name in RECIPES:
        rows = [log_rows(place / run / name) for run in ("one", "two")]
        assert [row["step"] for row in rows[0]] == [row["step"] for row in rows[1]] == [1, 2, 3, 4, 5, 6]
        for alone, shared in zip(*rows, strict=True):
            same = alone.keys() - {"psnr", *UNTIMED}
            assert same == shared.keys() & same
            assert [alone[key] for key in sorted(same)] == pytest.approx(
                [shared[key] for key in sorted(same)], rel=1e-4, abs=1e-4
            )
        weights = [load_file(place / run / name / "step-00000006" / "weights.safetensors") for run in ("one", "two")]
        for key, value in weights[0].items():
            torch.testing.assert_close(weights[1][key], value, rtol=1e-3, atol=1e-4)
        assert (place / "two" / name / "final" / "model.safetensors").exists()
    made = list((place / "cache-many" / "codes").iterdir())
    assert len(made) == 2  # codes are made once for all processes: of the class folders, and of the captioned pictures


# Sharded

SHARDED: dict[str, TokenizerRecipe | GeneratorRecipe] = {
    "tokenizer": changed(RECIPES["tokenizer"], {"run.parallel": "fsdp", "losses.gan_start": 4}),
    # Packed, so that one process has more parts than the other in some steps.
    "shapes": changed(
        RECIPES["shapes"],
        {
            "run.parallel": "hybrid",
            "optimizer.decay_steps": 0,
            "optimizer.final_lr": 1.0,
            "run.accumulate": 1,
            "run.tokens_per_batch": 40,
            "run.batch_size": 7,  # 4 of them in the first process
        },
    ),
}


def test_sharded_processes_train_as_one_and_go_on_in_other_numbers(place: Path) -> None:
    pictures = make_pictures(place / "captioned")
    write_image(pictures / "left" / "1.png", np.zeros((20, 20, 3), np.uint8))
    caption(pictures)
    (place / "recipes.json").write_text(json.dumps({name: r.model_dump(mode="json") for name, r in SHARDED.items()}))
    for name, recipe in SHARDED.items():
        run(changed(recipe, {"run.parallel": "ddp"}), Path("one") / name)
    on_processes(2, place, train_in_two_goes)  # which resumes at step 4
    for name, recipe in SHARDED.items():
        shards = sorted(path.name for path in (place / "two" / name / "step-00000004" / "shards").iterdir())
        assert shards == [".metadata", "__0_0.distcp", "__1_0.distcp"]
        alone, shared = (final_weights(place / where / name) for where in ("one", "two"))
        close(alone, shared)
        assert losses(place / "one" / name) == pytest.approx(losses(place / "two" / name), abs=1e-4)
        shutil.rmtree(place / "two" / name / "step-00000006")
        rows = run(recipe, Path("two") / name)  # from two processes' step 4, on one
        assert [row["step"] for row in rows] == [5, 6]
        close(alone, final_weights(place / "two" / name))


def final_weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "final" / "model.safetensors")


def close(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    # Where a gradient is next to nothing, AdamW takes a whole step on its sign: single weights may differ, few do.
    differences = torch.cat([(value.float() - second[key].float()).abs().flatten() for key, value in first.items()])
    assert float(differences.mean()) < 1e-4
    assert float(differences.max()) < 5e-3


def losses(folder: Path) -> list[float]:
    return [row[key] for row in log_rows(folder) for key in ("l1", "loss", "discriminator") if key in row]
