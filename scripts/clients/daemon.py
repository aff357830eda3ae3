"""A daemon on a port of its own, and what stands between it and a client to see what is said."""

import http.client
import http.server
import os
import subprocess
import threading
import time

import published


class Daemon:
    """`lapwing serve` with further arguments; `url` leads to it."""

    def __init__(self, *arguments, home=None, port=0):
        environment = dict(os.environ, LAPWING_HOME=home or os.environ["CLIENTS_HOME"])
        environment.pop("LAPWING_CONFIG", None)
        program = [os.environ["LAPWING"], "serve", "--listen", f"127.0.0.1:{port}", *arguments]
        self.process = subprocess.Popen(
            program, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True)
        self.words = []
        self.url = None
        for line in self.process.stderr:
            self.words.append(line)
            if "listening on http://" in line:
                self.url = line.split("listening on ")[1].strip()
                break
        if self.url is None:
            raise RuntimeError("".join(self.words) or "the daemon said nothing")
        threading.Thread(target=self._hear, daemon=True).start()

    def _hear(self):
        self.words.extend(self.process.stderr)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Witness(http.server.ThreadingHTTPServer):
    """Passes requests on to a daemon as they are, and answers back as they come; `faults` collects what
    of the answers is not as it is published."""

    daemon_threads = True

    def __init__(self, daemon):
        super().__init__(("127.0.0.1", 0), Pass)
        self.address = daemon.url.removeprefix("http://")
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.faults, self.n_checked, self.n_open = [], 0, 0
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass

    def collected(self):
        """The faults since this was last asked, once no exchange is open."""
        deadline = time.monotonic() + 10
        while self.n_open and time.monotonic() < deadline:
            time.sleep(0.005)
        with self.lock:
            faults, self.faults = self.faults, []
        return faults


class Pass(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def pass_on(self):
        with self.server.lock:
            self.server.n_open += 1
        try:
            self.exchange()
        finally:
            with self.server.lock:
                self.server.n_open -= 1

    do_GET = do_POST = do_HEAD = do_DELETE = do_OPTIONS = do_PUT = pass_on

    def exchange(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        upstream = http.client.HTTPConnection(self.server.address, timeout=300)
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            upstream.putheader(name, value)
        upstream.endheaders(body)
        answer = upstream.getresponse()
        content_type = answer.getheader("content-type") or ""
        length = answer.getheader("content-length")
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection"):
                self.send_header(name, value)
        has_body = self.command != "HEAD" and answer.status not in (204, 304)
        is_chunked = has_body and length is None
        if is_chunked:
            self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        heard, is_whole = b"", True
        while has_body and (piece := answer.read1(65536)):
            heard += piece
            try:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if is_chunked else piece)
                self.wfile.flush()
            except OSError:
                is_whole, self.close_connection = False, True
                break
        if is_chunked and is_whole:
            self.wfile.write(b"0\r\n\r\n")
        upstream.close()
        if has_body:
            self.judge(answer.status, content_type, heard, is_whole)

    def judge(self, status, content_type, heard, is_whole):
        try:
            faults = published.check(self.path, status, content_type, heard, is_whole)
        except Exception as error:
            faults = [f"{type(error).__name__}: {error}"]
        with self.server.lock:
            self.server.n_checked += 1
            self.server.faults += [f"{self.command} {self.path} {status}: {each}" for each in faults]
