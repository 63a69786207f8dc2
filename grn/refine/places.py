"""Who is drawn and who waits: the places of a batch, and what they send through the network."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from grn.devices import send
from grn.networks.condition import Condition
from grn.networks.contract import GeneratorNetwork, Prepared, Shape
from grn.refine.batch import Batch, Run
from grn.refine.config import SamplerConfig
from grn.refine.known import Known

Maps = Tensor | list[Tensor]
Pass = tuple[Maps, Tensor, Prepared]
"""A call of the network: maps of one shape or of several, what it is told, what was prepared."""


class Places:
    """The samples on their way, those of each shape a `Batch`; rows are in the order of the batches."""

    def __init__(
        self,
        network: GeneratorNetwork,
        config: SamplerConfig,
        condition: Condition,
        null: Condition | None,
        shapes: Sequence[Shape],
        seeds: Sequence[int],
        known: Known | None,
    ) -> None:
        sizes = network.config
        found = {(*shape, sizes.elements) for shape in shapes}
        assert known is None or found <= {tuple(known.tokens.shape)}, (
            f"known {tuple(known.tokens.shape)} for maps of {found}"
        )
        self.network, self.config, self.condition, self.known = network, config, condition, known
        self.device = next(network.parameters()).device
        self.null = network.prepare(null) if null is not None and config.guidance != 1 else None
        # A sample's maps are made when it joins: thousands may wait.
        self.waiting = [(number, shape, seed) for number, (shape, seed) in enumerate(zip(shapes, seeds, strict=True))]
        self.waiting.reverse()
        self.batches: dict[Shape, Batch] = {}
        self.rows: list[Run] = []
        self.prepared: Prepared | None = None
        self._guided: tuple[list[int], bool] | None = None  # what was prepared for last
        self._branches: list[Prepared] = []

    def fill(self, size: int) -> bool:
        """Let waiting samples take the free places of `size`; whether there is anything to draw."""
        assert size >= 1, f"a batch of {size} samples"
        joining = [self.waiting.pop() for _ in range(min(size - len(self.rows), len(self.waiting)))]
        if joining:
            prepared = self.network.prepare(self.condition.rows(torch.tensor([number for number, _, _ in joining])))
            self.prepared = prepared if self.prepared is None else type(prepared).cat([self.prepared, prepared])
            runs: dict[int, Run] = {}
            for shape in dict.fromkeys(shape for _, shape, _ in joining):
                samples = [(number, seed) for number, other, seed in joining if other == shape]
                runs.update((run.number, run) for run in self._batch(shape).join(samples))
            self.rows += [runs[number] for number, _, _ in joining]
            self._arrange()
        return bool(self.rows)

    def passes(self, together: bool) -> list[Pass]:
        """What goes through the network in this step: every state, and again without its condition where guidance counts.

        together: both in one pass.
        """
        batches = list(self.batches.values())
        maps: Maps = batches[0].state if len(batches) == 1 else [one for batch in batches for one in batch.state]
        told = batches[0].told() if len(batches) == 1 else torch.cat([batch.told() for batch in batches])
        guided = [row for row, run in enumerate(self.rows) if run.guided]
        branches = self._branches_for(guided, together)
        if not guided:
            return [(maps, told, branches[0])]
        again, told_again = maps, told
        if len(guided) < len(self.rows):
            index = send(torch.tensor(guided), self.device)
            again = maps[index] if isinstance(maps, Tensor) else [maps[row] for row in guided]
            told_again = told[index]
        if not together:
            return [(maps, told, branches[0]), (again, told_again, branches[1])]
        both = torch.cat([maps, again]) if isinstance(maps, Tensor) and isinstance(again, Tensor) else [*maps, *again]
        return [(both, torch.cat([told, told_again]), branches[0])]

    def split(self, outputs: Sequence[Maps]) -> Iterator[tuple[Batch, Tensor, Tensor | None, list[int]]]:
        """The logits of the passes: each batch with its conditional ones, the unconditional ones and the rows that those are of."""
        count = len(self.rows)
        conditional, unconditional = outputs if len(outputs) == 2 else (outputs[0][:count], outputs[0][count:])
        for batch in self.batches.values():
            size, guided = len(batch.runs), [row for row, run in enumerate(batch.runs) if run.guided]
            other = _stacked(unconditional[: len(guided)]) if guided else None
            yield batch, _stacked(conditional[:size]), other, guided
            conditional, unconditional = conditional[size:], unconditional[len(guided) :]

    def finished(self) -> Iterator[tuple[Run, Tensor]]:
        """The samples that have come to their last step, with their predictions; their places are free."""
        done: list[tuple[Run, Tensor]] = []
        for shape, batch in list(self.batches.items()):
            left = [row for row, run in enumerate(batch.runs) if run.step < run.total]
            if len(left) < len(batch.runs):
                rows = set(left)
                done += [(run, batch.prediction[i]) for i, run in enumerate(batch.runs) if i not in rows]
                batch.keep(left)
            if not left:
                del self.batches[shape]
        if done:
            self._arrange()
        yield from done

    def _batch(self, shape: Shape) -> Batch:
        if shape not in self.batches:
            sizes = self.network.config
            self.batches[shape] = Batch(shape, sizes.elements, sizes.classes, self.config, self.known, self.device)
        return self.batches[shape]

    def _arrange(self) -> None:
        """Bring what is prepared into the order of the batches."""
        rows = [run for batch in self.batches.values() for run in batch.runs]
        places = {id(run): place for place, run in enumerate(self.rows)}
        order = [places[id(run)] for run in rows]
        if self.prepared is not None and order != list(range(len(self.rows))):
            self.prepared = self.prepared.rows(torch.tensor(order)) if order else None
        self.rows, self._guided = rows, None

    def _branches_for(self, guided: list[int], together: bool) -> list[Prepared]:
        """What was prepared, for each pass; kept as long as the same samples are guided."""
        if self._guided == (guided, together):
            return self._branches
        assert self.prepared is not None, "nobody is drawn"
        self._guided, self._branches = (guided, together), [self.prepared]
        if guided:
            assert self.null is not None, "guidance without a null"
            null = self.null.rows(torch.zeros(len(guided), dtype=torch.int64))
            self._branches = [type(null).cat([self.prepared, null])] if together else [self.prepared, null]
        return self._branches


def _stacked(rows: Maps) -> Tensor:
    return rows if isinstance(rows, Tensor) else torch.stack(rows)
