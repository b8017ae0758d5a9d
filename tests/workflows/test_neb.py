"""The path between two ends, run for real with labels of EMT."""

import numpy as np
import pytest
from aiida import orm
from aiida.plugins import WorkflowFactory
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.mep import NEB
from ase.optimize import BFGS
from campaign_fixtures import ancestors, example

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.report import page
from aiida_mlal.report.numbers import collect
from aiida_mlal.workflows.ports import check_inputs

LABEL = "aiida.calculations:mlal.label.ase"


def ends():
    """An oxygen atom on either side of three copper atoms that do not move."""
    atoms = Atoms("Cu3O", [[1.6, 0, 0], [-0.8, 1.386, 0], [-0.8, -1.386, 0], [0, 0, 1.3]])
    atoms.set_constraint(FixAtoms([0, 1, 2]))
    atoms.center(4)
    other = atoms.copy()
    other.positions[3, 2] = 2 * atoms.positions[0, 2] - atoms.positions[3, 2]
    return [atoms, other]


def builder_of(code, structures, **overrides):
    return WorkflowFactory("mlal.offline").get_builder_from_protocol(
        code, DatasetData(Configurations.from_ase(structures)), "balanced", overrides, recipe="neb"
    )


@pytest.fixture
def run(aiida_profile, mlal_code):
    """O on Cu(100) from hollow to hollow, by the example."""
    return example("05_neb_o_cu100.py")


@pytest.fixture
def path(run):
    return run["node"]


@pytest.fixture
def barrier(run):
    """By ASE alone."""
    first, last = run["begin"].copy(), run["end"].copy()
    for atoms in (first, last):
        atoms.calc = EMT()
        BFGS(atoms, logfile=None).run(fmax=0.01)
    images = [first, *(first.copy() for _ in range(3)), last]
    for image in images[1:-1]:
        image.calc = EMT()
    band = NEB(images, climb=True, method="improvedtangent")
    band.interpolate(apply_constraint=True)
    BFGS(band, logfile=None).run(fmax=0.01, steps=200)
    return images[2].get_potential_energy() - first.get_potential_energy()


def test_labels_say_the_barrier(run, path, barrier):
    assert path.is_finished_ok, path.exit_message
    assert "barrier 0.130 eV, 0.130 eV back" in run["printed"]
    (found,) = path.outputs.paths["paths"]
    assert found["labelled_barrier"] == pytest.approx(barrier, abs=0.01)
    assert found["labelled_barrier_back"] == pytest.approx(barrier, abs=0.01)
    assert found["barrier"] == pytest.approx(found["labelled_barrier"], abs=0.01)
    assert [label["image"] for label in found["labelled"]] == [0, 2, 4]
    assert max(label["fmax"] for label in found["labelled"]) < 0.05
    assert found["modes"]["n_imaginary"] == 1
    assert len(found["uncertainties"]) == len(found["energies"])
    assert min(found["uncertainties"]) > 0


def test_it_takes_labels_of_the_ends_and_of_the_saddle(path):
    chosen = [path.outputs.selections[name] for name in sorted(path.outputs.selections)]
    reasons = [[one["reason"].split()[0] for one in choice.selected] for choice in chosen]
    places = ["first", "last", "highest", "image"]
    for given in reasons[1:]:  # the first one is of the structures that are given
        assert len(given) <= 3
        assert given == sorted(given, key=places.index)
    assert "highest" in reasons[-1]
    assert len(path.outputs.dataset) == sum(map(len, reasons)) <= 13


def test_the_structure_is_the_saddle_point(run, path):
    atoms = path.outputs.structure.get_ase()
    ends = [run[name].positions[-1, :2] for name in ("begin", "end")]
    found = np.abs(atoms.positions[-1, :2] - ends) % (run["begin"].cell[0, 0] / 2)  # either way
    assert found[:, 0] == pytest.approx(np.linalg.norm(ends[1] - ends[0]) / 2, abs=0.02)
    assert found[:, 1] == pytest.approx([0, 0], abs=0.02)
    assert len(path.outputs.relaxed) == 5


def test_the_graph_leads_from_the_path_to_all_labels(path):
    for node in (path.outputs.potential, path.outputs.structure, path.outputs.paths):
        there = {n.uuid for n in ancestors(node) if n.process_type == LABEL}
        assert there
    learned = path.outputs.potential.creator.inputs.dataset
    assert 3 < len(learned) <= len(path.outputs.dataset)
    assert set(learned.sources) <= {n.uuid for n in ancestors(path.outputs.potential)}


def test_simulations_begin_at_labels_and_keep_what_is_relaxed(path):
    from aiida_mlal.ml.frames import KEPT

    links = path.base.links.get_outgoing(link_label_filter="move_start_%").all()
    moved = [link.node for link in sorted(links, key=lambda link: link.link_label)]
    kept = [KEPT.of(node.outputs.structures.configurations).tolist() for node in moved]
    assert kept[-1] == [True, True]
    assert kept == sorted(kept)


def test_the_report_has_the_profile(path, tmp_path):
    report = collect(path)
    assert report.fmax == 0.05
    page.write(report, tmp_path)
    assert (tmp_path / "paths.png").read_bytes().startswith(b"\x89PNG")
    html = (tmp_path / "index.html").read_text()
    assert "<h2>Paths</h2>" in html
    assert "image 2" in html
    assert "Saddle point of path 0, image 2" in html
    assert "barrier</span>" in html


def checked(code, structures, **overrides):
    builder = builder_of(code, structures, **overrides)
    check_inputs(builder._inputs(prune=True), builder.process_class.spec().inputs)


def test_a_cell_may_move_along_the_path(aiida_profile, mlal_code):
    """Stresses are learned and judged then, and ends have cells of their own."""
    begin = bulk("Cu", cubic=True) * (2, 1, 1)
    del begin[0]
    end = begin.copy()
    end.positions[0] -= end.positions[0]
    end.set_cell(end.cell.array * 1.01, scale_atoms=True)
    checked(mlal_code, [begin, end], simulation={"cell": "full"})
    builder = builder_of(mlal_code, [begin, end], simulation={"cell": "full"})
    assert builder.training["loss"]["stress"] == 1.0
    assert builder.simulation["smax_GPa"] == 0.05
    with pytest.raises(ValueError, match="same cell: vectors of number 1 differ"):
        checked(mlal_code, [begin, end])


def wrong(kind):
    first, last = ends()
    if kind == "atoms":
        last.numbers[3] = 6
    elif kind == "order":
        last = last[[3, 0, 1, 2]]
    elif kind == "same":
        last = first
    elif kind == "single":
        return [first]
    return [first, last]


@pytest.mark.parametrize(
    ("kind", "options", "problem"),
    [
        ("atoms", {}, "the same atoms: the first one is Cu3O, number 1 is CCu3"),
        ("order", {}, r"fits to the one before as \[1, 2, 3, 0\]"),
        ("same", {}, "the ends of a path are the same structure"),
        ("single", {}, "a path takes 2 structures"),
        ("", {"simulation": {"images": 2}}, "images of 3 or more"),
        ("", {"query": {"name": "random"}}, "does not label"),
    ],
)
def test_what_makes_no_path_is_refused_before_anything_runs(mlal_code, kind, options, problem):
    with pytest.raises(ValueError, match=problem):
        checked(mlal_code, wrong(kind), **options)


def test_two_structures_are_one_path(mlal_code):
    first, last = ends()
    one = builder_of(mlal_code, [first, last])
    assert one.query["n"] == 1
    assert builder_of(mlal_code, [first, last, last, first]).query["n"] == 2
    with pytest.raises(ValueError, match=r"query\.n: 2 simulations have as many last frames"):
        checked(mlal_code, [first, last, last, first], query={"n": 1})


def test_nodes_of_ends_are_joined_in_the_graph(aiida_profile):
    from aiida_mlal.cli.structures import read_path

    nodes = [orm.StructureData(ase=atoms).store() for atoms in ends()]
    joined = read_path([node.uuid for node in nodes])
    assert len(joined) == 2
    assert {node.uuid for node in nodes} <= {node.uuid for node in ancestors(joined)}
