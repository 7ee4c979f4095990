"""Each family's package offers the classes of its registered parts by their names."""

import subprocess
import sys
from importlib import import_module

import pytest
import torch

from vaeflow.parts import posteriors
from vaeflow.plugins import builtins
from vaeflow.plugins.registry import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_family_exports_its_registered_classes(kind):
    targets = {}
    getattr(builtins, f"vaeflow_register_{kind}s")(targets.__setitem__)
    family = import_module(f"vaeflow.parts.{kind}s")
    registered = {target.partition(":")[2]: target for target in targets.values()}
    assert set(family.__all__) == set(registered)
    for name, target in registered.items():
        assert getattr(family, name) is getattr(import_module(target.partition(":")[0]), name)


def test_class_is_made_by_its_name():
    q = posteriors.Planar(latent=2, features=3)(torch.zeros(4, 3))
    assert (q.batch_shape, q.event_shape) == ((4,), (2,))


def test_import_of_datasets_reads_no_file_format_library():
    heavy = {"PIL.Image", "pooch", "pyarrow", "scipy", "sklearn"}
    code = f"import sys, vaeflow.parts.datasets; print(*{heavy!r} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
