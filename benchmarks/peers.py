"""Ways to serve one large model, as real servers: what all are given, how each is started, asked, and ended."""

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from operator import itemgetter
from pathlib import Path
from typing import Any

import psutil

from mlops_helpers.model import artifact, data, training
from mlops_helpers.model.simulate import simulate
from mlops_helpers.workspace import atomic_folder, cache, project_root

HOST, BUILD = "127.0.0.1", project_root() / "build" / "bench"
REQUIREMENTS = Path(__file__).with_name("mlserver.txt")


os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # read when mlflow is imported


class Workload:
    """A model of about 200,000 terms, trained when it is first asked for, and 100,000 comments, all different."""

    def __init__(self) -> None:
        self.folder = cache("bench") / f"workload-{version('scikit-learn')}-{version('mlflow')}"
        if not self.folder.exists():
            comments = data.load("simulated", n_comments=40_000, seed=11)
            model = training.train(comments.frame, comments.sha256)
            with atomic_folder(self.folder) as fresh:
                (fresh / "pipeline.pickle").write_bytes(pickle.dumps(model.pipeline, protocol=5))
                (fresh / "texts.json").write_text(json.dumps(simulate(120_000, seed=12)["text"].unique().tolist()))
                artifact.export(model, fresh / "artifact")
                import mlflow.sklearn

                how: dict[str, Any] = {"serialization_format": "pickle", "pyfunc_predict_fn": "predict_proba"}
                mlflow.sklearn.save_model(model.pipeline, fresh / "mlflow", pip_requirements=["scikit-learn"], **how)
        self.pipeline = pickle.loads((self.folder / "pipeline.pickle").read_bytes())
        self.texts: list[str] = json.loads((self.folder / "texts.json").read_bytes())
        self.artifact = artifact.load(self.folder / "artifact")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # mlflow starts "uvicorn" by its name
        self.environment = os.environ | {"WORKLOAD": str(self.folder), "PATH": path}


@dataclass
class Peer:
    """One way to serve the pipeline; while it runs, on ``port``, ``seconds`` after its start it gave its first answer.

    ``command`` lacks the port at its end; ``score`` reads the spam score from an answer, None where there is none.
    """

    name: str
    command: Sequence[str]
    path: str
    body: Callable[[str], object]
    score: Callable[[Any], float | None] = itemgetter("score")
    port: int = field(default=0, init=False)
    seconds: float = field(default=0.0, init=False)
    process: psutil.Popen = field(default=None, init=False)

    def request(self, text: str) -> bytes:
        """Return the complete bytes of a keep-alive request."""
        content = json.dumps(self.body(text), ensure_ascii=False).encode()
        head = f"POST {self.path} HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: application/json"
        return f"{head}\r\ncontent-length: {len(content)}\r\n\r\n".encode() + content

    def ask(self, text: str) -> float | None:
        """Return the score of a text. Raises ``OSError`` without an answer of status 200."""
        content, headers = json.dumps(self.body(text)).encode(), {"content-type": "application/json"}
        request = urllib.request.Request(f"http://{HOST}:{self.port}{self.path}", content, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return self.score(json.load(answer))

    def megabytes(self) -> float:
        """Return the resident memory of all its processes; shared pages count in each."""
        return sum(one.memory_info().rss for one in (self.process, *self.process.children(recursive=True))) / 1e6

    @contextmanager
    def running(self, workload: Workload) -> Iterator["Peer"]:
        """Start it, verify its answers, end it afterwards. Raises ``RuntimeError`` without right answers."""
        log = BUILD / "logs" / f"{self.name.replace(' ', '-')}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with socket.socket() as probe:  # some servers cannot choose a port themselves
            probe.bind((HOST, 0))
            self.port = int(probe.getsockname()[1])
        began, command = time.perf_counter(), [*self.command, str(self.port)]
        with log.open("wb") as output:  # a session of its own: an interrupt is for this process alone, which cleans up
            options: dict[str, Any] = {"cwd": project_root(), "env": workload.environment, "start_new_session": True}
            self.process = psutil.Popen(command, stdout=output, stderr=subprocess.STDOUT, **options)
        try:
            while not self.seconds:
                with suppress(OSError):  # not listening yet, or the model is not loaded yet
                    self.ask(workload.texts[-1])
                    self.seconds = time.perf_counter() - began
                if self.process.poll() is not None or time.perf_counter() > began + 120:
                    raise RuntimeError(f"{self.name} gave no answer. {log}: {log.read_text(errors='replace')[-1000:]}")
                time.sleep(0.005)
            self._verify(workload)
            yield self
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGTERM)
                with suppress(psutil.TimeoutExpired):
                    self.process.wait(10)
                os.killpg(self.process.pid, signal.SIGKILL)  # what does not end by itself, or outlived its parent
            self.process.wait()

    def _verify(self, workload: Workload) -> None:
        """Compare scores with the pipeline's, 64 requests at a time, since batching is what could mix answers up."""
        texts = workload.texts[-256:]  # loads take theirs from the other end
        with ThreadPoolExecutor(64) as pool:
            scores = list(pool.map(self.ask, texts))
        for text, score, right in zip(texts, scores, workload.pipeline.predict_proba(texts)[:, 1], strict=True):
            if score is not None and abs(score - right) > 1e-6:
                raise RuntimeError(f"{self.name} scored {text!r} {score}, the pipeline {right}")


def opslab(workload: Workload, folder: Path, durability: str) -> Peer:
    """``opslab serve``; its log with this ``durability``."""
    command = [sys.executable, "-m", "mlops_helpers.cli", "serve", str(workload.artifact.folder)]
    command += ["--sha256", workload.artifact.sha256, "--durability", durability]
    command += ["--folder", str(folder / durability), "--port"]
    body = lambda text: {"id": f"c-{hash(text):x}", "text": text}  # noqa: E731
    return Peer(f"opslab serve, {durability}", command, "/v1/classify", body)


def gateway(behind: Peer, folder: Path) -> Peer:
    """``opslab gateway`` in front of a running ``opslab serve``."""
    command = [sys.executable, "-m", "mlops_helpers.cli", "gateway", "--upstream", f"v1={HOST}:{behind.port}"]
    return replace(behind, name="opslab gateway", command=[*command, "--folder", str(folder / "gateway"), "--port"])


def application(name: str, factory: str) -> Peer:
    """An application of :mod:`benchmarks.apps` on uvicorn, with the same event loop and parser as ours."""
    command = [sys.executable, "-m", "uvicorn", f"benchmarks.apps:{factory}", "--factory", "--host", HOST]
    command += ["--loop", "uvloop", "--http", "httptools", "--lifespan", "off", "--no-access-log", "--port"]
    return Peer(name, command, "/classify", lambda text: {"text": text})


def mlflow_serve(workload: Workload) -> Peer:
    """``mlflow models serve``, one worker, in this environment; no signature, so that nothing is spent on it."""
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(workload.folder / "mlflow")]
    command += ["--env-manager", "local", "--host", HOST, "--workers", "1", "--port"]
    body, score = lambda text: {"inputs": [text]}, lambda answer: answer["predictions"][0][1]
    return Peer("mlflow models serve", command, "/invocations", body, score)


def mlserver(workload: Workload, wait: float) -> Peer:
    """MLServer, its batches of up to 64 waiting so many seconds for company. Raises ``RuntimeError`` without it."""
    program, folder = _mlserver_program(), BUILD / f"mlserver-{wait:g}"
    extra, uri = {"predict_fn": "predict_proba"}, str(workload.folder / "pipeline.pickle")
    model: dict[str, Any] = {"name": "spam", "implementation": "mlserver_sklearn.SKLearnModel", "max_batch_size": 64}
    model |= {"max_batch_time": wait, "parameters": {"uri": uri, "content_type": "str", "extra": extra}}
    settings = {"host": HOST, "grpc_port": 0, "metrics_port": 0, "parallel_workers": 0, "debug": False}
    (folder / "spam").mkdir(parents=True, exist_ok=True)
    (folder / "spam" / "model-settings.json").write_text(json.dumps(model))
    (folder / "settings.json").write_text(json.dumps(settings))
    start = 'MLSERVER_HTTP_PORT=$2 exec "$0" start "$1"'
    name, command = f"MLServer, batches wait {1000 * wait:g} ms", ["sh", "-c", start, str(program), str(folder)]
    text, score = {"name": "text", "shape": [1], "datatype": "BYTES"}, lambda of: of["outputs"][0]["data"][1]
    return Peer(name, command, "/v2/models/spam/infer", lambda of: {"inputs": [text | {"data": [of]}]}, score)


def _mlserver_program() -> Path:
    """Return the program in an environment of its own, made when its requirements change."""
    folder, pin = project_root() / "build" / "mlserver", f"scikit-learn=={version('scikit-learn')}"
    ready, wanted = folder / ".ready", f"{pin}\n{REQUIREMENTS.read_text('utf-8')}"
    if not ready.is_file() or ready.read_text("utf-8") != wanted:
        uv, environment = [sys.executable, "-m", "uv"], os.environ | {"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"}
        install = ["pip", "install", "--python", str(folder / "bin" / "python"), "-r", str(REQUIREMENTS), pin]
        for step in (["venv", "--clear", "--python", sys.executable, str(folder)], install):
            done = subprocess.run([*uv, *step], env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"uv cannot install it: {done.stderr[-250:]}. Next: see that an index is reached")
        ready.write_text(wanted, "utf-8")  # last: an interrupted installation is made again
    return folder / "bin" / "mlserver"
