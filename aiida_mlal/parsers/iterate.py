"""Parser of jobs that train, simulate and choose."""

from typing import Any

from aiida.engine import ExitCode
from aiida.parsers import Parser

from aiida_mlal.calculations.iterate import STEPS
from aiida_mlal.parsers.base import TaskParser
from aiida_mlal.parsers.select import SelectParser
from aiida_mlal.parsers.simulate import SimulateParser
from aiida_mlal.parsers.train import TrainParser

PARSERS: dict[str, type[TaskParser]] = {
    "train": TrainParser,
    "simulate": SimulateParser,
    "select": SelectParser,
}


class IterateParser(Parser):
    """Attaches what each step computed, up to the first that ended badly, which is how all did."""

    CACHE_VERSION = 1

    def parse(self, **kwargs: Any) -> ExitCode | None:
        """Parse the steps in their order."""
        given = self.node.base.links.get_incoming().nested()
        for step, calculation in STEPS.items():
            if step not in given:
                continue
            parser = PARSERS[step](self.node, calculation, step)
            code = parser.parse(**kwargs)
            for label, node in parser.outputs.items():
                self.out(f"{step}.{label}", node)
            if code is not None and code.status:
                return ExitCode(code.status, f"{step}: {code.message}", code.invalidates_cache)
        return ExitCode(0)
