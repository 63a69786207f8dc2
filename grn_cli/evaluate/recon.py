"""`grn eval recon`: what a tokenizer loses, in numbers."""

import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from grn.data.transforms import batches, clip_batches
from grn.digests import digest_of
from grn.errors import UsageError
from grn.evaluation import report
from grn.evaluation.blocks import Arrays
from grn.evaluation.metrics import SIGMA, WINDOW
from grn.evaluation.reconstruction import RoundTrip
from grn.evaluation.video import pair_network_name
from grn.features.i3d import FEWEST, I3dFeatures
from grn.features.lpips import Lpips
from grn.hbq import MAX_ROUNDS
from grn_cli.evaluate.sets import check_plot, chosen, feature_network, identity_of, leads
from grn_cli.evaluate.shared import CLIPS, Shared, blocks_of
from grn_cli.loading import device_of, load_tokenizer
from grn_cli.options.evaluate import Recon


def parse_rounds(text: str) -> list[int | None]:
    """ "1,2,4,none" -> [1, 2, 4, None]. Raises UsageError."""
    found: list[int | None] = []
    for word in (part.strip().lower() for part in text.split(",")):
        if word == "none":
            found.append(None)
        elif word.isascii() and word.isdigit() and 1 <= int(word) <= MAX_ROUNDS:
            found.append(int(word))
        else:
            raise UsageError(
                f"--rounds: {word!r} is neither a number from 1 to {MAX_ROUNDS} nor 'none'; try 1,2,4,none"
            )
    return found


def recon(options: Recon) -> None:
    """Take a set through a tokenizer at several numbers of rounds, and measure."""
    rounds, frames = parse_rounds(options.rounds), options.frames
    if options.fps is not None and frames is None:
        raise UsageError("--fps: is the rate of clips; give --frames too")
    if options.i3d is not None and (frames is None or frames < FEWEST):
        raise UsageError(f"--i3d: measures clips of {FEWEST} frames or more; give --frames too")
    check_plot(options.plot, options.force)
    shared, samples = Shared(options.console), chosen(options.data, options, clips=frames is not None)
    device = device_of(options)
    tokenizer = load_tokenizer(options.tokenizer, options)
    network = feature_network(options, device)
    lpips = Lpips(options.lpips) if options.lpips else None
    i3d = I3dFeatures(options.i3d, device) if options.i3d else None
    kind, count = "pictures" if frames is None else "clips", samples.count
    round_trip = RoundTrip(tokenizer, rounds, network, lpips, frames is not None, i3d)

    def measure(some: Iterable[Any]) -> Arrays:
        if frames is None:
            return round_trip.measure(batches(some, options.size, options.batch_size, device))
        length = (frames, options.fps)
        return round_trip.measure(clip_batches(some, options.size, length, options.batch_size, device))

    decides = {
        "tokenizer": tokenizer.fingerprint,
        "network": identity_of(network),
        "rounds": rounds,
        "pixels": [options.size, frames, options.fps, tokenizer.dtype_name],
        "files": [digest_of(path).hex() if path else None for path in (options.lpips, options.i3d)],
    }
    blocks = shared.measure(kind, decides, samples, measure, CLIPS if frames else blocks_of(options.batch_size))
    if not leads():
        return shared.finish()
    rows = round_trip.summary(blocks)
    more = [("LPIPS", [row.lpips for row in rows]), ("MS-SSIM", [row.ms_ssim for row in rows])]
    more.append(("rFVD", [row.fvd for row in rows]))
    more = [(name, values) for name, values in more if values[0] is not None]
    headers = ["rounds", "bits/pixel", "PSNR", "SSIM", "Frechet", *(name for name, _ in more)]
    cells = [
        [row.rounds or "none", row.bits_per_pixel, row.psnr, row.ssim, row.frechet, *(values[i] for _, values in more)]
        for i, row in enumerate(rows)
    ]
    pictures = f"{count} {kind} of {options.size}x{options.size}" + (f", {frames} frames" if frames else "")
    measured = network.name if frames is None else pair_network_name(network)
    title = f"{tokenizer.name}, {pictures}; Frechet distance with {measured}; SSIM in windows of {WINDOW} pixels"
    record = {
        "kind": "reconstruction",
        "tokenizer": tokenizer.name,
        "fingerprint": tokenizer.fingerprint,
        "dtype": tokenizer.dtype_name,
        "features": measured,
        kind: count,
        "size": options.size,
        **({"frames": frames, "fps": options.fps} if frames else {}),
        **({"fvd_features": f"{i3d.name}, clips of {frames} frames, {i3d.preparation}"} if i3d else {}),
        "measured_with": {
            **{"data_range": 255, "ssim_window": WINDOW, "ssim_sigma": SIGMA},
            **({"lpips": str(options.lpips)} if options.lpips else {}),
        },
        "rows": [_finite({**asdict(row), "frechet_inception_distance": row.frechet}) for row in rows],
    }
    if options.plot:
        report.plot_rounds(rows, measured, options.plot)
    table = report.table(headers, cells, options.markdown)
    options.console.result(record, title, *([""] if options.markdown else []), *table)
    return shared.finish()  # a plot that could not be written lost all of it


def _finite(record: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: the PSNR of equal pictures becomes null."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
