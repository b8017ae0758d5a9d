import pytest
from aiida.orm import Computer, InstalledCode

from aiida_mlal.workflows.codes import code_of, codes_of


@pytest.fixture
def make(aiida_profile_clean):
    """Return a factory of codes, on computers that are set up or not.

    None is left for other tests, whose code is called ``mlal`` too.
    """

    def factory(name, label="mlal", configured=True):
        computer = Computer(
            name, "localhost", transport_type="core.local", scheduler_type="core.direct"
        ).store()
        if configured:
            computer.configure()
        return InstalledCode(computer, "/bin/true", label=label).store()

    yield factory
    aiida_profile_clean.reset_storage()


def test_a_label_means_the_code_that_can_run_here(make):
    """As after an archive was imported: AiiDA calls its computer so."""
    mine, theirs = make("mine"), make("localhost (Imported #0)", configured=False)
    assert mine.label == theirs.label
    assert code_of("mlal").uuid == mine.uuid
    assert code_of(str(theirs.uuid)).uuid == theirs.uuid
    assert code_of(theirs).uuid == theirs.uuid
    assert codes_of("mlal", ("train",))["train"].uuid == mine.uuid


@pytest.mark.parametrize("configured", [True, False])
def test_codes_that_cannot_be_told_apart_are_named(make, configured):
    codes = [make(name, configured=configured) for name in ("here", "there")]
    with pytest.raises(ValueError, match="several codes are called 'mlal': say which") as error:
        code_of("mlal")
    for code in codes:
        assert f"{code.full_label} ({code.pk})" in str(error.value)
        assert code_of(code.full_label).uuid == code.uuid
