"""Where records come from: Kafka, or a recorded log."""
