"""What a file is by its contents, whatever its name says.

    refusal(path, ".pth")     why it is no PyTorch checkpoint, or None where it may be one

Looks at the first bytes and, in a zip file, at the names of its members; nothing is unpickled.
"""

import zipfile
from pathlib import Path

from deepmad_jax.arch.textfile import mistaken_for


def refusal(path: Path, ending: str) -> str | None:
    """Why a file of this ending is not what its name says; None where nothing speaks against it.

    Args:
        path: of an existing file.
        ending: ``.npz``, ``.safetensors`` or ``.pth``, which stands for all of PyTorch's.
    """
    with path.open("rb") as file:
        head = file.read(1024)
    if not head:
        return "it is empty: copy or download it again"
    known = mistaken_for(head) or _OTHERS.get(head[:4]) or _OTHERS.get(head[:2])
    if head[257:262] == b"ustar":
        known = "a tar archive: unpack it first"
    if known is not None:
        return f"it is {known}"
    found = _in_zip(path) if zipfile.is_zipfile(path) else _ending_of(head)
    if found == ending or (found is None and ending == ".pth"):
        return None  # its reader knows more kinds of pickle than are told apart here
    if found is None:
        return "it is damaged, cut short or another kind of file: copy or download it again"
    if found.startswith("."):
        return f"by its contents it is a {found} file: rename it to end so"
    return f"it is {found}"


_OTHERS = {
    b"\x1f\x8b": "compressed by gzip: run gunzip on it first",
    b"\x93NUM": "one array alone, without a key, as numpy.save writes it: use numpy.savez",
    b"\x89HDF": "an HDF5 file, such as Keras writes: nothing here reads it",
}
"""First bytes -> what the file is. No format of weights begins so."""

_SCRIPT = (
    "a TorchScript program, not weights: where it was made, save them by "
    "torch.save({'state_dict': module.state_dict()}, path)"
)


def _in_zip(path: Path) -> str:
    with zipfile.ZipFile(path) as file:
        names = file.namelist()
    # PyTorch puts every member into a folder of its own.
    inside = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inside:
        return _SCRIPT
    if "data.pkl" in inside:
        return ".pth"
    if names and all(name.endswith(".npy") for name in names):
        return ".npz"
    return "a zip archive of other files: unpack it first"


def _ending_of(head: bytes) -> str | None:
    length = int.from_bytes(head[:8], "little")
    # The length of its JSON, at most 100 MB, then the JSON itself.
    if length <= 100_000_000 and head[8:9] == b"{":
        return ".safetensors"
    # PyTorch before 1.6: a pickle that begins with its magic number.
    if head.startswith(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"):
        return ".pth"
    return None
