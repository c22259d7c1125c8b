"""Which parts of an event moved its estimate: words, time ranges, regions of a face, shapes."""
