"""Session logs with ground truth: the built-in sample, from labelled corpora, for benchmarks."""
