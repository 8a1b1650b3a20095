"""From a rule to something that runs: by calling it (eager), or by printing the graph of its trace."""
