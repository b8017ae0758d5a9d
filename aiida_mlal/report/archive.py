"""A campaign as one file, and whether it is all there."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from aiida.common.links import LinkType
from aiida.orm import Node, ProcessNode, QueryBuilder, load_node

from aiida_mlal.data.content import ContentData
from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.report.licences import licensed

Link = tuple[str, str, str, str]
"""UUIDs of both ends, type and label."""


@dataclass(frozen=True)
class Graph:
    """Nodes by UUID, each with the hash of its files, and the links between them."""

    files: dict[str, str]
    links: frozenset[Link]


class Share(NamedTuple):
    """What nodes of a kind add to an archive.

    Attributes
    ----------
    kind
        Label of a process, or class of data.
    nodes, files
        How many.
    size
        Of the files in bytes, before they are compressed. A content that several files share is
        counted with the first.
    """

    kind: str
    nodes: int
    files: int
    size: int


def contents(meant: Graph) -> list[Share]:
    """List the content of an archive by kind of node, the largest first."""
    shares: dict[str, Share] = {}
    known: set[str] = set()
    for uuid in meant.files:
        node = load_node(uuid)
        kind = str(node.process_label if isinstance(node, ProcessNode) else type(node).__name__)
        repository = node.base.repository
        files = [str(path) for path in repository.glob()]
        keys = {path: repository.get_object(path).key for path in files}
        new = {key: path for path, key in keys.items() if key is not None and key not in known}
        known |= set(new)
        before = shares.get(kind, Share(kind, 0, 0, 0))
        shares[kind] = Share(
            kind,
            before.nodes + 1,
            before.files + sum(key is not None for key in keys.values()),
            before.size + sum(repository.get_object_size(path) for path in new.values()),
        )
    return sorted(shares.values(), key=lambda share: (-share.size, -share.nodes, share.kind))


def export(meant: Graph, path: Path, overwrite: bool = False) -> None:
    """Write nodes and links to an archive."""
    from aiida.tools.archive import create_archive

    nodes = [load_node(uuid) for uuid in meant.files]
    create_archive(nodes, filename=path, overwrite=overwrite)


def ancestry(campaign: ProcessNode) -> Graph:
    """Return a campaign: all that it called, made and used, and where that came from.

    Where a data set says which process labelled a structure, that process belongs to it. Links
    to a caller, and from data to what returned it, are followed from the process only.
    """
    waiting, ancestors, links = [campaign.uuid], {}, set()
    while waiting:
        uuid = waiting.pop()
        if uuid in ancestors:
            continue
        node = load_node(uuid)
        ancestors[uuid] = _files(node)
        for link in node.base.links.get_incoming().all():
            if link.link_type not in _DOWNWARD:
                links.add((link.node.uuid, uuid, link.link_type.value, link.link_label))
                waiting.append(link.node.uuid)
        if isinstance(node, ProcessNode):
            for link in node.base.links.get_outgoing().all():
                links.add((uuid, link.node.uuid, link.link_type.value, link.link_label))
                waiting.append(link.node.uuid)
        if isinstance(node, DatasetData):
            waiting += [source for source in node.sources if source]
    return Graph(ancestors, frozenset(links))


def problems(path: Path, meant: Graph) -> list[str]:
    """Import an archive into an empty, temporary storage and return what is wrong with it there.

    Content nodes are read as a user would read them, so that a damaged file is found as well. No
    file may be one that a licence forbids to hand on.
    """
    from aiida.storage.sqlite_temp import SqliteTempBackend
    from aiida.tools.archive import import_archive

    backend = SqliteTempBackend(SqliteTempBackend.create_profile("check"))
    try:
        import_archive(path, backend=backend, create_group=False)
        return list(_differences(backend, meant))
    finally:
        backend.close()


def _differences(backend: Any, meant: Graph) -> Iterable[str]:
    query = QueryBuilder(backend=backend).append(Node)
    nodes = {node.uuid: node for node in query.all(flat=True)}
    for uuid in sorted(set(meant.files) - set(nodes)):
        yield f"node {uuid} is missing"
    for uuid in sorted(set(meant.files) & set(nodes)):
        if _files(nodes[uuid]) != meant.files[uuid]:
            yield f"the files of node {uuid} differ"
        elif isinstance(nodes[uuid], ContentData):
            node = nodes[uuid]
            if sha256(node.content).hexdigest() != node.sha256:
                yield f"the content of node {uuid} is damaged"
    query = QueryBuilder(backend=backend)
    query.append(Node, tag="start", project="uuid")
    query.append(
        Node,
        with_incoming="start",
        project="uuid",
        edge_project=["type", "label"],
    )
    links = {(start, end, kind, label) for start, end, kind, label in query.all()}
    for start, end, kind, label in sorted(meant.links - links):
        yield f"the link {label!r} ({kind}) from {start} to {end} is missing"
    yield from licensed(nodes.values())


def _files(node: Node) -> str:
    return str(node.base.repository.hash())


_DOWNWARD = (LinkType.CALL_CALC, LinkType.CALL_WORK, LinkType.RETURN)
