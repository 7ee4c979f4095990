"""What a run leaves, to be compared with what another one left."""

import json

from safetensors.torch import load_file

TIMES = ("seconds", "images_per_second", "sha256", "run")  # and what is of one run alone


def left(run):
    """Return all that a run left, without its times."""
    last = max((run / "checkpoints").iterdir())
    tensors = {
        f"{path.name}/{name}": value.numpy().tobytes()
        for path in sorted(last.glob("*.safetensors"))
        for name, value in load_file(path).items()
    }
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rows = [{k: v for k, v in row.items() if k not in TIMES} for row in rows]
    summary = json.loads((run / "summary.json").read_text())
    return tensors, rows, {k: v for k, v in summary.items() if k not in TIMES}
