"""Several processes that run one command together: joining, sharing out, and losing one.

Each is started with the same command and ``--distributed``; `launch/` has what starts them on one
machine and on clusters, ``docs/multi_host.md`` says how. Knows nothing of training.
"""

from deepmad_jax.processes.join import join
from deepmad_jax.processes.together import by_the_first, leave_if_one_is_lost

__all__ = ["by_the_first", "join", "leave_if_one_is_lost"]
