"""No output of a stage may go nowhere: the graph is not built then."""

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from pipelines.run.consumed import verify_consumed
from schemas.errors import AffectstreamError
from schemas.stages import DEAD, LEDGER, MAIN, REFUSED, REVIEWS

TAGS = (DEAD, REFUSED, LEDGER, REVIEWS)


class _Stage(beam.DoFn):
    def process(self, element: int) -> Iterator[Any]:
        yield element
        for tag in TAGS:
            yield beam.pvalue.TaggedOutput(tag, element)


def graph(*consumed: str) -> beam.Pipeline:
    """A graph of one stage, of whose outputs these go on to a table."""
    p = beam.Pipeline(runner=FnApiRunner())
    outputs = p | beam.Create([1]) | "Judge" >> beam.ParDo(_Stage()).with_outputs(*TAGS, main=MAIN)
    for tag in consumed:
        _ = outputs[tag] | f"Land:{tag}" >> beam.Map(print)
    return p


@pytest.mark.parametrize("dangling", TAGS)
def test_an_output_that_goes_nowhere_is_named(dangling: str) -> None:
    p = graph(MAIN, *(tag for tag in TAGS if tag != dangling))
    with pytest.raises(AffectstreamError, match=rf"Judge\b.*\[{dangling}\]") as refused:
        verify_consumed(p)
    assert not any(f"[{tag}]" in str(refused.value) for tag in TAGS if tag != dangling)


def test_all_outputs_that_go_nowhere_are_named() -> None:
    with pytest.raises(AffectstreamError) as refused:
        verify_consumed(graph(MAIN))
    assert all(f"[{tag}]" in str(refused.value) for tag in TAGS)


@pytest.mark.parametrize("consumed", [(*TAGS, MAIN), TAGS])
def test_a_main_output_may_be_the_end(consumed: tuple[str, ...]) -> None:
    verify_consumed(graph(*consumed))
