"""Real servers on loopback: HTTP with every fault that tests plan, and S3 (moto's)."""

import contextlib
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import requests

SLICE = 4096


class Reply(BaseHTTPRequestHandler):
    """One request; `server.routes` says by path what answers it."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        """Note the request, and answer as the route does."""
        path, _, self.query = self.path.partition("?")
        with self.server.lock:
            self.server.requests.append((path, dict(self.headers)))
            n = sum(other == path for other, _ in self.server.requests)
        # a client that gives up breaks the connection
        with contextlib.suppress(ConnectionError):
            self.server.routes.get(path, status(404))(self, n)

    def log_message(self, *_):
        """Say nothing."""

    def begin(self, code, length=None, **headers):
        """Send status and headers; underscores in their names become hyphens."""
        self.send_response(code)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def reset(self):
        """Break the connection as a crashed machine does, not as a finished one."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close()

    def close(self):
        """Close the connection."""
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()

    def offset(self, etag):
        """Return where a Range asks to begin, 0 if it is for another version of the file."""
        fits = self.headers.get("If-Range", etag) == etag
        span = self.headers.get("Range") if fits else None
        return int(span.removeprefix("bytes=").partition("-")[0]) if span else 0


class Server(ThreadingHTTPServer):
    """An HTTP server in a thread; `requests` are (path, headers) in their order."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Reply)
        self.routes, self.requests, self.lock = {}, [], threading.Lock()
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self.thread.start()

    def handle_error(self, request, client_address):
        """Say nothing where a test breaks a connection."""

    def url(self, path, host="127.0.0.1"):
        """Return the address of a path."""
        return f"http://{host}:{self.server_port}{path}"

    def count(self, path):
        """Return how often a path was asked for."""
        return sum(other == path for other, _ in self.requests)

    def stop(self):
        """Stop, and give back the port."""
        self.shutdown()
        self.thread.join()
        self.server_close()


def whole(body, etag='"v1"', ranges=True, **headers):
    """Serve a file as it should be served, by ranges if `ranges`."""

    def answer(reply, _):
        begin = reply.offset(etag) if ranges else 0
        if begin:
            span = f"bytes {begin}-{len(body) - 1}/{len(body)}"
            reply.begin(206, len(body) - begin, ETag=etag, Content_Range=span)
        else:
            reply.begin(200, len(body), ETag=etag, **headers)
        reply.wfile.write(body[begin:])

    return answer


def breaking(body, at, how="reset", times=1, ranges=True, etag='"v1"'):
    """Serve with right headers, and break off after `at` bytes of an answer, `times` times."""

    def answer(reply, n):
        if n > times:
            whole(body, etag, ranges)(reply, n)
            return
        begin = reply.offset(etag) if ranges else 0
        span = f"bytes {begin}-{len(body) - 1}/{len(body)}" if begin else None
        reply.begin(
            206 if begin else 200, len(body) - begin, ETag=etag, Content_Range=span
        )
        reply.wfile.write(body[begin : begin + at])
        reply.wfile.flush()
        # else the reset would overtake what was sent
        time.sleep(0.1 if how == "reset" else 0)
        getattr(reply, how)()

    return answer


def dripping(body, pause, start=0):
    """Serve `start` bytes, then one byte after each pause."""

    def answer(reply, _):
        reply.begin(200, len(body), ETag='"v1"')
        reply.wfile.write(body[:start])
        for byte in body[start:]:
            reply.wfile.write(bytes([byte]))
            reply.wfile.flush()
            time.sleep(pause)

    return answer


def status(code, body=b"", **headers):
    """Answer with a status."""

    def answer(reply, _):
        reply.begin(code, len(body), **headers)
        reply.wfile.write(body)

    return answer


def after(n, first, then):
    """Answer the first `n` requests in one way, later ones in another."""
    return lambda reply, count: (first if count <= n else then)(reply, count)


class Bucket:
    """A public bucket in a moto server of its own process."""

    def __init__(self, name):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        # small pages and parts, so that few files make several of them
        small = {"MOTO_S3_DEFAULT_MAX_KEYS": "7", "S3_UPLOAD_PART_MIN_SIZE": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-p", str(self.port)],
            env={**os.environ, **small},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.server, self.url = self._wait(), f"http://127.0.0.1:{self.port}/{name}"
        self.server.put(self.url).raise_for_status()

    def _wait(self):
        server = requests.Session()
        for _ in range(600):
            with contextlib.suppress(requests.ConnectionError):
                server.get(
                    f"http://127.0.0.1:{self.port}/moto-api/data.json", timeout=9
                )
                return server
            time.sleep(0.05)
        raise TimeoutError("moto did not start")

    def address(self, key):
        """Return the address of a key, quoted."""
        return f"{self.url}/{requests.utils.quote(key, safe='/')}"

    def put(self, key, body):
        """Upload a file in one part."""
        if isinstance(body, str):
            body = body.encode()
        public = {"x-amz-acl": "public-read"}
        self.server.put(self.address(key), data=body, headers=public).raise_for_status()

    def put_in_parts(self, key, *parts):
        """Upload a file in parts: its ETag is then no MD5 of it."""
        public, where = {"x-amz-acl": "public-read"}, self.address(key)
        begun = self.server.post(f"{where}?uploads", headers=public)
        upload = begun.text.partition("<UploadId>")[2].partition("</UploadId>")[0]
        listed = ""
        for n, part in enumerate(parts, start=1):
            ask = {"partNumber": n, "uploadId": upload}
            etag = self.server.put(where, params=ask, data=part).headers["ETag"]
            listed += f"<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>"
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>"
        self.server.post(
            where, params={"uploadId": upload}, data=body
        ).raise_for_status()

    def delete(self, key):
        """Remove a file."""
        self.server.delete(self.address(key)).raise_for_status()

    def stop(self):
        """Stop the server."""
        self.server.close()
        self.process.kill()
        self.process.wait()


def files_below(folder):
    """Return every file and link below a folder, as text from it; locks are no files."""
    found = [
        path for path in Path(folder).rglob("*") if path.is_symlink() or path.is_file()
    ]
    return sorted(str(p.relative_to(folder)) for p in found if p.suffix != ".lock")
