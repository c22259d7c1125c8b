"""How much the worst record of each stage costs: found by a search, compared with a benign one."""
