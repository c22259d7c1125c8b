"""A check of the built graph: whatever a stage gives beside its main output goes somewhere."""

import apache_beam as beam
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor
from apache_beam.pvalue import PValue

from schemas.errors import AffectstreamError


class _Uses(PipelineVisitor):
    def __init__(self) -> None:
        self.made: dict[PValue, str] = {}
        self.used: set[PValue] = set()

    def visit_transform(self, transform_node: AppliedPTransform) -> None:
        self.used.update(transform_node.inputs)
        for tag, output in transform_node.outputs.items():
            if tag is not None:
                self.made[output] = f"{transform_node.full_label}[{tag}]"


def verify_consumed(p: beam.Pipeline) -> None:
    """Raise where a tagged output, which is any but the main one, goes nowhere.

    Raises:
        AffectstreamError: names each of them.
    """
    uses = _Uses()
    p.visit(uses)
    dangling = sorted(label for output, label in uses.made.items() if output not in uses.used)
    if dangling:
        message = f"nothing consumes {', '.join(dangling)}: land these rows in their table"
        raise AffectstreamError(message)
