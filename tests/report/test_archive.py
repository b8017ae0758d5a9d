"""Archives of campaigns, and what is missing in them."""

from zipfile import ZipFile

import pytest

from aiida_mlal.report.archive import Graph, ancestry, contents, export, problems


@pytest.fixture
def archive(small_campaign, tmp_path):
    path = tmp_path / "campaign.aiida"
    meant = ancestry(small_campaign)
    export(meant, path)
    return path, meant


def test_holds_every_process_label_and_input(small_campaign):
    found = ancestry(small_campaign)
    for process in (small_campaign, *small_campaign.called_descendants):
        assert process.uuid in found.files
        for links in (process.base.links.get_incoming(), process.base.links.get_outgoing()):
            assert {node.uuid for node in links.all_nodes()} <= set(found.files)
    assert set(small_campaign.outputs.dataset.sources) <= set(found.files)


def test_labels_of_an_earlier_campaign_belong_to_it(small_campaign):
    used = small_campaign.outputs.relaxed
    assert set(used.sources) - {""} <= set(ancestry_of_data(used))


def ancestry_of_data(node):
    return ancestry(node.creator).files


def test_nothing_is_missing_after_import(archive):
    path, meant = archive
    assert len(meant.files) > 40
    assert problems(path, meant) == []


def test_what_it_would_hold_is_said_before_it_is_written(archive):
    path, meant = archive
    shares = contents(meant)
    assert sum(share.nodes for share in shares) == len(meant.files)
    with ZipFile(path) as file:
        files = [one for one in file.infolist() if one.filename.startswith("repo/")]
    assert sum(share.size for share in shares) == sum(one.file_size for one in files)


def test_a_campaign_stays_within_its_budget(small_campaign):
    """Of an iteration and three labels on five atoms, two of them at once."""
    shares = contents(ancestry(small_campaign))
    nodes, files, size = (sum(values) for values in zip(*(s[1:] for s in shares), strict=True))
    assert len(small_campaign.outputs.dataset) == 3
    assert nodes <= 65
    assert files <= 70  # some more where schedulers say something
    assert size <= 70e3


def test_missing_node_link_and_changed_file_are_named(archive, small_campaign):
    path, meant = archive
    lost, potential = "11111111-1111-4111-8111-111111111111", small_campaign.outputs.potential.uuid
    more = Graph(
        {**meant.files, lost: "0", potential: "another"},
        meant.links | {(lost, potential, "input_calc", "x")},
    )
    assert problems(path, more) == [
        f"node {lost} is missing",
        f"the files of node {potential} differ",
        f"the link 'x' (input_calc) from {lost} to {potential} is missing",
    ]


def test_an_archive_of_the_structure_only_is_not_complete(small_campaign, tmp_path):
    from aiida.tools.archive import create_archive

    path = tmp_path / "part.aiida"
    create_archive([small_campaign.inputs.structures], filename=path)
    found = problems(path, ancestry(small_campaign))
    for node in (small_campaign, small_campaign.outputs.potential):
        assert f"node {node.uuid} is missing" in found
