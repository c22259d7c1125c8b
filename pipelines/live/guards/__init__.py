"""What keeps other users of the machine out of a job: a token, and mutual TLS."""
