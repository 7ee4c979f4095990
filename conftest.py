"""The process that the tests run in, and its children, wherever they are started from."""

import os
import signal

# Small tensors gain nothing from threads, which on a busy machine wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A process started in the background ignores Ctrl-C, and so would the runs that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
