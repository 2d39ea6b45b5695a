"""Who carries the tasks of a job out: processes on this machine, or Ray's on many."""
