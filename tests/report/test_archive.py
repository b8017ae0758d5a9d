"""Archives of campaigns, and what is missing in them."""

import pytest

from aiida_mlal.report.archive import Graph, ancestry, export, problems


@pytest.fixture
def archive(small_campaign, tmp_path):
    path = tmp_path / "campaign.aiida"
    return path, export(small_campaign, path)


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
