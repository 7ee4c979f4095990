"""The search for options: trials of a study, each of which is a run."""
