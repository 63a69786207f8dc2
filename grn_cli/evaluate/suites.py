"""`grn eval geneval` and `grn eval vbench`: the folders that these suites measure, and what they found."""

from collections.abc import Iterable, Sequence
from typing import Any

from grn.errors import UsageError
from grn.evaluation import report
from grn.evaluation.files import Wanted, draw_files
from grn.evaluation.suites import (
    geneval_files,
    geneval_scores,
    read_geneval,
    read_pairs,
    read_vbench,
    vbench_files,
    vbench_scores,
)
from grn.pipeline import Pipeline
from grn.result import Result
from grn_cli.evaluate.sets import drawing_record, leads, load_model
from grn_cli.generate.job import overrides
from grn_cli.options.evaluate import GenEval, VBench
from grn_cli.options.fields import sides


def geneval(options: GenEval) -> None:
    """Draw GenEval's folder, or read its results back."""
    scores = geneval_scores(options.results) if options.results else {}
    asked = read_geneval(options.prompts, options.num)
    pipeline, prompts = _begin(options)
    size = sides(options.size)[::-1] if options.size else None
    wanted = geneval_files(options.out, asked, prompts, options.seed)
    _finish(options, pipeline, wanted, (1, *(size or (pipeline.size, pipeline.size))), "geneval", scores)


def vbench(options: VBench) -> None:
    """Draw VBench's folder, or read its results back."""
    scores = vbench_scores(options.results) if options.results else {}
    asked = read_vbench(options.prompts, options.num, options.dimension or [])
    pipeline, prompts = _begin(options)
    clips = pipeline.clips
    if clips is None:
        raise UsageError(
            f"--model: {pipeline.name} draws still pictures, and VBench measures clips; name a video model"
        )
    frames = clips.frames if options.seconds is None else max(1, round(options.seconds * clips.fps))
    size = sides(options.size)[::-1] if options.size else None
    wanted = vbench_files(options.out, asked, prompts, options.seed)
    _finish(options, pipeline, wanted, (frames, *(size or (pipeline.size, pipeline.size))), "vbench", scores)


def _begin(options: GenEval | VBench) -> tuple[Pipeline, dict[str, str]]:
    """The model, and the prompts that are rewritten. Raises UsageError for a model that reads no texts."""
    if not leads():
        options.console.hush()
    prompts = read_pairs(options.rewritten) if options.rewritten else {}
    pipeline = load_model(options)
    if pipeline.text is None:
        raise UsageError(f"--model: {pipeline.name} draws from classes, and the suite's prompts are texts")
    return pipeline, prompts


def _finish(
    options: GenEval | VBench,
    pipeline: Pipeline,
    wanted: Sequence[Wanted],
    size: tuple[int, ...],
    kind: str,
    scores: dict[str, float],
) -> None:
    given = overrides(options)
    drawing: dict[str, Any] = drawing_record(pipeline, given, options.negative_prompt, size[0] > 1)
    pipeline.map_shape(size[0], size[1:])  # what cannot be drawn is said first

    def draw(prompts: Sequence[str], seeds: Sequence[int]) -> Iterable[Result]:
        return pipeline.stream(
            prompts,
            seed=seeds,
            size=(size[0], size[1], size[2]),
            batch_size=options.batch_size,
            negative_prompt=options.negative_prompt,
            **given,
        )

    with options.console.bar("generate", len(wanted)) as bar:
        drawn = draw_files(options.out, wanted, drawing, draw, bar.advance, wait=leads())
    if not leads():
        return
    record = {
        "kind": kind,
        "model": pipeline.name,
        "output": str(options.out),
        "files": len(wanted),
        "drawn": drawn,
        "seed": options.seed,
        "frames": size[0],
        "height": size[1],
        "width": size[2],
        "rewritten": str(options.rewritten) if options.rewritten else None,
        **drawing,
        "scores": scores,
    }
    rows = report.table(["", kind], [[name, value] for name, value in scores.items()]) if scores else []
    options.console.result(record, str(options.out), *rows)
