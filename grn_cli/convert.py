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
    hints = published.Hints(
        channels=options.channels,
        rounds=options.rounds,
        context_start=options.context_start,
        text_attention=options.text_attention.value if options.text_attention else None,
        like=options.like,
        vocabulary=options.vocabulary,
    )
    family, where, like, attention = published.convert(file, out, name, hints)
    taken = f", its {where} weights" if where else ""
    attends = f", {attention} text attention" if attention else ""
    settings = f"; settings of {like}" if like else ""
    console.info(f"{file}: a {family.replace('-', ' ')}{taken}{attends}{settings}")
    record = {"name": name, "folder": str(out), "kind": family, "state": where or None, "settings": like}
    record |= {"text_attention": attention} if attention else {}
    console.result(record, str(out))
