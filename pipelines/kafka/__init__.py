"""Kafka: clients, topics, publishing and recording."""
