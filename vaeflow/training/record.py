"""The record of an epoch, which is its line of metrics.jsonl."""

from __future__ import annotations

from collections.abc import Mapping

from vaeflow.training.progress import Stopwatch


class Pace:
    """The images of an epoch in this process, and the time since the start of the epoch."""

    def __init__(self) -> None:
        self.images = 0
        self._clock = Stopwatch()

    @property
    def images_per_second(self) -> float:
        """Return the pace so far."""
        seconds = self._clock.seconds
        return self.images / seconds if seconds else 0.0


def record_terms(split: str, terms: Mapping[str, float], log_peak: float) -> dict[str, float]:
    """Return mean terms per image, in nats, under the names of metrics.jsonl: "train/elbo".

    The loss is `log_peak` − objective, where `log_peak` is the likelihood's constant.
    """
    kl = terms["log_base"] - terms["log_det"] - terms["log_pz"]
    record = {
        "loss": log_peak - terms["objective"],
        "elbo": terms["log_px"] - kl,
        "log_px": terms["log_px"],
        "kl": kl,
        "log_pz": terms["log_pz"],
        "log_q0": terms["log_base"],
        "log_det": terms["log_det"],
    }
    return {f"{split}/{name}": value for name, value in record.items()}
