"""What recipes and registries say of the package is what the package says."""

import re
from configparser import ConfigParser
from pathlib import Path

import yaml

import aiida_mlal

ROOT = Path(__file__).parents[1]
NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
"""What conda calls packages."""


def setup():
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config


def requirements(line):
    """Return the name that conda has for a requirement, and its versions."""
    name, versions = re.fullmatch(r"([\w-]+) ?(.*)", line).groups()
    return NAMES.get(name, name), versions


def test_the_recipe_wants_what_the_package_wants():
    text = (ROOT / "packaging" / "meta.yaml").read_text()
    assert f'version = "{aiida_mlal.__version__}"' in text
    recipe = yaml.safe_load(re.sub(r"\{[{%].*[}%]\}", "x", text).replace("x\n", "\n", 1))
    options = setup()["options"]
    wanted = {requirements(line) for line in options["install_requires"].split("\n") if line}
    wanted.add(("python", options["python_requires"]))
    assert {requirements(line) for line in recipe["requirements"]["run"]} == wanted
    scripts = setup()["options.entry_points"]["console_scripts"].strip().split("\n")
    assert recipe["build"]["entry_points"] == scripts


def test_the_registry_has_the_prefix_of_all_entry_points():
    page = (ROOT / "docs" / "howto" / "make_a_release.md").read_text()
    entry = yaml.safe_load(re.search(r"```yaml\n(.*?)```", page, re.S)[1])["aiida-mlal"]
    assert entry["pip_url"] == setup()["metadata"]["name"]
    classifiers = setup()["metadata"]["classifiers"]
    assert f"Development Status :: 4 - {entry['development_status'].capitalize()}" in classifiers
    for group, points in setup()["options.entry_points"].items():
        if group.startswith("aiida."):
            for point in points.strip().split("\n"):
                assert re.match(rf"{entry['entry_point_prefix']}(\.| =)", point)


def test_the_documentation_is_built_as_here():
    config = yaml.safe_load((ROOT / ".readthedocs.yml").read_text())
    assert (ROOT / config["sphinx"]["configuration"]).is_file()
    (install,) = config["python"]["install"]
    extras = setup()["options.extras_require"]
    assert all(extra in extras for extra in install["extra_requirements"])
