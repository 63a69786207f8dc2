"""One command for a borrowed GPU: train from a pack (pack.py), and write what came of it in files of at most 16 MB.

    python pack/code/recipes/emoji/gpu_run.py --pack pack --out OUT --tokenizer 6 --decoder 2
    python pack/code/recipes/emoji/gpu_run.py --pack pack --out OUT --generator 8

Stages, each so many minutes, in this order: --compare, variants of the tokenizer, each equally long (--variants NAME:KEY=VALUE, several settings
joined by ";"); --tokenizer, the joint tokenizer; --decoder, its decoder alone with the discriminator; --generator, on the newest
tokenizer. Runs lie in --runs, which a later command on the same machine goes on from; the same stage with more minutes goes on, too. Data of the
tokenizer's stages are read once. A stage that fails says so, and the next ones are tried all the same: OUT then holds what there is. The
packed packages and code are used as they lie: nothing is installed.
"""

import argparse
import os
import shlex
import shutil
import sys
import time
import traceback
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what the pack holds can be imported only once it is known where it lies
    from resident_tokenizer import Data

HERE = Path(__file__).resolve().parent
MOST = 16_000_000  # bytes of a file that is carried back
_DEFAULT_VARIANTS = (
    "c16",
    "c32:network.channels=32",
    "c64:network.channels=64",
    "wide:network.decoder_width=160;network.decoder_blocks=3",
)


def find_packages(pack: Path) -> None:
    """Let Python find what the pack holds, for this process and those it starts; what is not in it is looked for where it always is."""
    if (pack / "site.zip").is_file() and not (pack / "site").is_dir():
        with zipfile.ZipFile(pack / "site.zip") as archive:
            archive.extractall(pack / "site")
    places = [pack / "site", pack / "features", HERE, HERE.parents[1]]
    sys.path[:0] = [str(place) for place in places if place.is_dir()]
    os.environ["PYTHONPATH"] = os.pathsep.join([*map(str, places), os.environ.get("PYTHONPATH", "")])


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="what is carried back")
    parser.add_argument("--runs", type=Path, default=Path("runs/gpu"), help="checkpoints, for a later command")
    parser.add_argument("--compare", type=float, default=0.0, help="minutes of each variant")
    parser.add_argument("--variants", nargs="+", default=list(_DEFAULT_VARIANTS), metavar="NAME:KEY=VALUE;...")
    parser.add_argument("--tokenizer", type=float, default=0.0, help="minutes")
    parser.add_argument("--decoder", type=float, default=0.0, help="minutes")
    parser.add_argument("--generator", type=float, default=0.0, help="minutes")
    parser.add_argument("--from-tokenizer", help="tokenizer of --decoder and --generator; else the newest of --runs")
    parser.add_argument("--init", help="tokenizer that --tokenizer starts from; else from nothing")
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="of the tokenizer's recipe"
    )
    parser.add_argument("--set-generator", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--names", choices=["train", "all"], default="all", help="of the generator")
    parser.add_argument("--batch", type=int, default=256, help="crops of pictures a step")
    parser.add_argument("--clip-batch", type=int, default=32, help="crops of clips a step")
    parser.add_argument("--scenes", type=int, default=16_000, help="composed for the tokenizer")
    parser.add_argument("--generator-scenes", type=int, default=400_000)
    parser.add_argument("--generator-batch", type=int, default=768)
    parser.add_argument(
        "--generator-options",
        default="",
        metavar="OPTIONS",
        help='more of resident_generator.py, as "--alone 0.3 --common 0.7"',
    )
    parser.add_argument("--words", type=Path, help="folder of the word vectors; else the pack's, or the checkout's")
    parser.add_argument("--compile", action="store_true", help="torch.compile, given up where it fails")
    parser.add_argument("--measure-every", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default=None, help="else a GPU where there is one")
    return parser.parse_args(argv)


class Session:
    """The stages of one command."""

    def __init__(self, options: argparse.Namespace) -> None:
        import torch

        self.options = options
        self.device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.failed: list[str] = []
        self._data: Data | None = None
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True

    def stage(self, name: str, run: Callable[[], None]) -> None:
        """Run one stage; a failure is printed, and does not end the others."""
        begin = time.perf_counter()
        print(f"== {name}", flush=True)
        try:
            run()
        except Exception:  # a borrowed machine's time is short: the other stages must have their chance
            traceback.print_exc()
            self.failed.append(name)
        self.carry()  # now: the next stage may run into the lender's limit
        print(f"== {name} took {time.perf_counter() - begin:.0f} s", flush=True)

    def tokenizer_options(self, name: str, minutes: float, sets: list[str]) -> argparse.Namespace:
        """The command line of resident_tokenizer.py."""
        import resident_tokenizer

        pack, options = self.options.pack, self.options
        heldout = [f"{kind}={pack / f'heldout-{kind}.tar.xz'}" for kind in ("emoji", "photos", "clips")]
        common = [f"run.batch_size={options.batch}", *options.set, *sets]
        return resident_tokenizer.parse([
            str(HERE / "joint-pack.toml"), "-o", str(options.runs / name), "--minutes", str(minutes),
            "--sprites", str(pack / "sprites.tar.xz"), "--scenes", str(options.scenes), "--device", self.device,
            "--data", str(pack), "--clip-batch", str(options.clip_batch), "--measure-every", str(options.measure_every),
            "--processes", str(options.processes), "--heldout", *heldout, *(f"--set={one}" for one in common),
        ])  # fmt: skip

    def tokenizer(self, name: str, minutes: float, sets: list[str]) -> None:
        """Train one tokenizer; its data are read by the first."""
        import resident_tokenizer as resident

        for compiled in [True, False] if self.options.compile else [False]:
            options = self.tokenizer_options(name, minutes, [*sets, f"run.compile={'on' if compiled else 'off'}"])
            device = resident.torch.device(self.device)
            recipe = resident.read_recipe(options.recipe, options.set)
            if self._data is None:
                self._data = resident.read_data(options, recipe, device)
            try:
                resident.fit(recipe, self._data, options, device)
                return
            except Exception:
                if not compiled:
                    raise
                traceback.print_exc()
                print("not compiled from here on", flush=True)

    def newest(self) -> str:
        """The tokenizer that --decoder and --generator take."""
        given = self.options.from_tokenizer
        found = [self.options.runs / name / "final" for name in ("decoder", "tokenizer")]
        return given or str(next((path for path in found if path.is_dir()), found[-1]))

    def decoder(self, minutes: float) -> None:
        """The decoder alone, with the discriminator, from the tokenizer's weights."""
        given = self.options.from_tokenizer or str(self.options.runs / "tokenizer" / "final")
        self.tokenizer("decoder", minutes, [
            "decoder_only=true", f"run.init={given}", "losses.gan=0.6", "losses.gan_start=400", "losses.gan_lr=2e-4",
            "losses.perceptual=0.05", "optimizer.lr=3e-4", "optimizer.warmup_steps=100",
        ])  # fmt: skip

    def generator(self, minutes: float) -> None:
        """The generator of pictures and clips, on the newest tokenizer."""
        import resident_generator

        options, pack = self.options, self.options.pack
        packed = pack / "words"
        words = options.words or (
            packed if packed.is_dir() else HERE.parents[1] / "grn/models/embedded/emoji/text_encoder"
        )
        tokenizer = self.newest()
        sets = [f"tokenizer={tokenizer}", f"text_encoder={words}", f"run.batch_size={options.generator_batch}"]
        sets += [f"network.channels={channels(tokenizer)}", *options.set_generator]
        resident_generator.train(resident_generator.parse([
            str(HERE / "generator.toml"), "-o", str(options.runs / f"generator-{options.names}"), "--minutes", str(minutes),
            "--sprites", str(pack / "sprites.tar.xz"), "--photos", str(pack / "photos.tar.xz"),
            "--clips", str(pack / "clips.tar.xz"), "--words-of", "emoji", "--names", options.names, "--scenes", str(options.generator_scenes),
            "--grid", "4", "--processes", str(options.processes), "--device", self.device, *(f"--set={one}" for one in sets),
            *shlex.split(options.generator_options),
        ]))  # fmt: skip

    def carry(self) -> None:
        """Copy what came of the runs to --out, large files in parts; checkpoints stay."""
        import parts

        for run in sorted(path for path in self.options.runs.iterdir() if path.is_dir()):
            for what in ("final", "samples"):
                if (run / what).is_dir():
                    parts.split(run / what, self.options.out / run.name / what, MOST)
            if (run / "log.jsonl").is_file():
                (self.options.out / run.name).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(run / "log.jsonl", self.options.out / run.name / "log.jsonl")


def channels(tokenizer: str) -> int:
    """Latent channels of a tokenizer by name or folder."""
    from grn.tokenizer import Tokenizer

    return Tokenizer.from_pretrained(tokenizer).config.channels


def main(argv: list[str] | None = None) -> int:
    """Run the stages that have minutes; 1 where one failed."""
    options = parse(argv)
    for name in ("pack", "out", "runs"):
        setattr(options, name, getattr(options, name).resolve())
    find_packages(options.pack)
    session = Session(options)
    options.out.mkdir(parents=True, exist_ok=True)
    options.runs.mkdir(parents=True, exist_ok=True)
    if options.compare:
        for variant in options.variants:
            name, _, sets = variant.partition(":")
            settings = sets.split(";") if sets else []
            train = partial(session.tokenizer, f"compare-{name}", options.compare, settings)
            session.stage(f"compare {name}", train)
    start = [f"run.init={options.init}"] if options.init else []
    if options.tokenizer:
        session.stage("tokenizer", partial(session.tokenizer, "tokenizer", options.tokenizer, start))
    if options.decoder:
        session.stage("decoder", partial(session.decoder, options.decoder))
    if options.generator:
        session.stage("generator", partial(session.generator, options.generator))
    print("failed: " + ", ".join(session.failed) if session.failed else "all stages ran", flush=True)
    return 1 if session.failed else 0


if __name__ == "__main__":
    sys.exit(main())
