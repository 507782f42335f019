"""What people need later: sweep, promote and score; the core does without this folder."""
