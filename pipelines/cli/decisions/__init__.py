"""Commands about decisions: why they were made, and what reviewers say of them."""
