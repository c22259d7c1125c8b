"""Who may read what, as data, and the log of who did."""
