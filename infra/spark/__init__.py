"""Delta Lake for Spark: the jars that pyspark lacks."""
