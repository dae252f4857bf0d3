"""A MONAI Label server of this bundle on loopback, asked over HTTP, by the Python that ``MONAILABEL_PYEXE`` names."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from urllib.parse import quote

import nibabel as nib
import pytest
from helpers.nodules import ROOT

NAME = "lung_nodule_ct_reconstruction"
PYTHON = os.environ.get("MONAILABEL_PYEXE", sys.executable)


class Server:
    """A server of the sample app ``monaibundle`` on loopback, with this bundle in it."""

    def __init__(self, folder: Path, prefix: Path) -> None:
        self.studies, self.log_file = folder / "studies", folder / "server.log"
        app = folder / "monaibundle"
        shutil.copytree(prefix / "monailabel" / "sample-apps" / "monaibundle", app)
        (app / "model").mkdir(exist_ok=True)
        (app / "model" / NAME).symlink_to(ROOT)
        self.studies.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        options = ["--app", app, "--studies", self.studies, "--host", "127.0.0.1", "--port", self.port]
        for key, value in {"models": NAME, "zoo_source": "ngc", "sam2": "false", "skip_trainers": "true"}.items():
            options += ["--conf", key, value]
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        self.process = subprocess.Popen(
            [PYTHON, "-m", "monailabel.main", "start_server", *map(str, options)],
            cwd=folder, stdout=self.log_file.open("w"), stderr=subprocess.STDOUT, env=environment,
        )  # fmt: skip

    def wait(self, seconds: float) -> None:
        """Until it answers."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                self.call("GET", "/info/", timeout=5)
            except OSError:
                time.sleep(0.5)
            else:
                return
        pytest.fail("the server did not start:\n" + self.log()[-3000:])

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def call(self, verb: str, path: str, parts: dict | None = None, timeout: float = 120) -> tuple[int, bytes]:
        """Status and body; ``parts`` become a form, paths its files."""
        mark = uuid.uuid4().hex
        body = b""
        for name, value in (parts or {}).items():
            file = isinstance(value, Path)
            head = f'Content-Disposition: form-data; name="{name}"' + (f'; filename="{value.name}"' if file else "")
            body += f"--{mark}\r\n{head}\r\n\r\n".encode() + (value.read_bytes() if file else value.encode()) + b"\r\n"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            headers = {"Content-Type": f"multipart/form-data; boundary={mark}"} if parts else {}
            connection.request(verb, path, body + f"--{mark}--\r\n".encode() if parts else None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def infer(self, image="thick", output="image", label=None, timeout=120, **params) -> tuple[int, bytes]:
        parts = {"params": json.dumps(params)} | ({"label": label} if label else {})
        return self.call("POST", f"/infer/{NAME}?image={quote(str(image))}&output={output}", parts, timeout)

    def volume(self, folder: Path, **asked) -> nib.Nifti1Image:
        """The answer as an image."""
        status, body = self.infer(result_extension=".nii.gz", **asked)
        assert status == 200, body
        path = folder / f"{uuid.uuid4().hex}.nii.gz"
        path.write_bytes(body)
        return nib.load(path)
