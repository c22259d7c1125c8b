"""What the feed costs a live job: window closed → row committed, with it and without, in turns."""

from pathlib import Path
from statistics import median

from infra.bench.soak import latency

_ROUNDS, _RATE, _MINUTES = 3, 2_000, 2.0


def measure(folder: Path) -> dict[str, float]:
    """Return the medians of three runs each, their ratio, and the spread of the runs with a feed.

    The job takes in 2,000 events a second for two minutes; feeds to the topic and to the online
    store run in the supervisor's process, as under ``live --feed``.
    """
    p50: dict[bool, list[float]] = {False: [], True: []}
    for number in range(_ROUNDS):
        for feed, found in p50.items():
            where = folder / f"{number}-{feed}"
            found.append(latency(where, _RATE, _MINUTES, feed=feed)["commit_p50_s"])
    alone, fed = median(p50[False]), median(p50[True])
    return {
        "live_commit_p50_s": alone,
        "live_commit_p50_feed_s": fed,
        "live_commit_p50_feed_ratio": fed / alone,
        "live_commit_p50_feed_least_s": min(p50[True]),
        "live_commit_p50_feed_most_s": max(p50[True]),
    }
