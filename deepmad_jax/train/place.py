"""The place in the data as a part of a checkpoint, whatever the number of processes.

Step t has the same images for any number of processes, so a place that two have left is taken up by
one or by four. Each process writes its own, in Grain's files.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import grain
import jax
import orbax.checkpoint as ocp
from etils import epath

from deepmad_jax.errors import UserError


class PlaceHandler(grain.checkpoint.CheckpointHandler):
    """Grain's handler, which alone would look for this process's file among as many as now."""

    def restore(
        self,
        directory: epath.Path,
        item: grain.DatasetIterator | None = None,
        args: Any = None,
    ) -> grain.DatasetIterator:
        item = item or args.item
        assert item is not None
        own = f"process_{jax.process_index()}-of-{jax.process_count()}.json"
        if (directory / own).exists():
            item.set_state(json.loads((directory / own).read_text()))
        else:
            files = sorted(directory.glob("process_*-of-*.json"))
            item.set_state(joined([json.loads(file.read_text()) for file in files]))
        item.start_prefetch()
        return item


@ocp.args.register_with_handler(PlaceHandler, for_save=True)
@dataclasses.dataclass
class PlaceSave(ocp.args.CheckpointArgs):
    """``item`` has ``get_state``, the place as JSON text in bytes or, of an iterator, as a dict."""

    item: Any


@ocp.args.register_with_handler(PlaceHandler, for_restore=True)
@dataclasses.dataclass
class PlaceRestore(ocp.args.CheckpointArgs):
    """``item`` is the iterator to move to the place."""

    item: Any


def joined(places: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One place of those that all processes of a run have left.

    What each has met by itself, lists of numbers, is put together; all else is the same in all. A
    list of places, where batches come from several streams in turn, is joined place by place.

    >>> joined([{"next_batch": 7, "corrupt": [3]}, {"next_batch": 7, "corrupt": [2]}])
    {'next_batch': 7, 'corrupt': [2, 3]}
    >>> joined([{"kinds": [{"corrupt": [3]}, {"corrupt": []}]}, {"kinds": [{"corrupt": []}] * 2}])
    {'kinds': [{'corrupt': [3]}, {'corrupt': []}]}

    Raises:
        UserError: they are not of one step, or there is none.
    """
    if not places:
        raise UserError("A checkpoint holds no place in the data.")
    found: dict[str, Any] = {}
    for name, first in places[0].items():
        values = [place.get(name) for place in places]
        if isinstance(first, list) and any(isinstance(value, Mapping) for value in first):
            found[name] = [joined(parts) for parts in zip(*values, strict=True)]
        elif isinstance(first, list):
            found[name] = sorted({number for value in values for number in value})
        elif any(value != first for value in values):
            raise UserError(f"A checkpoint's processes were at different places: {name} {values}.")
        else:
            found[name] = first
    return found
