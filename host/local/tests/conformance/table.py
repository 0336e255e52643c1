"""Writes docs/conformance.md: what conformance.py finds here and in stand-ins that others wrote.

    target/standins/venv/bin/python host/local/tests/conformance/table.py

It takes about ten minutes, five of which are an iterator's life. It needs what `.ci/test --install` installs, our own
binary (`cargo build --release -p shardwright-local`), and ferrokinesis, which it installs under target/standins if it is
not on the path (five minutes of compiling).
"""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[3]
STANDINS = pathlib.Path(os.environ.get("SHARDWRIGHT_STANDINS", ROOT / "target/standins"))
FERROKINESIS = "0.7.0"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ours(port, folder):
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return [target / "release/shardwright-local", "--port", port, "--data-dir", folder], {}


def kinesis_local(port, folder):
    package = STANDINS / "node_modules/kinesis-local"
    return ["node", package / "main.js"], {
        "SHARD_LIMIT": 2000,
        "LOG_LEVEL": "ERROR",
        "KINESIS_MOCK_PLAIN_PORT": port,
        "KINESIS_MOCK_TLS_PORT": free_port(),
        "KINESIS_MOCK_CERT_PATH": package / "server.json",
    }


def ferrokinesis(port, folder):
    found = shutil.which("ferrokinesis") or STANDINS / "bin/ferrokinesis"
    if not pathlib.Path(found).exists():
        install = ["cargo", "install", "ferrokinesis", "--version", FERROKINESIS, "--locked", "--root", STANDINS]
        subprocess.run(install, check=True)
    return [found, "--port", port, "--shard-limit", 2000, "--log-level", "warn"], {}


def ministack(port, folder):
    return [pathlib.Path(sys.executable).with_name("ministack")], {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": port}


SERVERS = {
    "Shardwright": ours,
    "kinesis-local 0.6.2": kinesis_local,
    f"ferrokinesis {FERROKINESIS}": ferrokinesis,
    "ministack 1.5.33": ministack,
}


@contextlib.contextmanager
def serving(start):
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        command, settings = start(port, folder)
        settings = {**os.environ, **{name: str(value) for name, value in settings.items()}}
        with open(pathlib.Path(folder) / "log", "w") as log:
            server = subprocess.Popen([str(word) for word in command], env=settings, cwd=folder, stdout=log, stderr=log)
        try:
            for _ in range(300):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                if server.poll() is not None:
                    raise SystemExit(f"{command[0]} ended: " + (pathlib.Path(folder) / "log").read_text())
                time.sleep(0.1)
            # The first answer of some takes seconds.
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(30)


def results(start, slow):
    with serving(start) as url, tempfile.NamedTemporaryFile() as file:
        script = [sys.executable, HERE / "conformance.py", url, "--slow", slow, "--json", file.name]
        subprocess.run([str(word) for word in script], stdout=subprocess.DEVNULL)
        return json.load(open(file.name))


def found():
    """By server and check. One server at a time, so that none is slow because of another; they wait together."""
    by_server = {}
    for name, start in SERVERS.items():
        by_server[name] = results(start, "skip")
        print(f"{name}: done but for what takes minutes", flush=True)
    with ThreadPoolExecutor(len(SERVERS)) as pool:
        waited = pool.map(lambda start: results(start, "only"), SERVERS.values())
        for by, slow in zip(by_server.values(), waited):
            by.update(slow)
    return by_server


MARKS = {"holds": "yes", "fails": "**no**", "cannot be asked": "n/a"}


def table(found):
    checks = list(next(iter(found.values())))
    lines = ["| what a client may count on | " + " | ".join(found) + " |", "|---|" + "---|" * len(found)]
    for check in checks:
        marks = [MARKS[by[check][0]] for by in found.values()]
        lines.append(f"| {check} | " + " | ".join(marks) + " |")
    sums = []
    for by in found.values():
        kinds = [kind for kind, _ in by.values()]
        sums.append(f"{kinds.count('holds')} of {len(kinds) - kinds.count('cannot be asked')}")
    lines.append("| **in all** | " + " | ".join(sums) + " |")
    return lines


def reasons(found):
    for server, by in found.items():
        failed = {check: reason for check, (kind, reason) in by.items() if kind == "fails"}
        if failed:
            yield f"## {server}"
            yield ""
            for check, reason in failed.items():
                shown = " ".join(reason.replace("|", "/").replace("`", "'").split())[:180]
                yield f"- {check}: `{shown}`"
            yield ""


def main():
    by_server = found()
    head = (HERE / "head.md").read_text().rstrip()
    text = "\n".join([head, "", *table(by_server), "", *reasons(by_server)]).rstrip() + "\n"
    (ROOT / "docs/conformance.md").write_text(text)


if __name__ == "__main__":
    main()
