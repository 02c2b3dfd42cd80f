"""The environment is written down four times, for four tools: the four agree, and with what is installed."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from helpers.paths import ROOT

MISSION = {"jupyterlab", "papermill", "torch", "transformers", "peft", "bitsandbytes", "matplotlib", "codecarbon"}


def lines_of(file: str) -> list[str]:
    lines = [line.partition(" #")[0].strip() for line in (ROOT / file).read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def pins(lines: list[str]) -> dict[str, str]:
    """Name to version; a line that is anything but ``name==version``, with or without a marker, is an error."""
    assert len(set(lines)) == len(lines)
    for line in lines:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*(; .+)?", line), line
    return {canonicalize_name(r.name): str(r.specifier).removeprefix("==") for r in map(Requirement, lines)}


def conda() -> tuple[str, list[str]]:
    """The Python version and the pip section of environment.yml."""
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    python = next(d for d in dependencies if isinstance(d, str) and d.startswith("python="))
    return python.removeprefix("python="), next(d["pip"] for d in dependencies if isinstance(d, dict))


DIRECT = pins(lines_of("requirements.in"))
LOCK = pins(lines_of("requirements.txt"))
# on this Python and platform; CUDA's libraries are torch's own choice
NEEDED = {
    canonicalize_name(r.name)
    for r in map(Requirement, lines_of("requirements.txt"))
    if r.marker is None or r.marker.evaluate()
}
LEFT_TO_TORCH = re.compile(r"nvidia-(?!ml-py)|cuda-|triton")


def test_conda_has_the_direct_pins() -> None:
    assert pins(conda()[1]) == DIRECT


def test_the_environment_for_a_gpu_is_the_lock_and_pins_what_it_adds() -> None:
    """conda hands its pip section to pip as it is, and pip reads the lock beside the file."""
    read = yaml.safe_load((ROOT / "environment-gpu.yml").read_text(encoding="utf-8"))
    own = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert read["name"] != own["name"]
    assert (read["channels"], read["dependencies"][:2]) == (own["channels"], own["dependencies"][:2])
    lock, *added = read["dependencies"][2]["pip"]
    assert lock == "-r requirements.txt"
    assert LOCK["torch"] == DIRECT["torch"]
    assert "+" not in LOCK["torch"]  # no build without CUDA
    assert pins(added).keys() == {"liger-kernel"}
    assert pins(added).keys().isdisjoint(LOCK)


def test_lock_has_the_direct_pins() -> None:
    assert DIRECT.items() <= LOCK.items()


@pytest.mark.parametrize("package", sorted(MISSION))
def test_packages_of_the_mission_are_in_all_three(package: str) -> None:
    assert pins(conda()[1])[package] == DIRECT[package] == LOCK[package]


def hashed() -> dict[str, tuple[Requirement, list[str]]]:
    """Name to requirement and hashes, from requirements.hashes.txt."""
    text = (ROOT / "requirements.hashes.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = [line.split("--hash=") for line in text.splitlines() if line.strip() and not line.startswith("#")]
    made = [(Requirement(first), [value.strip() for value in values]) for first, *values in blocks]
    return {canonicalize_name(requirement.name): (requirement, values) for requirement, values in made}


def test_all_of_the_lock_but_torch_has_hashes() -> None:
    """torch comes in builds of its own, for CUDA versions or none, and each build is another file."""
    found = {name: str(requirement.specifier).removeprefix("==") for name, (requirement, _) in hashed().items()}
    assert found == {name: version for name, version in LOCK.items() if name != "torch"}
    every = [value for _, values in hashed().values() for value in values]
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", value) for value in every)
    assert all(values for _, values in hashed().values())


@pytest.mark.parametrize("python", ["3.11.9", "3.12.4", "3.13.1"])
@pytest.mark.parametrize("system", ["linux", "darwin"])
def test_hashes_are_asked_for_where_the_lock_asks_for_a_package(python: str, system: str) -> None:
    here = {"python_full_version": python, "python_version": python.rpartition(".")[0], "sys_platform": system}
    here["platform_system"] = {"linux": "Linux", "darwin": "Darwin"}[system]
    wanted = {
        canonicalize_name(r.name)
        for r in map(Requirement, lines_of("requirements.txt"))
        if r.name != "torch" and (r.marker is None or r.marker.evaluate(here))
    }
    assert {name for name, (r, _) in hashed().items() if r.marker is None or r.marker.evaluate(here)} == wanted


def test_no_address_of_an_index_is_written_down() -> None:
    for file in ("requirements.in", "requirements.txt", "requirements.hashes.txt", "environment.yml"):
        assert not re.search(r"https?://|--(extra-)?index-url|--find-links", (ROOT / file).read_text(encoding="utf-8"))


def test_lock_leaves_cuda_to_torch() -> None:
    assert [name for name in LOCK if LEFT_TO_TORCH.match(name)] == []


def requirements_of(name: str, extras: set[str]) -> list[Requirement]:
    """What an installed package needs here, with the extras that were asked for."""
    found = map(Requirement, distribution(name).requires or [])
    return [r for r in found if r.marker is None or any(r.marker.evaluate({"extra": e}) for e in extras | {""})]


def test_lock_is_complete() -> None:
    """Everything that the direct packages lead to is pinned, and satisfied by its pin."""
    waiting, seen = [Requirement(name) for name in DIRECT], set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if LEFT_TO_TORCH.match(name) or (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        assert name in NEEDED, f"{name} is needed and not in requirements.txt"
        assert requirement.specifier.contains(LOCK[name], prereleases=True), f"{requirement}, locked at {LOCK[name]}"
        waiting += requirements_of(name, requirement.extras)
    assert {name for name, _ in seen} >= NEEDED, "requirements.txt has packages that nothing needs"


def installed(package: str) -> str:
    """Its version here, less a local part such as torch's +cpu."""
    try:
        return Version(distribution(package).version).public
    except PackageNotFoundError:
        return "missing"


def test_lock_is_installed() -> None:
    here = {package: installed(package) for package in NEEDED}
    assert here == {package: LOCK[package] for package in NEEDED}, "./run_all.sh setup installs the lock"


def test_python_of_conda_is_in_the_supported_range() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert conda()[0] in SpecifierSet(project["requires-python"])
