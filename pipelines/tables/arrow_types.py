"""Arrow types as every reader knows them."""

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

_VIEWS = {
    pa.string_view(): pa.string(),
    pa.large_string(): pa.string(),
    pa.binary_view(): pa.binary(),
    pa.large_binary(): pa.binary(),
}


def plain_types(table: pa.Table) -> pa.Table:
    """Return the table with string and binary views as the types that every reader knows."""
    fields = [field.with_type(_plain(field.type)) for field in table.schema]
    return table.cast(pa.schema(fields))


def rows_with(
    table: DeltaTable, column: str, texts: Iterable[str], columns: Iterable[str]
) -> pa.Table:
    """Return these columns of the rows that have one of the texts in a column.

    Batch by batch, and not by a filter of the dataset: a merge writes texts as views, and Arrow
    knows no comparison of a text with a view.
    """
    wanted, names = pa.array(sorted(texts), pa.string()), list(dict.fromkeys((column, *columns)))
    dataset = table.to_pyarrow_dataset()
    found = [plain_types(dataset.schema.empty_table().select(names))]
    for batch in dataset.to_batches(columns=names):
        rows = plain_types(pa.table(batch))
        found.append(rows.filter(pc.is_in(rows[column], wanted)))
    return pa.concat_tables(found)


def flat_columns(column: pa.Array) -> Iterator[pa.Array]:
    """Yield the arrays of plain values in a column, however deep they are nested."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        yield from flat_columns(column.dictionary)
    elif pa.types.is_struct(kind):
        for part in column.flatten():
            yield from flat_columns(part)
    elif pa.types.is_map(kind):
        yield from flat_columns(column.keys)
        yield from flat_columns(column.items)
    elif pa.types.is_nested(kind):
        yield from flat_columns(column.flatten())
    else:
        yield column


def is_text(kind: pa.DataType) -> bool:
    """Tell whether values of a type are strings."""
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view()
    )


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_plain(kind.value_type), kind.list_size)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_plain(kind.value_type))
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    return _VIEWS.get(kind, kind)
