"""Clips in a recipe: from a column of files to a verdict, and what is no clip with its reason."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawn import KINDS, drawn
from ran import run

from augment.base.errors import UsageError
from augment.modalities.clips import Clips
from augment.pictures import clips, sound, video
from augment.pictures.clips import content_of, opened
from augment.pictures.cuts import FAMILIES, HELD_OUT
from augment.publishing.dataset import Dataset
from augment.recipes import loading
from augment.runs.rows import read, read_rows
from augment.runs.task import Job
from consumers import open_mix

ROWS = 90
FILMS, SOUNDS = "frames:efficientnet-lite0", "melspectrogram"
RECIPE = """
name = "clips"
seed = 3
output = "{folder}/out"
[sources.rows]
path = "{folder}/rows.{form}"
columns = {{ id = "row", clip = "file", label = "kind" }}
{clips}
classes = ["shirt", "shoe", "bag"]
split = {{ valid = 0.2, test = 0.3 }}
labelled = 36
max_bad_share = 0.2
[tasks.task]
source = "rows"
consumer = "clip"
encoder = "{encoder}"
samples = 40
strategies = {{ {strategies} }}
gates = {{ band = [-20, 20], min_plausibility = 0, min_label_agreement = 0 }}
generator = {{ bank = 20, variants = 2, steps = 5, batch = 16, neighbours = 4, decode = {decode} }}
options = {{ C = 1.0, attacked_rows = 6 }}
verdict = {{ clean = ["accuracy"], improve = ["accuracy_pool", "accuracy_unseen"], seeds = 2, draws = 100 }}
"""
ALONE = "gan = 0.3, mixup = 0.2, noise = 0.2, self-training = 0.3"


@pytest.fixture(scope="module")
def av():
    return pytest.importorskip("av", reason="films need the extra `video`: pip install 'sparring[video]'")


def spoken(kind, seed, seconds=0.2):
    """A WAV file of a tone, whose height is the kind's."""
    rng, time = np.random.default_rng([KINDS.index(kind), seed]), np.arange(int(16_000 * seconds)) / 16_000
    hertz = (300, 900, 2700)[KINDS.index(kind)] * rng.uniform(0.8, 1.2)
    return sound.wav(0.3 * np.sin(2 * np.pi * hertz * time) + rng.normal(0, 0.05, len(time)))


def shown(kind, seed, frames=4):
    """A film of one thing whose place and colours change."""
    return video.film(np.stack([np.asarray(drawn(kind, 100 * seed + n, (48, 40))) for n in range(frames)]))


def recipe(folder, encoder, files, decode="false", strategies=ALONE, form="parquet"):
    """files: name → content, or the bytes alone; kinds in turn."""
    kinds = [KINDS[n % 3] for n in range(len(files))]
    held = files if form == "parquet" else [*files]
    table = pa.table({"row": [f"r{n}" for n in range(len(files))], "file": held, "kind": kinds})
    place = "" if form == "parquet" else f'clips = "{folder}/clips"'
    if form == "parquet":
        pq.write_table(table, folder / "rows.parquet")
    else:
        (folder / "clips").mkdir()
        for name, content in files.items():
            (folder / "clips" / name).write_bytes(content)
        (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, table.to_pylist())), "utf-8")
    text = RECIPE.format(folder=folder, encoder=encoder, decode=decode, strategies=strategies, form=form, clips=place)
    return loading.parse(text, "clips.toml")


def test_sounds_end_in_a_verdict_and_moved_ones_are_vectors_alone(tmp_path, accepted):
    made = recipe(tmp_path, SOUNDS, [spoken(KINDS[n % 3], n) for n in range(ROWS)])
    found = run(made, device="cpu")["tasks"]["task"]
    assert found["status"] == "published", found["reason"]
    assert Dataset(tmp_path / "out" / "task").verify() == []
    mix = open_mix(tmp_path / "out", "task")
    samples = mix.to_pandas()
    alone = samples["decoded"].isna()
    assert set(samples["strategy"][alone]) == {"gan", "mixup"}
    assert set(samples["strategy"][~alone]) == {"noise", "self-training"}
    encoder, whole = mix.encoder(), samples[~alone]
    vectors = encoder.encode([row["clip"] for row in whole["decoded"]])
    np.testing.assert_allclose(np.stack(whole["embedding"]), vectors, atol=1e-5)


def test_films_end_in_a_verdict_whatever_it_is(av, tmp_path):
    """With moves decoded to cuts and gaps; the clips that are published are films."""
    files = {f"{n}.mkv": shown(KINDS[n % 3], n) for n in range(ROWS)}
    cut = {"cut.mkv": files["0.mkv"][:900], "half.mkv": files["0.mkv"][: len(files["0.mkv"]) // 2]}
    files |= {"text.mp4": b"no film at all", **cut, "still.mkv": spoken("bag", 1)}
    found = run(recipe(tmp_path, FILMS, files, "true", form="jsonl"), device="cpu")["tasks"]["task"]
    assert found["status"] in ("published", "rejected")
    assert "accuracy_unseen" in json.dumps(found)
    (bad,) = (tmp_path / "out" / "task").glob("_sparring/quarantine/*.parquet")
    reasons = [video.DAMAGED, "clip without a frame", video.TRUNCATED, "clip without video"]
    assert pq.read_table(bad)["reason"].to_pylist() == reasons


def test_a_second_run_decodes_no_clip_again(tmp_path, monkeypatch, accepted):
    files = [spoken(KINDS[n % 3], n) for n in range(ROWS)]
    run(recipe(tmp_path, SOUNDS, files), device="cpu")
    monkeypatch.setattr(sound, "log_mel", lambda heard: pytest.fail("its vector is known"))
    known = replace(clips.SOUND, made=lambda file: pytest.fail("what it is made into is known"))
    monkeypatch.setattr(Clips, "files", classmethod(lambda cls, encoder: known))
    job = Job(recipe(tmp_path, SOUNDS, files).model_copy(update={"seed": 4}), "task", "cpu")
    assert len(read(job, tmp_path / "work").arena.train) == 36


def test_what_is_no_clip_has_its_reason(av, tmp_path, monkeypatch):
    monkeypatch.setattr(sound, "LONGEST", 0.5)
    good = [spoken(KINDS[n % 3], n) for n in range(ROWS)]
    bad = [b"", b"a text", good[0][:20], good[0][: len(good[0]) // 2], shown("bag", 1), spoken("bag", 1, 0.6), None]
    made = recipe(tmp_path, SOUNDS, good + bad)
    rows = read_rows(Job(made, "task", "cpu"), tmp_path / "work")
    assert rows.splits.quarantined == {
        video.DAMAGED: 2, video.TRUNCATED: 1, "clip missing": 2, "clip without audio": 1,
        "clip too long: over 0.5 seconds": 1,
    }  # fmt: skip


@pytest.mark.parametrize(("encoder", "strategies", "said"), [
    (SOUNDS, "crop = 1.0", r"^tasks\.task: strategy 'crop' serves images and sequences, not clips; see `sparring s"),
    (SOUNDS, "synonym = 1.0", r"^tasks\.task: strategy 'synonym' serves text, not clips"),
    ("efficientnet-lite0", "noise = 1.0", r"^tasks\.task\.encoder: no clip encoder 'efficientnet-lite0': give 'frames"),
])  # fmt: skip
def test_what_clips_cannot_have_is_refused_in_one_line(tmp_path, encoder, strategies, said):
    made = recipe(tmp_path, encoder, [spoken("bag", n) for n in range(3)], strategies=strategies)
    with pytest.raises(UsageError, match=said) as error:
        Job(made, "task", "cpu")
    assert "\n" not in str(error.value)


def test_a_clip_made_small_is_a_clip_with_nearly_the_same_vector(av):
    for name, clip in ((SOUNDS, spoken("shoe", 3, 1.0)), (FILMS, shown("shoe", 3, 9))):
        small = content_of(name).made(clip)
        assert content_of(name).made(clip) == small
        one, other = clips.clip_encoder(name, None).encode([clip, small])
        assert one @ other > 0.995
    assert len(opened(content_of(FILMS).made(shown("bag", 1, 40)))) == video.MOST
    assert not FAMILIES.keys() & HELD_OUT.keys()


@pytest.mark.parametrize("length", [1, 2, 16, 3200])
@pytest.mark.parametrize("name", [*FAMILIES, *HELD_OUT])
def test_edits_leave_something_and_the_stronger_the_less(name, length):
    edit, rng = {**FAMILIES, **HELD_OUT}[name], np.random.default_rng(0)
    for parts in (rng.uniform(-1, 1, length).astype(np.float32), np.full((length, 8, 8, 3), 99, np.uint8)):
        weak, strong = (edit(parts, np.random.default_rng(1), strength) for strength in (0.05, 1.0))
        assert weak.dtype == strong.dtype == parts.dtype
        assert 1 <= len(strong) <= len(weak) <= length
        if name in FAMILIES and length > 9:
            assert len(strong) < len(weak)
        if name in HELD_OUT:
            assert not np.array_equal(strong, parts)
        assert np.array_equal(edit(parts, np.random.default_rng(1), 1.0), strong)
