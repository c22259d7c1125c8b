"""A head that plays decisions: ``python -m examples.avatar TABLES``.

It plays what stands in the tables of a person's own avatar, or with ``--kafka`` and ``--subject``
what the feed brings, on a head that is drawn or on a VRM model. docs/how-to/avatars.md says more.
"""

import argparse
import functools
import json
from pathlib import Path

from examples.avatar.decisions import page_data, read_decisions
from examples.avatar.packages import fetch
from examples.avatar.server import HOST, Page, read_feed


def main() -> None:
    """Serve the page until Ctrl-C, or write what it reads into a file."""
    given = _arguments()
    events = read_decisions(given.tables, given.subject) if given.tables else []
    data = page_data(events)
    if given.out:
        given.out.write_text(json.dumps(data), encoding="utf-8")
        return
    fetch()
    feed = functools.partial(read_feed, given.kafka, given.subject) if given.kafka else None
    page = Page(given.port, data, model=given.vrm, feed=feed)
    asked = "&".join(name for name, is_on in (("live", feed), ("vrm", given.vrm)) if is_on)
    print(f"the head: http://{HOST}:{given.port}/{asked and '?' + asked} (Ctrl-C ends it)")
    try:
        page.serve_forever()
    except KeyboardInterrupt:
        page.server_close()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tables", nargs="?", help="root of the tables")
    parser.add_argument("--subject", help="subject_ref; default: whose avatar moves most")
    parser.add_argument("--kafka", help="host:port of a broker whose feed is played live")
    parser.add_argument("--vrm", type=Path, help="a VRM model in place of the drawn head")
    parser.add_argument("--out", type=Path, help="write what the page reads, and end")
    parser.add_argument("--port", type=int, default=8600, help="port on 127.0.0.1")
    given = parser.parse_args()
    if given.kafka and not given.subject:
        parser.error("--kafka needs --subject: the feed is of everybody")
    if not (given.kafka or given.tables):
        parser.error("give the root of the tables, or --kafka")
    return given


if __name__ == "__main__":
    main()
