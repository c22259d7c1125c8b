"""What is done about model folders of others: names of labels, adapters, and the probe."""
