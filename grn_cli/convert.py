"""`grn models convert`: a published checkpoint -> a model folder."""

from grn.errors import UsageError
from grn.hub import convert as published
from grn_cli.options.models import Convert


def convert(options: Convert) -> None:
    """Convert, and say what the file was."""
    file, out, console = options.file, options.out, options.console
    if out.exists() and not options.force:
        raise UsageError(f"{out}: exists already; choose another folder, or --force to overwrite it")
    name = options.name or out.resolve().name
    hints = (options.channels, options.rounds, options.context_start, options.vocabulary)
    family, where, like = published.convert(file, out, name, *hints)
    taken = f", its {where} weights" if where else ""
    settings = f"; settings of {like}" if like else ""
    console.info(f"{file}: a {family.replace('-', ' ')}{taken}{settings}")
    record = {"name": name, "folder": str(out), "kind": family, "state": where or None, "settings": like}
    console.result(record, str(out))
