"""Machine translation on this machine: Apertium's rules, or a MarianMT model.

Apertium: Forcada et al. (2011), Machine Translation 25. MarianMT: Junczys-Dowmunt et al. (2018), ACL demonstrations.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from augment.base.errors import BadInput, UsageError, suggest

ENGINES = ("apertium", "marian")
TEXTS_PER_PROCESS = 500  # Apertium's start takes as long as some 30 reviews
MAX_TOKENS = 256
NO_MARIAN = "MarianMT models are not usable here: pip install 'sparring[translation]'"
_MODEL_FILES = ["*.safetensors", "*.json", "*.spm"]  # of a hub model, what cannot run code
# Signs of Apertium's stream format travel as private characters: some versions lose an escaped one before a null.
_HIDE = {ord(sign): 0xE000 + i for i, sign in enumerate("\\[]{}^$/@<>")}
_SHOW = {hidden: sign for sign, hidden in _HIDE.items()}
_END = "7530862419"  # after the last text; a number is its own translation
_UNKNOWN = re.compile(r"(?<!\w)[*@#](?=[^\W\d_])")  # marks of words it could not analyse, translate or inflect


class Translator(Protocol):
    def translate(self, texts: list[str]) -> list[str]:
        """A translation of each text, in order; of an empty text, an empty one."""
        ...


def translators(engine: str, there: str, back: str) -> tuple[Translator, Translator]:
    """Both directions by Apertium's modes (`eng-spa`), or by MarianMT models' hub names or folders.

    Raises UsageError when the engine is unknown or not installed, BadInput when a model cannot be loaded.
    """
    if engine not in ENGINES:
        raise UsageError(f"unknown translation engine '{engine}'{suggest(engine, ENGINES)}")
    if engine == "apertium":
        return Apertium(there), Apertium(back)
    return Marian(there), Marian(back)


def unavailable(engine: str, there: str, back: str) -> str:
    """What to do before `translators` can be had; "" when they can. A MarianMT model is not loaded to find out."""
    if engine == "marian":
        return "" if find_spec("sentencepiece") else NO_MARIAN
    try:
        translators(engine, there, back)
    except (UsageError, BadInput) as error:
        return str(error)
    return ""


def round_trip(there: Translator, back: Translator, texts: list[str]) -> list[str]:
    """Each text in its own language again."""
    return back.translate(there.translate(texts))


class Apertium:
    """mode: a direction as `apertium -l` lists it. timeout: seconds for one batch of texts."""

    def __init__(self, mode: str, timeout: float = 300.0) -> None:
        self._apertium = shutil.which("apertium") or ""
        if not self._apertium:
            raise UsageError('apertium is not installed: apt install apertium apertium-eng-spa, or engine = "marian"')
        known = self._modes()
        if mode not in known:
            raise UsageError(
                f"apertium has no mode '{mode}'{suggest(mode, known)}; install it: apt install apertium-eng-spa "
                "(or another pair)"
            )
        self._mode, self._timeout = mode, timeout

    def translate(self, texts: list[str]) -> list[str]:
        batches = (texts[i : i + TEXTS_PER_PROCESS] for i in range(0, len(texts), TEXTS_PER_PROCESS))
        return [translation for batch in batches for translation in self._batch(batch)]

    def _batch(self, texts: list[str]) -> list[str]:
        # Each text ends in a null character, after which every part of the pipeline forgets what went before (-z):
        # no rule can move a word from one text to the next.
        sent = "".join(self._prepare(text) + "\0" for text in (*texts, _END))
        received = self._run(["-f", "none", "-z", "-u", self._mode], sent).split("\0")
        if "".join(received[len(texts) :]).strip() == _END:
            return [self._finish(part, text) for part, text in zip(received, texts, strict=False)]
        if len(texts) == 1:
            raise BadInput(f"apertium {self._mode} lost its place in the text {texts[0][:60]!r}; leave it out")
        half = len(texts) // 2  # two texts came back as one: it is found by halving
        return self._batch(texts[:half]) + self._batch(texts[half:])

    def _prepare(self, text: str) -> str:
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        if self._mode.startswith("eng"):
            text = re.sub(r"\bi\b", "I", text)  # people write it small, and the dictionary knows it tall
        return text.translate(_HIDE) + "\n" if text else ""  # a last stop is only seen before a space

    def _finish(self, translation: str, text: str) -> str:
        plain = translation.translate(_SHOW)
        unmarked = plain if _UNKNOWN.search(text) else _UNKNOWN.sub("", plain)  # unless the author wrote such marks
        return " ".join(unmarked.split())

    def _modes(self) -> list[str]:
        return self._run(["-l"], "", seconds=30).split()

    def _run(self, options: list[str], sent: str, seconds: float = 0) -> str:
        seconds = seconds or self._timeout
        process = subprocess.Popen(
            [self._apertium, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # a pipeline of a dozen processes, which end together
        )
        try:
            out, err = process.communicate(sent.encode(errors="replace"), timeout=seconds)
        except subprocess.TimeoutExpired:
            raise BadInput(
                f"apertium {options[-1]}: no answer within {seconds:g} seconds; try fewer or shorter texts"
            ) from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        if process.returncode:
            said = (err.decode(errors="replace").strip() or "no reason given").splitlines()[0]
            raise BadInput(f"apertium {options[-1]} failed: {said}; try `apertium {options[-1]}` by hand")
        return out.decode(errors="replace")


class Marian:
    """source: a hub name (`Helsinki-NLP/opus-mt-en-de`) or a folder with config, tokenizer and safetensors.

    seed: draw each word from the model's distribution, the same ones again for the same texts; None: the likeliest.
    """

    def __init__(self, source: str, batch: int = 16, seed: int | None = None, device: str = "cpu") -> None:
        if find_spec("sentencepiece") is None:
            raise UsageError(NO_MARIAN)
        import transformers

        transformers.logging.disable_progress_bar()
        try:
            folder = _folder(source)
            # Named classes: whatever a configuration says, no other code is imported.
            self._tokenizer = transformers.MarianTokenizer.from_pretrained(folder, local_files_only=True)
            model = transformers.MarianMTModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        except Exception as error:  # a hub, a file system and three libraries have their own errors here
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise BadInput(
                f"translation model '{source}' cannot be loaded ({first}); give a local folder, or use apertium"
            ) from None
        self._model, self._batch, self._seed, self._device = model.float().eval().to(device), batch, seed, device

    def translate(self, texts: list[str]) -> list[str]:
        import torch

        done = [""] * len(texts)
        # Similar lengths side by side: a batch is padded to its longest text.
        order = sorted((i for i, text in enumerate(texts) if text.strip()), key=lambda i: len(texts[i]))
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(self._seed or 0)
            for start in range(0, len(order), self._batch):
                places = order[start : start + self._batch]
                for i, translation in zip(places, self._translate([texts[i] for i in places]), strict=True):
                    done[i] = translation
        return done

    def _translate(self, texts: list[str]) -> list[str]:
        encoded = self._tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=MAX_TOKENS)
        tokens = self._model.generate(
            **encoded.to(self._device), num_beams=1, do_sample=self._seed is not None, max_new_tokens=MAX_TOKENS
        )
        return self._tokenizer.batch_decode(tokens, skip_special_tokens=True)


def _folder(source: str) -> Path:
    """The model's folder; of a hub model only what cannot run code is downloaded."""
    folder = Path(source)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(source, allow_patterns=_MODEL_FILES))
    if not list(folder.glob("*.safetensors")):
        raise ValueError(f"{folder} holds no safetensors, and pickled weights are not read")
    return folder
