"""WordNet, Apertium and eSpeak for tests: installed ones, or Debian's packages unpacked into a temporary folder."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from filelock import FileLock

from augment.language import lexicon


@pytest.fixture(scope="session")
def debian_root(tmp_path_factory):
    """A function from names of packages to the folder they, and what they need, are unpacked under."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # one download for all workers

    def unpack(*names):
        root = folder / f"debian-{names[0]}"
        with FileLock(folder / f"{root.name}.lock"):
            if not (root / "done").exists():
                _unpack(root, names)
                (root / "done").touch()
        return root

    return unpack


@pytest.fixture(scope="module")
def wordnet(debian_root):
    """SPARRING_WORDNET names a folder with WordNet 3.0."""
    pytest.importorskip("nltk")
    pytest.importorskip("textblob")
    with pytest.MonkeyPatch.context() as patch:
        if lexicon.available("wordnet"):
            patch.setenv("SPARRING_WORDNET", str(debian_root("wordnet-base") / "usr/share/wordnet"))
        yield


@pytest.fixture(scope="module")
def apertium(debian_root):
    """`apertium` is on the path, with the pair of English and Spanish."""
    with pytest.MonkeyPatch.context() as patch:
        if not _has_pair():
            root = debian_root("apertium", "apertium-eng-spa")
            binaries, data = root / "usr/bin", root / "usr/share/apertium"
            for mode in (data / "modes").glob("*.mode"):  # they name their files by absolute paths
                mode.write_text(mode.read_text().replace("'/usr/share/apertium/", f"'{data}/"))
            libraries = [*root.glob("usr/lib/*-linux-gnu"), *root.glob("lib/*-linux-gnu")]
            patch.setenv("PATH", str(binaries), prepend=os.pathsep)
            patch.setenv("LD_LIBRARY_PATH", os.pathsep.join(map(str, libraries)), prepend=os.pathsep)
            patch.setenv("APERTIUM_PATH", str(binaries))
            patch.setenv("APERTIUM_DATADIR", str(data))
        if not _has_pair():
            pytest.skip("Apertium's packages do not run from a folder here")
        yield


@pytest.fixture(scope="session")
def say(debian_root):
    """A function from a text, and options of eSpeak NG, to the WAV of it said."""
    command, environment = ["espeak-ng"], None
    if shutil.which("espeak-ng") is None:
        root = debian_root("espeak-ng")
        libraries = [*root.glob("usr/lib/*-linux-gnu"), *root.glob("usr/lib/*-linux-gnu/pulseaudio")]
        (data,) = root.glob("usr/lib/*-linux-gnu/espeak-ng-data")
        environment = {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries))}
        command = [str(root / "usr/bin/espeak-ng"), "--path", str(data)]
    try:
        subprocess.run([*command, "--version"], env=environment, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("eSpeak NG's packages do not run from a folder here")

    def said(text, *options):
        return subprocess.run(
            [*command, *options, "--stdout", text], env=environment, capture_output=True, check=True
        ).stdout

    return said


def _has_pair():
    if shutil.which("apertium") is None:
        return False
    modes = subprocess.run(["apertium", "-l"], capture_output=True, text=True).stdout.split()
    return {"eng-spa", "spa-eng"} <= set(modes)


def _unpack(root: Path, names: tuple[str, ...]) -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        pytest.skip(f"{names[0]} is not installed, and there is no apt-get to fetch it with")
    root.mkdir(exist_ok=True)
    planned = _run(root, names, "apt-get", "install", "--simulate", "--no-install-recommends", *names)
    needed = {line.split()[1] for line in planned.splitlines() if line.startswith("Inst ")} | set(names)
    _run(root, names, "apt-get", "download", *sorted(needed))
    for package in root.glob("*.deb"):
        _run(root, names, "dpkg", "-x", str(package), str(root))


def _run(folder: Path, names: tuple[str, ...], *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode:
        reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
        pytest.skip(f"{names[0]} is not installed, and {' '.join(command[:2])} failed: {reason}")
    return done.stdout
