"""Training as the trainer does it, data included: `python benchmarks/train.py [CHECKOUT] [--depth 1] [--batch 2] [--steps 4] [--only grn-b,text]`.

For GRN-B, GRN-L and the text network of the paper's recipes, with fewer blocks, on one process and on two (gloo, each with a
thread): samples and tokens a second, share of the measured peak of matrix products, share of the time that data were waited for.
The text network's two processes hold half of its weights each, as its recipe says: gathering them takes a third more work on a
processor, and a step of it about 4 s of each core. Pictures are noise, whose codes a tiny tokenizer makes first. With a checkout
of the published code (MGenAI/GRN), its training step of GRN-B and ours, whole, in turns. Exits 1 where data hold the device up for
more than a twentieth of the time, or ours is slower.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from grn.media import write_image
from grn.networks.autoencoder import CausalAutoencoder
from grn.networks.autoencoder_config import TokenizerConfig
from grn.networks.class_to_image import ClassToImage
from grn.networks.generator_config import ClassToImageConfig
from grn.networks.text_to_visual import TextToVisual
from grn.text.word_vectors import StaticWordVectors, StaticWordVectorsConfig
from grn.tokenizer import Tokenizer, save_tokenizer
from grn.training.engine import Engine
from grn.training.figures import Meter, matmul_peak
from grn.training.generator import GeneratorTask
from grn.training.loader import load_parts
from grn.training.loop import Loop
from grn.training.recipe import GeneratorRecipe, load_recipe

RECIPES = Path(__file__).parents[1] / "recipes" / "paper"
NAMES = {"grn-b": "grn-b", "grn-l": "grn-l", "text": "grn-t2i-256"}
WARM = 2  # steps before those that count
WORDS = 64  # channels of the text encoder


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, nargs="?")
    parser.add_argument("--only", default=",".join(NAMES), help="which networks")
    parser.add_argument("--depth", type=int, default=1, help="blocks of each network")
    parser.add_argument("--batch", type=int, default=2, help="samples a step, over all processes")
    parser.add_argument("--steps", type=int, default=4, help="that are measured")
    parser.add_argument("--small", action="store_true", help="a batch of one beside the published code")
    parser.add_argument("--json", action="store_true", help="one object a line")
    options = parser.parse_args()
    folder = os.environ.get("TRAIN_BENCHMARK")
    if folder is not None:
        _measure(options, Path(folder))
        return 0
    failed = False
    with _data() as place:
        for name in options.only.split(","):
            for processes in (1, 2):
                failed |= _launched(name, processes, options, place)["data_wait"] > 0.05
    if options.checkout is not None:
        line = [sys.executable, str(Path(__file__).with_name("published.py")), str(options.checkout)]
        line += ["--only", "training", "--json", "--runs", "3", *(["--small"] if options.small else [])]
        row = json.loads(subprocess.run(line, check=True, capture_output=True, text=True).stdout)
        failed |= row["ratio"] < 1
        if not options.json:
            print(
                f"GRN-B, whole: published {row['published_ms']:.0f} ms, ours {row['ours_ms']:.0f} ms, {row['ratio']:.2f} times"
            )
        else:
            print(json.dumps(row))
    return int(failed)


@contextmanager
def _data() -> Iterator[Path]:
    """Captioned pictures in class folders, a tokenizer for each number of channels and a text encoder."""
    with TemporaryDirectory() as name:
        folder, random = Path(name), np.random.default_rng(0)
        for number in range(64):
            path = folder / "pictures" / ("left" if number % 2 else "right") / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, random.integers(0, 255, (256, 256, 3), dtype=np.uint8))
        for number in range(64):
            side = "left" if number % 2 else "right"
            (folder / "captions" / side).mkdir(parents=True, exist_ok=True)
            (folder / "captions" / side / f"{number}.png").symlink_to(folder / "pictures" / side / f"{number}.png")
            (folder / "captions" / side / f"{number}.txt").write_text(side)
        for channels in (16, 64):
            network = TokenizerConfig.tiny().model_copy(update={"channels": channels, "rounds": 4})
            save_tokenizer(folder / f"tokenizer-{channels}", CausalAutoencoder(network), "tiny")
        vectors = torch.randn(2, WORDS)
        StaticWordVectors(StaticWordVectorsConfig(dim=WORDS, rows=2), ["left", "right"], vectors).save(folder / "words")
        yield folder


def _recipe(name: str, options: argparse.Namespace, folder: Path) -> GeneratorRecipe:
    """The paper's recipe with the depth, the batch and the data of this benchmark."""
    text = name == "text"
    changes = {
        "network.depth": options.depth, "run.steps": WARM + options.steps, "run.batch_size": options.batch,
        "run.accumulate": 1, "run.compile": "auto" if torch.cuda.is_available() else "off", "data.workers": 0,
        "tokenizer": folder / f"tokenizer-{64 if text else 16}",
        "data.sources": f'[{{path="{folder / ("captions" if text else "pictures")}"}}]',
    }  # fmt: skip
    if text:
        changes |= {"text_encoder": folder / "words", "network.text_width": WORDS}
    else:
        changes["network.context_start"] = 1
    recipe = load_recipe(RECIPES / f"{NAMES[name]}.toml", [f"{key}={value}" for key, value in changes.items()])
    assert isinstance(recipe, GeneratorRecipe)
    return recipe


def _launched(name: str, processes: int, options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Train in so many processes of their own, and print what the first one says."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    given = ["--only", name, *(f"--{key}={getattr(options, key)}" for key in ("depth", "batch", "steps"))]
    place = os.environ | {"TRAIN_BENCHMARK": str(folder), "GRN_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, *launcher, __file__, *given]
    said = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True, env=place).stdout
    row: dict[str, float] = json.loads(said)
    if options.json:
        print(json.dumps({"network": name, "processes": processes, **row}), flush=True)
    else:
        print(
            f"{name:6} {processes} process{'es' if processes > 1 else '':2} {row['samples_per_s']:8.2f} samples/s "
            f"{row['tokens_per_s']:9.0f} tokens/s {row['peak_share']:6.1%} of the peak {row['data_wait']:6.2%} waited for data",
            flush=True,
        )
    return row


def _measure(options: argparse.Namespace, folder: Path) -> None:
    """What each process does; the first one prints its figures."""
    recipe = _recipe(options.only, options, folder)
    engine = Engine(recipe.run.parallel)
    torch.manual_seed(0)
    if isinstance(recipe.network, ClassToImageConfig):
        network: ClassToImage | TextToVisual = ClassToImage(recipe.network)
        text = None
    else:
        network, text = TextToVisual(recipe.network), StaticWordVectors.load(folder / "words")
    share = engine.processes, engine.process
    task = GeneratorTask(recipe, network, Tokenizer.from_pretrained(recipe.tokenizer), text, share=share)
    loop = Loop(task, recipe, folder / "run", engine)
    dtype = torch.bfloat16 if recipe.run.lowered(engine.device.type) else torch.float32
    meter = Meter(recipe.run.steps, matmul_peak(engine.device, dtype))
    for parts, waited in load_parts(task, recipe.run, recipe.data, 0, engine.device, share, lambda _: None):
        totals, operations = loop.train_step(parts)
        meter.add(totals, options.batch // engine.processes, sum(p.batch.tokens for p in parts), operations, waited)
        loop.step += 1
        if loop.step == WARM:
            meter.take(loop.step, engine.device)
    _, speed = meter.take(loop.step, engine.device, engine.processes)
    if engine.first:
        print(json.dumps(speed))


if __name__ == "__main__":
    sys.exit(main())
