"""The live page: sliders for the budgets, and the network they give while they move.

``deepmad serve`` starts it, for this machine alone unless told otherwise. The page (`page.html`,
`page.js`, `page.css`) asks `app` for designs and draws what it is answered; nothing comes from the
network.
"""

from deepmad_jax.serve.server import serve

__all__ = ["serve"]
