"""Many runs to read: finished runs, groups, paired differences, reports."""
