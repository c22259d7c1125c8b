"""The coder of Arrow record batches; importing this module registers it with Beam."""

import apache_beam as beam
import pyarrow as pa
from apache_beam.coders import Coder


class ArrowBatchCoder(Coder):
    """Encodes a record batch as one Arrow IPC stream.

    A slice is written with the rows it shows, not with its parent's buffers; pickling it, Beam's
    fallback, writes the parent (18.6 MB against 93 kB for 1,024 rows).
    """

    def encode(self, value: pa.RecordBatch) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, value.schema) as writer:
            writer.write_batch(value)
        return sink.getvalue().to_pybytes()

    def decode(self, encoded: bytes) -> pa.RecordBatch:
        return pa.ipc.open_stream(encoded).read_next_batch()

    def is_deterministic(self) -> bool:
        return False

    def to_type_hint(self) -> type:
        return pa.RecordBatch

    def estimate_size(self, value: pa.RecordBatch) -> int:
        return value.get_total_buffer_size()  # 1 µs; exact ``nbytes`` of a slice takes 35


beam.coders.registry.register_coder(pa.RecordBatch, ArrowBatchCoder)
