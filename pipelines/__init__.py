"""What a person runs: the graph, its configuration and the commands."""
