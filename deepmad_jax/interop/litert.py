"""A `Network` as a LiteRT (TFLite) file, by way of StableHLO and Google's own converter.

No TensorFlow: ``litert-converter`` takes the StableHLO that JAX lowers to. Its API is that of
version 0.5, which `litert-torch` is built on; it promises no stability.

    from ai_edge_litert.interpreter import Interpreter
    run = Interpreter("r18.tflite").get_signature_runner()
    logits = run(images=images)["logits"]    # float32 (1, height, width, channels)

The batch is fixed when the file is written, and so are height and width, at the architecture's
resolution.
"""

import io
from pathlib import Path

import jax
import jax.numpy as jnp

from deepmad_jax.errors import UserError
from deepmad_jax.interop.extras import need
from deepmad_jax.nets import Network


def write_litert(net: Network, path: str | Path) -> None:
    """Writes the network for inference on one image at a time."""
    Path(path).write_bytes(to_litert(net))


def to_litert(net: Network, batch: int = 1) -> bytes:
    """The contents of a ``.tflite`` file.

    Raises:
        UserError: the converter is missing, or the network is of clips.
    """
    if net.arch.frames:
        raise UserError(
            f"{net.arch.name} is of clips, and LiteRT has no 3-D convs with groups: export it as "
            "onnx or stablehlo."
        )
    ir = need("litert_converter.mlir.ir", "litert")
    passes = need("litert_converter.mlir.passmanager", "litert")
    converter = need("litert_converter.converter_api_ext", "litert")
    images = jax.ShapeDtypeStruct((batch, *net.arch.size_px, net.arch.in_channels), jnp.float32)
    lowered = jax.jit(lambda x: net(x)).lower(images).compiler_ir("stablehlo")
    bytecode = io.BytesIO()
    lowered.operation.write_bytecode(bytecode)

    context = ir.Context()
    converter.prepare_mlir_context(context)
    with context, ir.Location.unknown():
        module = ir.Module.parse(bytecode.getvalue())
        converter.set_signature(module.operation, "serving_default", ["images"], ["logits"])
        converter.run_convert_to_tfl_passes(
            module, passes.PassManager(), converter.ConvertToTFLConfig()
        )
        contents: bytes = converter.export_flatbuffer_to_bytes(module.operation)
    return contents
