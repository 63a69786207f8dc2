"""The ffmpeg program that comes with imageio-ffmpeg: how it is started, fed and listened to.

An input is opened with the one demuxer that its first bytes ask for and only from the local disk, so no file can make
ffmpeg open another. ffmpeg ends with status 0 on most damaged files; what tells is its error log, which is therefore
read. Not left to imageio's ffmpeg plugin, since by our tests that gives one frame of a Matroska cut in half and no
error, follows playlists, brings every clip to a constant rate, drops transparency and writes 33x21 pixels as 48x32.
"""

import functools
import math
import re
import subprocess
import threading
import time
from collections import deque
from pathlib import Path
from typing import IO

from PIL import Image

from grn.errors import BadInputError, EnvironmentFaultError

# A decoder silent for this long hangs; a slow disk or a huge frame does not take so long.
SILENCE_SECONDS = 60.0
SCALING = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
_LOG_LINES, _LOG_LINE_BYTES = 200, 1000


def executable() -> str:
    """Path of the ffmpeg program; EnvironmentFaultError where the machine has none."""
    import imageio_ffmpeg  # only clips need it

    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise EnvironmentFaultError(
            f"ffmpeg: {error}; install imageio-ffmpeg's wheel for this machine or set IMAGEIO_FFMPEG_EXE"
        ) from error


@functools.cache
def has(kind: str, name: str) -> bool:
    """Whether the program has a "filter" or "decoder" of this name; builds differ."""
    command = [executable(), "-hide_banner", "-h", f"{kind}={name}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SILENCE_SECONDS, check=False)
    said = (done.stdout + done.stderr).decode("utf-8", "replace").lower()
    return not re.search(r"unknown filter|is not recognized|no such|not found", said) and name in said


def input_arguments(path: Path, demuxer: str, decoder: str | None = None) -> list[str]:
    """The arguments that open a file, safely. decoder: the one to use instead of ffmpeg's own choice."""
    limit = ["-max_pixels", str(Image.MAX_IMAGE_PIXELS)] if Image.MAX_IMAGE_PIXELS else []
    codec = ["-c:v", decoder] if decoder else []
    # The prefix keeps a name like http: or -x a file's name.
    return [*limit, *codec, "-protocol_whitelist", "file", "-f", demuxer, "-i", f"file:{path}"]


def run(arguments: list[str], name: str) -> str:
    """What the program writes to its log. Raises BadInputError, naming the input, where it hangs."""
    command = [executable(), "-hide_banner", "-nostdin", *arguments]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SILENCE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BadInputError(
            f"{name}: the decoder was silent for {SILENCE_SECONDS:.0f} s; get a complete copy"
        ) from error
    return done.stderr.decode("utf-8", "replace")


class Watchdog:
    """Ends a program that is silent for SILENCE_SECONDS. Use it in a `with`; `bit`: whether it had to."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.bit = False
        self._process = process
        self._due = math.inf
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Watchdog":
        self.restart()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()

    def restart(self) -> None:
        """Something was heard, or is to be expected from now on."""
        self._due = time.monotonic() + SILENCE_SECONDS

    def pause(self) -> None:
        """Nothing is expected for now."""
        self._due = math.inf

    def _watch(self) -> None:
        while not self._over.wait(SILENCE_SECONDS / 10):
            if time.monotonic() > self._due:
                self.bit = True
                self._process.kill()
                return


class Log:
    """Listens to what a program writes to its standard error, keeping the first and the last lines.

    In memory, since a full disk would swallow the very lines that tell of damage.
    """

    def __init__(self, pipe: IO[bytes]) -> None:
        self._first: list[bytes] = []
        self._last: deque[bytes] = deque(maxlen=_LOG_LINES)
        self._thread = threading.Thread(target=self._listen, args=(pipe,), daemon=True)
        self._thread.start()

    def _listen(self, pipe: IO[bytes]) -> None:
        with pipe:
            while line := pipe.readline(_LOG_LINE_BYTES):
                if len(self._first) < _LOG_LINES:
                    self._first.append(line)
                else:
                    self._last.append(line)

    def text(self) -> str:
        """All that was kept, once the program has ended."""
        self._thread.join(SILENCE_SECONDS)
        return b"".join([*self._first, *self._last]).decode("utf-8", "replace")


def complaint(log: str) -> str:
    """The first error in a log of ffmpeg's, without its prefixes, as part of a one-line message."""
    lines = [line for line in log.splitlines() if line.strip()]
    if any("[error]" in line or "[fatal]" in line for line in lines):
        lines = [line for line in lines if "[error]" in line or "[fatal]" in line]
    elif any("[info]" in line for line in lines):
        lines = []
    if not lines:
        return "ffmpeg gives no reason"
    text = re.sub(r"^(\[[^\]]*\]\s*)+", "", lines[0]).strip()
    return "".join(c for c in text if c.isprintable())[:200]
