"""What AiiDA's engine asks its database in vain, not asked: campaigns of tests cost a third less.

Only expressions of queries, and queries whose answer is known, are left out.
"""

from collections import Counter
from functools import cache

from aiida.engine import Process
from aiida.orm.nodes.links import NodeLinks
from aiida.orm.utils.links import validate_link
from aiida.storage.psql_dos.orm.querybuilder import joiner, main
from sqlalchemy.orm import aliased

_given: Counter[type] = Counter()
"""How many aliases the query has that is being built, by table."""


@cache
def _alias(table, number):
    return aliased(table)


def _next_alias(table):
    """Return an alias that the query doesn't have yet; others may have it.

    An alias makes all columns of its table anew, which AiiDA lets it do in each query.
    """
    if not isinstance(table, type):
        return aliased(table)  # of a query within a query
    _given[table] += 1
    return _alias(table, _given[table])


def _build_query(builder, data):
    """Build a query, of which AiiDA would make a hash: to build the few that are asked twice."""
    _given.clear()
    return builder._build(data)


def _validate_incoming(links, source, link_type, link_label):
    """Validate a link, but look for no circle through a node that isn't stored."""
    if links._node.is_stored:
        return _validate_stored(links, source, link_type, link_label)
    return validate_link(source, links._node, link_type, link_label, backend=links._node.backend)


def _update_outputs(process):
    """Attach outputs to the node of a process, which has none in most of its states."""
    if process._flat_outputs():
        _attach_outputs(process)


_validate_stored, _attach_outputs = NodeLinks.validate_incoming, Process.update_outputs


def take():
    """Let AiiDA take them, in this process."""
    main.aliased = joiner.aliased = _next_alias
    main.SqlaQueryBuilder.get_query = _build_query
    NodeLinks.validate_incoming = _validate_incoming
    Process.update_outputs = _update_outputs
