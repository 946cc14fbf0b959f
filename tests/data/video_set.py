"""Small video files written by PyAV, with frames that tell their number."""

import numpy as np

from deepmad_jax.data.video_file import video_library

SIZE = (48, 64)


def write(path, count, codec="libx264", size=SIZE, between=0, gop=6):
    """Up to 32 frames whose grey is eight times (11 times their number mod 32), and some noise.

    Neighbours differ much, or a codec would leave the change out.

    Args:
        between: B-frames at most between two others, which are stored out of their order.
        gop: frames from one keyframe to the next, at most.
    """
    av = video_library()
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = size
        stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
        stream.codec_context.gop_size = gop
        if between:
            stream.codec_context.max_b_frames = between
        for number in range(count):
            frame = np.full((*size, 3), 8 * (11 * number % 32), np.uint8)
            frame[:16, number : number + 16] = noise
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def numbers_in(frames):
    """Which frames these are, by the grey of their lower right quarter."""
    height, width = frames[0].shape[:2]
    greys = [round(float(f[height // 2 :, width // 2 :].mean()) / 8) for f in frames]
    return [3 * grey % 32 for grey in greys]  # 3 * 11 = 1 mod 32
