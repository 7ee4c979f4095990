"""One thread for every test and its children: small tensors gain nothing, and threads that wait
for each other on a busy machine cost a lot."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
