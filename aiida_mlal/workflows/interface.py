"""WorkChains that are exchangeable: found by entry point, checked against ports that all have."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from aiida.common.exceptions import EntryPointError
from aiida.engine import WorkChain
from aiida.engine.processes.ports import PortNamespace
from aiida.orm import AbstractCode, Str
from aiida.plugins.entry_point import get_entry_point, get_entry_point_names
from plumpy.ports import UNSPECIFIED

from aiida_mlal.ml.options import nearest, suggest, within
from aiida_mlal.ml.plugins import load, location
from aiida_mlal.protocols import as_overrides, merge
from aiida_mlal.workflows.ports import check_names, check_overrides, names


class ExchangeableWorkChain(WorkChain):
    """A WorkChain that a campaign runs by its entry point.

    Attributes
    ----------
    CODE
        Path of the input that is the code, such as ``pw.code``, for builders that fill it in;
        empty for a WorkChain that needs none.
    """

    CODE: ClassVar[str] = ""

    @classmethod
    def usual_inputs(
        cls,
        code: AbstractCode,
        overrides: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return inputs with the code where ``CODE`` says, and overrides.

        Parameters
        ----------
        overrides
            Of any inputs, nested as they are.
        options
            Of the jobs, such as resources, where the code is that of a job.

        Raises
        ------
        ValueError
            For unknown overrides.
        """
        overrides = as_overrides(overrides)
        check_overrides(overrides, cls.spec().inputs)
        given: dict[str, Any] = {}
        if cls.CODE:
            *path, name = cls.CODE.split(".")
            beside = _inside(cls.spec().inputs, path)
            given = {name: code}
            if options and beside is not None and "options" in beside.get("metadata", ()):
                given["metadata"] = {"options": options}
            for namespace in reversed(path):
                given = {namespace: given}
        return merge(given, overrides)


@dataclass(frozen=True)
class Interface:
    """Inputs and outputs that all WorkChains of a kind have.

    Attributes
    ----------
    noun, verb
        What they do, in words for errors: ``labelling``, ``label structures``.
    aim
        What is done to it, in words: ``labelled``.
    root
        Of that word, as names of entry points have it.
    inputs, outputs
        Class of each node that a campaign gives and takes.
    """

    noun: str
    verb: str
    aim: str
    root: str
    inputs: Mapping[str, type]
    outputs: Mapping[str, type]

    def find(self, entry_point: str) -> Any:
        """Return the WorkChain; ``ValueError`` if there is none or it lacks the interface."""
        known = get_entry_point_names("aiida.workflows")
        what = f"{self.noun} workflow {entry_point!r}"
        if entry_point not in known:
            alike = nearest(entry_point, known)
            ours = {name for name in known if self.root in name or name == alike}
            near = suggest(entry_point, ours)
            raise ValueError(f"unknown {what}{near}")
        try:
            point: Any = get_entry_point("aiida.workflows", entry_point)
        except EntryPointError as error:  # two packages claim it
            raise ValueError(f"{what}: {error}") from error
        cls = load(point, f"{what} ({location(point)})")
        self.check(cls)
        return cls

    def check(self, cls: Any) -> None:
        """Raise ``ValueError`` unless a class has these inputs and outputs."""
        if not isinstance(cls, type) or not issubclass(cls, WorkChain):
            raise ValueError(f"{cls} is no WorkChain, so it cannot {self.verb}")
        spec = cls.spec()
        for ports, wanted in ((spec.inputs, self.inputs), (spec.outputs, self.outputs)):
            for name, kind in wanted.items():
                if name not in ports:
                    raise ValueError(
                        f"{cls.__name__} cannot {self.verb}: its {ports.name} lack {name!r}"
                    )
                valid = ports[name].valid_type
                accepted = valid if isinstance(valid, tuple) else (valid,)
                if kind not in accepted:
                    raise ValueError(
                        f"{cls.__name__} cannot {self.verb}: {name!r} among its {ports.name} must "
                        f"be a {kind.__name__}, not {valid}"
                    )

        path = getattr(cls, "CODE", "").split(".")
        if path != [""] and path[-1] not in (_inside(spec.inputs, path[:-1]) or {}):
            raise ValueError(
                f"{cls.__name__} cannot {self.verb}: CODE names no input, got {'.'.join(path)!r}"
            )

    def buildable(self, entry_point: str, method: str, base: str) -> Any:
        """Find a WorkChain that has a ``method``, as those have that are derived from ``base``."""
        cls = self.find(entry_point)
        if not hasattr(cls, method):
            raise ValueError(
                f"{self.noun}: {entry_point!r} has no {method}, as those have that are derived "
                f"from {base}: derive it, or give the inputs without a protocol"
            )
        return cls

    def validate(self, node: Str | None, _: Any) -> str | None:
        """Validate the entry point of a WorkChain of this kind."""
        if node is None:
            return None
        try:
            self.find(node.value)
        except ValueError as error:
            return str(error)
        return None

    def check_inputs(
        self,
        entry_point: str,
        given: Mapping[str, Any],
        chosen: Mapping[str, Any],
        where: str,
    ) -> None:
        """Raise ``ValueError`` if a WorkChain would refuse its inputs.

        Parameters
        ----------
        given
            By a user, at the input ``where`` of a campaign.
        chosen
            Those of ``inputs`` that are known already; the campaign chooses all of them.
        """
        spec = self.find(entry_point).spec().inputs
        for name in self.inputs:
            if name in given:
                raise ValueError(f"{where}.{name}: what is {self.aim} is chosen by the campaign")
        check_names(given, names(spec), where)
        unknown = set(self.inputs) - set(chosen)
        with within(where):
            _check_ports({**given, **chosen}, spec, unknown)


def _check_ports(inputs: Mapping[str, Any], ports: PortNamespace, unknown: set[str]) -> None:
    """Raise ``ValueError`` for inputs that the ports would refuse, some being not yet known."""
    prepared = ports.pre_process(dict(inputs))
    if unknown:
        problems = [
            port.validate(prepared.get(name, UNSPECIFIED), ("inputs",))
            for name, port in ports.items()
            if name not in unknown
        ]
    else:
        problems = [ports.validate(prepared)]
    for problem in problems:
        if problem is not None:
            raise ValueError(problem.message)


def _inside(ports: PortNamespace, path: list[str]) -> PortNamespace | None:
    """Return the namespace at a path; None if there is none."""
    namespace: Any = ports
    for name in path:
        namespace = namespace.get(name) if isinstance(namespace, PortNamespace) else None
    return namespace if isinstance(namespace, PortNamespace) else None
