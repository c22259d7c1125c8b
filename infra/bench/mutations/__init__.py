"""Records as a broken or hostile producer sends them, and an account of what became of each."""
