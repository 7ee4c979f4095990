"""Figures of single images come back from the disk as they were, or not at all."""

import json
import struct
from dataclasses import replace

import pytest
import torch

from vaeflow.errors import CheckpointError, StorageError
from vaeflow.evaluation import Estimate, ImageBounds, PerImage
from vaeflow.evaluation.active_units import ActiveUnits
from vaeflow.evaluation.latent_code import LatentCode
from vaeflow.evaluation.stored import Keeper, Stored, read, write

ABOUT = {"dataset": "vaeflow/digits", "images": 5, "samples": 7, "device": "cpu"}
UNITS = ActiveUnits(2, 1, 5, [Estimate(0.5, 0.1), Estimate(0.3, 0.1), Estimate(0.01, 0.002)])
CODE = LatentCode(5, 3, UNITS, *(Estimate(m, 0.1 * m) for m in (3.0, 2.0, 1.0)))


def figures(n=5, squared_error=True):
    values = torch.arange(float(n), dtype=torch.float64) / 3
    bounds = [PerImage(values + i, values * i) for i in range(6)]
    if not squared_error:
        bounds[5] = None
    return ImageBounds(*bounds, 100 + values.long(), values + 9, torch.full_like(values, torch.nan))


def known(figures):
    return {
        name: [t.tolist() for t in ((f.values, f.errors) if isinstance(f, PerImage) else [f])]
        for name, f in vars(figures).items()
        if f is not None and name != "pareto_k"
    }


@pytest.mark.parametrize("squared_error", [True, False])
@pytest.mark.parametrize(
    "code", [CODE, None, LatentCode(5, 3, UNITS, CODE.kl, None, None, "no scores")]
)
def test_a_written_file_is_read_back(tmp_path, squared_error, code):
    path = tmp_path / "evaluations" / "test-k7-best.safetensors"
    write(path, Stored(ABOUT, figures(squared_error=squared_error), code))
    found = read(path)
    assert found.about == ABOUT
    assert found.code == code
    assert found.complete == (code is not None)
    assert known(found.bounds) == known(figures(squared_error=squared_error))
    assert found.bounds.pareto_k.isnan().all()
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # nothing temporary is left


def test_some_of_the_images_are_not_all(tmp_path):
    write(tmp_path / "x", Stored(ABOUT, figures(4), CODE))
    assert not read(tmp_path / "x").complete


def test_the_first_difference_is_named():
    stored = Stored(ABOUT, figures(), CODE)
    assert stored.difference(dict(ABOUT)) is None
    assert stored.difference({**ABOUT, "samples": 8}) == "samples was 7 and is 8"
    assert stored.difference({**ABOUT, "seed": 1}) == "seed was None and is 1"


def test_an_evaluation_is_of_one_device_and_its_figures_of_any():
    other = {**ABOUT, "device": "cuda"}
    assert Stored(ABOUT, figures(), CODE).difference(other) is None
    assert Stored(ABOUT, figures(3)).difference(other) == "device was cpu and is cuda"


def changed(path, how):
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    if how == "cut":
        return content[:-20]
    if how == "foreign":
        del header["__metadata__"]
    else:
        told = json.loads(header["__metadata__"]["vaeflow"])
        del told["sha256"]  # which older files do not have
        first = {"images": 9, "latent": 3, "active_units": 2, "unknown": "no scores"}
        first |= {"kl": {"mean": 1.5, "standard_error": 0.1, "monte_carlo_error": None}}
        changes = {
            "newer": {"format": 5},
            "lacks": {"code": {"images": 1}},
            "older": {
                "format": 1, "code": {**first, "mutual_information": None, "marginal_kl": None},
            },
        }[how]  # fmt: skip
        header["__metadata__"]["vaeflow"] = json.dumps({**told, **changes})
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + content[8 + size :]


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("cut", "cannot be read"),
        ("foreign", "cannot be read"),
        ("lacks", "cannot be read"),
        ("newer", "format 5, but this vaeflow reads up to 4"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, one_sentence, how, told):
    path = tmp_path / "x"
    write(path, Stored(ABOUT, figures(), CODE))
    path.write_bytes(changed(path, how))
    with pytest.raises(CheckpointError) as error:
        read(path)
    one_sentence(str(error.value))
    assert told in str(error.value)


def test_a_file_of_the_first_format_is_read(tmp_path):
    path = tmp_path / "x"
    write(path, Stored(ABOUT, figures(), CODE))
    path.write_bytes(changed(path, "older"))
    units = ActiveUnits(active=2, undecided=0, images=9, variances=[])
    kl = Estimate(1.5, 0.1)
    assert read(path).code == LatentCode(9, 3, units, kl, None, None, "no scores")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(CheckpointError, match="`vaeflow evaluate` makes it"):
        read(tmp_path / "none")


def test_a_directory_that_refuses(tmp_path, caplog):
    (tmp_path / "evaluations").write_text("a file")
    path = tmp_path / "evaluations" / "x"
    with pytest.raises(StorageError, match="cannot be written"):
        write(path, Stored(ABOUT, figures()))
    with Keeper(path, ABOUT) as kept:
        for _ in range(3):
            kept.add(figures(1))
            kept.write()
    assert kept.done == 3
    assert caplog.text.count("bounds of single images are not kept") == 1


def test_finished_batches_are_written_even_if_it_is_interrupted(tmp_path):
    path = tmp_path / "x"

    def interrupted():
        with Keeper(path, ABOUT) as kept:
            kept.add(figures(2))
            assert not path.exists()  # not every batch costs a write
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with Keeper(path, ABOUT, read(path)) as kept:
        assert kept.done == 2
        kept.add(figures(3))
        kept.describe(CODE)
    assert read(path).complete
    assert known(read(path).bounds) == known(ImageBounds.cat([figures(2), figures(3)]))


def test_figures_are_written_as_time_passes(tmp_path, monkeypatch):
    now = 0.0
    monkeypatch.setattr("vaeflow.evaluation.stored.time.monotonic", lambda: now)
    kept = Keeper(tmp_path / "x", ABOUT)
    kept.add(figures(1))
    assert not kept.path.exists()
    now = 11.0
    kept.add(figures(1))
    assert len(read(kept.path).bounds) == 2
    kept.add(figures(1))
    assert len(read(kept.path).bounds) == 2


def test_nothing_is_written_where_nothing_is_new(tmp_path):
    before = Stored(ABOUT, replace(figures()), CODE)
    with Keeper(tmp_path / "x", ABOUT, before):
        pass
    assert not (tmp_path / "x").exists()
