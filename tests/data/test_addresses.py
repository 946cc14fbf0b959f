"""Data behind an address, here of a store that lies in this process, and what is refused."""

import http.server
import re
import threading
import urllib.parse
from pathlib import Path

import jpeg_set
import numpy as np
import pytest
from test_folder import write

from deepmad_jax.config import DataConfig
from deepmad_jax.data import eval_batches, open_dataset
from deepmad_jax.errors import UserError
from tests.memory_bucket import memory_bucket, serve


@pytest.fixture
def bucket(monkeypatch):
    with memory_bucket(monkeypatch) as found:
        yield found


@pytest.fixture
def records_of(bucket, monkeypatch):
    """ArrayRecord's own reader of gs:// asks this server for the files of the bucket."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            path = urllib.parse.unquote(self.path.split("?")[0])
            name = next((n for n in bucket.store if path.endswith(n.split("/", 2)[2])), None)
            if name is None:
                self.send_error(404)
                return
            content = bucket.store[name].getvalue()
            start, end = 0, len(content)
            if wanted := re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", "")):
                first, last = wanted.groups()
                start = int(first) if first else max(0, end - int(last))
                end = min(end, int(last) + 1) if first and last else end
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
            self.send_header("Content-Length", str(end - start))
            self.end_headers()
            self.wfile.write(content[start:end])

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("CLOUD_STORAGE_EMULATOR_ENDPOINT", address)
    yield bucket
    server.shutdown()
    server.server_close()
    thread.join()


def upload(bucket, folder, address):
    for path in folder.rglob("*"):
        if path.is_file():
            target = f"{address}/{path.relative_to(folder).as_posix()}"
            bucket.pipe_file(target, path.read_bytes())


def batch_of(config, classes=3):
    dataset = open_dataset(config, resolution_px=16, channels=3, classes=classes)
    (batch,) = eval_batches(dataset, config, batch_size=7)
    return batch


def test_folder_in_a_bucket_is_read_as_one_here(bucket, tmp_path):
    write(tmp_path, "train", {"ant": 2, "bee": 3, "cow": 1})
    write(tmp_path, "val", {"ant": 1, "bee": 4, "cow": 2})
    (tmp_path / "val" / "ant" / "._0.JPEG").write_bytes(b"rubbish")
    upload(bucket, tmp_path, "gs://photographs/pets")
    here, there = (
        batch_of(DataConfig(source="folder", data_dir=place))
        for place in (str(tmp_path), "gs://photographs/pets")
    )
    # A Path drops one of the slashes.
    path = DataConfig(source="folder", data_dir=Path("gs://photographs/pets"))
    assert here["mask"].all()
    for name, values in here.items():
        np.testing.assert_array_equal(there[name], values)
        np.testing.assert_array_equal(batch_of(path)[name], values)


def test_prepared_set_in_a_bucket_is_read_as_one_here(records_of, tmp_path):
    jpeg_set.prepare(jpeg_set.ColouredTiles, tmp_path)
    upload(records_of, tmp_path, "gs://photographs/tfds")
    here, there = (
        batch_of(DataConfig(name="coloured_tiles", data_dir=place))
        for place in (str(tmp_path), "gs://photographs/tfds")
    )
    assert here["mask"].all()
    for name, values in here.items():
        np.testing.assert_array_equal(there[name], values)


@pytest.mark.usefixtures("bucket")
def test_what_is_not_in_the_bucket_is_named_by_its_whole_address():
    with pytest.raises(UserError, match=r"looked in gs://photographs/tfds/cifar10\.") as error:
        batch_of(DataConfig(name="cifar10", data_dir="gs://photographs/tfds"))
    # Preparing writes to this machine only.
    assert "prepare_data.py cifar10\n" in str(error.value)
    assert "Then copy the folder cifar10 to gs://photographs/tfds" in str(error.value)
    with pytest.raises(UserError, match="no folder gs://photographs/pets/train"):
        batch_of(DataConfig(source="folder", data_dir="gs://photographs/pets"))


@pytest.mark.parametrize(
    ("source", "address"),
    [
        ("tfds", "s3://bucket/tfds"),
        ("tfds", "https://example.org/tfds"),
        ("folder", "https://example.org/images"),
        ("folder", "file:///images"),
    ],
)
def test_address_that_nothing_reads_is_refused(source, address):
    with pytest.raises(UserError, match=f"{address} is an address that nothing .* gs://.*Mount"):
        batch_of(DataConfig(source=source, data_dir=address))


def test_package_that_an_address_needs_is_named(monkeypatch):
    def missing(name, **options):
        raise ImportError("Please install gcsfs")

    serve(monkeypatch, missing)
    with pytest.raises(UserError, match=r"gs://bucket/tfds needs .* gcsfs: pip install gcsfs"):
        batch_of(DataConfig(data_dir="gs://bucket/tfds"))


def test_store_that_cannot_be_reached_is_told(bucket, monkeypatch):
    def refuses(self, path, **options):
        raise RuntimeError("Anonymous caller does not have access")

    monkeypatch.setattr(type(bucket), "exists", refuses)
    with pytest.raises(UserError, match=r"gs://bucket/tfds cannot be reached .*Anonymous caller"):
        batch_of(DataConfig(data_dir="gs://bucket/tfds"))


def test_home_of_the_user_is_found(tmp_path, monkeypatch):
    jpeg_set.prepare(jpeg_set.ColouredTiles, tmp_path / "tfds")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert batch_of(DataConfig(name="coloured_tiles", data_dir="~/tfds"))["mask"].all()
