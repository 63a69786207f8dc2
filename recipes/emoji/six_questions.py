"""Does a model draw what was asked? Six questions as in GenEval (table 4 of the paper): python recipes/emoji/six_questions.py --model emoji

    single object, two objects, counting, colours, position, colour attribution

Prompts are scenes' captions whose combinations were never trained on (scenes.py), of things that no other emoji looks like. Pictures are judged by
scene_judge.py, strictly: the right name must be the nearest of all emoji's. --check judges composed pictures of the same scenes instead of a model's:
how often the judge itself is right, and what it takes for what; with --through, of these pictures as a tokenizer keeps them, which is the most that a
generator of its codes can reach.
"""

import argparse
import collections
import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from compose import Renderer, Scenes
from sampling_options import add_sampling, option_of, sampling_of
from scene_judge import SIDE, Judge, Seen
from scenes import Composer, Scene, held_out
from sprites import Sprite
from sprites import read as read_sprites

from grn import hbq
from grn.errors import GrnError
from grn.evaluation.report import table
from grn.features.efficientnet import OfflineFeatures
from grn.media.pixels import from_batch, to_batch
from grn.pipeline import Pipeline
from grn.tokenizer import Tokenizer

KINDS = {
    "single object": ("single",),
    "two objects": ("two",),
    "counting": ("count",),
    "colours": ("colour",),
    "position": ("beside", "stacked"),
    "colour attribution": ("two colours",),
}
PAPER = {  # table 4, the 2B model
    **{"single object": 0.99, "two objects": 0.90, "counting": 0.72, "colours": 0.84},
    **{"position": 0.52, "colour attribution": 0.60},
}
MOST_COUNTED = 4  # as in GenEval
DISTINCT = 0.9  # cosine from which two emoji look alike
STYLE = "3d"
_PART = 16  # pictures judged at a time


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One judged picture."""

    question: str
    caption: str
    right: bool
    seen: tuple[str, ...]


def is_asked(scene: Scene) -> bool:
    """Whether the scene asks something that training never showed: a thing alone is no combination."""
    counts = [thing.count for thing in scene.things]
    return max(counts) <= MOST_COUNTED and (scene.kind == "single" or any(map(held_out, scene.combinations)))


def ask(sprites: Sequence[Sprite], names: set[str], count: int, seed: int) -> dict[str, list[Scene]]:
    """So many scenes for each question, of things with these names."""
    kept = [number for number, sprite in enumerate(sprites) if sprite.name in names and sprite.style == STYLE]
    composer = Composer([sprites[number] for number in kept], styled=0.0, wanted=is_asked)
    found: dict[str, list[Scene]] = {}
    for question, kinds in KINDS.items():
        rng = np.random.default_rng([seed, len(found)])
        scenes: list[Scene] = []
        while len(scenes) < count:
            made = composer.scene(rng, kinds[len(scenes) % len(kinds)])
            if question == "single object" and made.objects[0].sprite not in composer.things[composer.default]:
                continue
            objects = tuple(dataclasses.replace(one, sprite=kept[one.sprite]) for one in made.objects)
            scenes.append(dataclasses.replace(made, objects=objects))
        found[question] = scenes
    return found


def is_right(scene: Scene, seen: Sequence[Seen]) -> bool:
    """Whether what is seen is what the caption asks for; other things beside it do no harm, but one too many of what is counted does."""
    matches = []
    for thing in scene.things:
        of_name = [one for one in seen if one.name == thing.name and thing.colour in (None, one.colour)]
        if not of_name or (thing.count > 1 and len(of_name) != thing.count):
            return False
        matches.append(of_name[0].centre)
    if scene.relation is None:
        return True
    (x, y), (other_x, other_y) = matches
    across, down = other_x - x, other_y - y
    return across > abs(down) if scene.relation == "beside" else down > abs(across)


def composed(renderer: Renderer, scenes: Sequence[Scene], seed: int) -> list[np.ndarray]:
    """The scenes as they should look."""
    pictures = renderer(Scenes.of(scenes), torch.Generator().manual_seed(seed))
    return list(from_batch(pictures))


def reconstructed(tokenizer: Tokenizer, rounds: int, pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The pictures as the tokenizer keeps them at so many rounds: no generator of its codes can draw better ones."""
    pixels = to_batch(np.stack(pictures))
    indices = hbq.encode(tokenizer.features(pixels[:, :, None]), rounds).movedim(1, -1)
    drawn = tokenizer.decode(indices, rounds)[:, :, 0]
    return list(from_batch(drawn))


def generated(
    pipeline: Pipeline,
    scenes: Sequence[Scene],
    seed: int,
    batch_size: int,
    sampling: Mapping[str, Any] = MappingProxyType({}),
) -> list[np.ndarray]:
    """What the model draws for their captions. sampling: what is otherwise than in its own settings."""
    size = (1, pipeline.size, pipeline.size)
    prompts = [scene.caption for scene in scenes]
    results = pipeline(prompts, seed=seed, size=size, batch_size=batch_size, **sampling)
    return [result.frames[0] for result in results]


def judge_all(
    judge: Judge, asked: dict[str, list[Scene]], draw: Callable[[Sequence[Scene]], list[np.ndarray]]
) -> list[Verdict]:
    """Draw and judge every scene."""
    verdicts = []
    for question, scenes in asked.items():
        coloured = any(thing.colour for scene in scenes for thing in scene.things)
        for at in range(0, len(scenes), _PART):
            part = scenes[at : at + _PART]
            for scene, seen in zip(part, judge.look(draw(part), coloured), strict=True):
                said = tuple(f"{one.colour} {one.name}" if one.colour else one.name for one in seen)
                verdicts.append(Verdict(question, scene.caption, is_right(scene, seen), said))
    return verdicts


def shares(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Share of right pictures by question, and their mean."""
    found: dict[str, list[bool]] = {}
    for one in verdicts:
        found.setdefault(one.question, []).append(one.right)
    each = {question: sum(right) / len(right) for question, right in found.items()}
    return each | {"overall": sum(each.values()) / len(each)}


def report(verdicts: Sequence[Verdict], what: str) -> list[str]:
    """The table, and what was wrong."""
    found = shares(verdicts)
    paper = {**PAPER, "overall": sum(PAPER.values()) / len(PAPER)}
    counts = collections.Counter(one.question for one in verdicts)
    rows = [[name, counts.get(name, len(verdicts)), share, paper[name]] for name, share in found.items()]
    lines = table(["question", "pictures", what, "the paper's 2B model, its own prompts"], rows, markdown=True)
    wrong = [
        f"{one.question}: {one.caption!r}: saw {', '.join(one.seen) or 'nothing'}" for one in verdicts if not one.right
    ]
    return [*lines, "", *wrong]


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="emoji", help="name or folder")
    parser.add_argument("--check", action="store_true", help="judge composed pictures")
    parser.add_argument("--through", metavar="TOKENIZER", help="with --check: pictures as this tokenizer keeps them")
    parser.add_argument("--rounds", type=int, help="with --through; else the tokenizer's own number")
    parser.add_argument("--sprites", type=Path, default=Path("data/emoji/sprites.tar"))
    parser.add_argument("--num", type=int, default=50, help="pictures a question")
    parser.add_argument(
        "--questions", nargs="+", choices=KINDS, default=list(KINDS), metavar="QUESTION", help="only these"
    )
    parser.add_argument("--seed", type=int, default=0)
    add_sampling(parser)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", action="store_true", help="print everything as one JSON object")
    options = parser.parse_args(argv)
    if options.through is not None and not options.check:
        parser.error("--through: is of --check")
    if options.rounds is not None and options.through is None:
        parser.error("--rounds: is of --through, and models have their own")
    if options.check and (given := sampling_of(options)):
        parser.error(f"{option_of(next(iter(given)))}: is of models, and --check draws with none")
    return options


def run(options: argparse.Namespace) -> list[Verdict]:
    """Ask, draw and judge."""
    sprites, pixels = read_sprites(options.sprites)
    known = [number for number, sprite in enumerate(sprites) if sprite.style == STYLE]
    judge = Judge([sprites[number].name for number in known], pixels[known], OfflineFeatures(SIDE))
    asked = ask(sprites, judge.distinct(DISTINCT), options.num, options.seed)
    asked = {question: asked[question] for question in options.questions}
    if options.check:
        renderer = Renderer(torch.from_numpy(pixels))
        kept = Tokenizer.from_pretrained(options.through) if options.through else None

        def draw(scenes: Sequence[Scene]) -> list[np.ndarray]:
            pictures = composed(renderer, scenes, options.seed)
            return pictures if kept is None else reconstructed(kept, options.rounds or kept.config.rounds, pictures)

        return judge_all(judge, asked, draw)
    pipeline = Pipeline.from_pretrained(options.model, options.device)
    how = options.seed, options.batch_size, sampling_of(options)
    return judge_all(judge, asked, lambda scenes: generated(pipeline, scenes, *how))


def main(argv: list[str] | None = None) -> int:
    """The command line; errors as one line on stderr."""
    options = parse(argv)
    try:
        verdicts = run(options)
    except GrnError as error:
        print(f"six_questions: error: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps({"shares": shares(verdicts), "verdicts": [dataclasses.asdict(one) for one in verdicts]}))
    else:
        print("\n".join(report(verdicts, "judge on composed pictures" if options.check else options.model)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
