"""Request traces of several kinds, told apart by content: `read.read_workload` opens any."""
