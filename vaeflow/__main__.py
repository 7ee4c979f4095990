"""`vaeflow`, and `python -m vaeflow`: the first code of a process, which Ctrl-C may meet already.

A Ctrl-C during the imports ends the process as the signal does, without a traceback.
"""

import signal
import sys


def main() -> None:
    """Run the command line."""
    waiting = signal.getsignal(signal.SIGINT)
    if waiting is signal.default_int_handler:  # not where it is ignored, as by nohup
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from vaeflow.cli import main as command_line

    try:
        signal.signal(signal.SIGINT, waiting)
        command_line()
    except KeyboardInterrupt:  # just before a command, or just after it
        sys.exit(130)


if __name__ == "__main__":
    main()
