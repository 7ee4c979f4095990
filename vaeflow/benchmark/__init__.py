"""Many runs to make: the grid, and the engines that spread it."""

from vaeflow.benchmark.engines import Outcome, Stop, Task, Work, run_one

__all__ = ["Outcome", "Stop", "Task", "Work", "run_one"]  # of an engine, which a plugin may bring
