"""The live job: its supervisor, driver and workers."""
