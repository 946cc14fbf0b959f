"""What etils finds behind an address such as gs://bucket, in the memory of the test's process."""

import contextlib

import fsspec
from etils.epath import gpath
from fsspec.implementations.memory import MemoryFileSystem


@contextlib.contextmanager
def memory_bucket(monkeypatch):
    """A file system, empty at first, that stands behind gs:// while the context lasts."""

    class Bucket(MemoryFileSystem):
        store, pseudo_dirs = {}, [""]

        @classmethod
        def _strip_protocol(cls, path):
            return super()._strip_protocol(str(path).removeprefix("gs:/"))

    found = Bucket(skip_instance_cache=True)
    serve(monkeypatch, lambda name, **options: found if name == "gcs" else None)
    yield found
    gpath.backend_lib.fsspec_backend._get_filesystem.cache_clear()


def serve(monkeypatch, filesystem):
    """Lets etils ask ``filesystem`` for what fsspec would give it."""
    # With TensorFlow in the environment etils would take its file system instead of fsspec's.
    monkeypatch.setattr(gpath, "_is_tf_installed", lambda: False)
    monkeypatch.setattr(fsspec, "filesystem", filesystem)
    gpath.backend_lib.fsspec_backend._get_filesystem.cache_clear()
