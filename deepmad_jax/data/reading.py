"""How a config says that a stream is read; the stream itself knows no config."""

from deepmad_jax.config import DataConfig
from deepmad_jax.data.chunks import Reading


def reading_of(
    name: str, config: DataConfig, index: int | None, count: int | None, **more: str
) -> Reading:
    """Of process ``index`` of ``count``, None asks JAX; ``more`` are further fields."""
    return Reading(
        name,
        config.corrupt_share,
        workers=config.workers,
        process_index=index,
        process_count=count,
        **more,
    )
