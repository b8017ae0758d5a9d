"""What is read from the provenance graph."""

from datetime import timedelta

from aiida.common.links import LinkType
from aiida.orm import CalcFunctionNode, WorkChainNode

from aiida_mlal.report import graph


def test_processes_are_in_the_order_of_their_creation_after_an_import(aiida_profile):
    """Which gives them PKs in another order."""
    caller, children = WorkChainNode().store(), []
    for k in range(3):
        child = CalcFunctionNode()
        child.base.links.add_incoming(caller, link_type=LinkType.CALL_CALC, link_label=f"step_{k}")
        child.store()
        model = child.backend_entity.model
        model.ctime = caller.ctime - timedelta(minutes=k)
        model.save()
        children.append(child.uuid)
    assert [child.uuid for child in graph.children(caller)] == children[::-1]
    assert [child.uuid for child in graph.descendants(caller)] == children[::-1]
