"""The Imaging Data Commons' bucket on loopback: lists and serves objects the way s5cmd asks for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

LISTING = """<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>{bucket}</Name><Prefix>{prefix}</Prefix>
<KeyCount>{count}</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"""
ENTRY = (
    "<Contents><Key>{key}</Key><LastModified>2020-01-01T00:00:00.000Z</LastModified><ETag>&quot;{tag}&quot;</ETag>"
    "<Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
)


@contextmanager
def fake_archive(objects: dict[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """Serve one bucket.

    Args:
        objects: bytes by key; may be changed while it runs.

    Yields:
        its address, and the keys that were fetched so far.
    """
    fetched: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def answer(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_GET(self) -> None:
            where = urlsplit(self.path)
            bucket, _, key = unquote(where.path).lstrip("/").partition("/")
            query = {name: values[0] for name, values in parse_qs(where.query).items()}
            if not key:
                prefix = query.get("prefix", "")
                found = {name: data for name, data in sorted(objects.items()) if name.startswith(prefix)}
                contents = "".join(ENTRY.format(key=k, tag="0" * 32, size=len(v)) for k, v in found.items())
                text = LISTING.format(bucket=bucket, prefix=prefix, count=len(found), contents=contents)
                self.answer(200, text.encode(), Content_Type="application/xml")
            elif key not in objects:
                self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>", Content_Type="application/xml")
            else:
                body, asked = objects[key], self.headers.get("Range")
                known = {"Last_Modified": "Wed, 01 Jan 2020 00:00:00 GMT", "ETag": f'"{"0" * 32}"'}
                if self.command == "GET":
                    fetched.append(key)
                if asked:
                    first, last = asked.removeprefix("bytes=").split("-")
                    part = body[int(first) : int(last) + 1]
                    span = f"bytes {first}-{int(first) + len(part) - 1}/{len(body)}"
                    self.answer(206, part, Content_Range=span, **known)
                else:
                    self.answer(200, body, **known)

        do_HEAD = do_GET  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", fetched
    finally:
        server.shutdown()
        server.server_close()
