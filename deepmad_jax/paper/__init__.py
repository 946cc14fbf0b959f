"""What the paper prints in its tables, as data: always the paper's figures, never ours.

`printed` has Tables 1 to 10, `searches` the costs of searching (Table 11), `recipe` the settings of
Table 12. Source: DeepMAD, CVPR 2023 (arXiv 2303.02165).
"""

from deepmad_jax.paper.printed import FIGURES, PARTS, TABLES, Printed, Row, runs_of

__all__ = ["FIGURES", "PARTS", "TABLES", "Printed", "Row", "runs_of"]
