"""Replies beside the feed: made by a language model for decisions that ask for one."""
