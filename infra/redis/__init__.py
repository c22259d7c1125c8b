"""A redis server of the tests and of whoever tries one."""
