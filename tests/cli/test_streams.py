"""Results come as they are made; a run that ends early, however it ends, leaves whole files and goes on later."""

import json
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import typer

import heie_hf
from heie_hf.cli.records import print_records

ROOT = Path(heie_hf.__file__).resolve().parents[1]
PATIENCE = 120  # seconds until a test fails that would wait for ever


class Gate:
    """Pictures from a web server, each given out only when the test has opened it."""

    def __init__(self, content: bytes):
        self.asked_for = threading.Event()
        self.opened = threading.Event()
        gate = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                gate.asked_for.set()
                is_open = gate.opened.wait(PATIENCE)
                self.send_response(200 if is_open else 404)
                self.end_headers()
                self.wfile.write(content if is_open else b"")

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/gated.png"


@pytest.fixture
def gate(folder):
    gate = Gate((folder / "b.png").read_bytes())
    yield gate
    gate.opened.set()
    gate.server.shutdown()


@pytest.fixture
def start(tiny_checkpoint):
    """start(...) -> a running `heie predict` with pipes."""

    def popen(*arguments):
        fast = ("--no-explain", "--model", tiny_checkpoint, "--device", "cpu")
        command = [sys.executable, "-m", "heie_hf.cli", "predict", *fast, *map(str, arguments)]
        environment = {**os.environ, "HF_HUB_OFFLINE": "0"}  # the model is a folder, a picture comes from a server
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, **pipes)

    return popen


def test_a_result_is_printed_before_the_next_image_is_read(start, folder, gate):
    with start(folder / "a.jpg", gate.url) as process:
        first = json.loads(process.stdout.readline())
        gate.opened.set()  # had the first line been held back, the second image would have been refused by now
        second = json.loads(process.stdout.readline())
        assert process.stderr.read() == ""
    assert (first["image"], second["image"]) == (str(folder / "a.jpg"), gate.url)
    assert process.returncode == 0


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_interrupt_is_one_line_and_status_130(start, folder, gate, tmp_path, num_workers):
    out = tmp_path / "out"
    with start(folder / "a.jpg", gate.url, "--output-dir", out, "--num-workers", num_workers) as process:
        json.loads(process.stdout.readline())
        assert gate.asked_for.wait(PATIENCE)
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C in a terminal: to all processes
        assert process.stdout.read() == ""
        assert process.stderr.read() == "heie: interrupted\n"
    assert process.returncode == 130
    assert sorted(path.name for path in out.iterdir()) == ["a.heatmap.png", "a.overlay.png", "results.jsonl"]


def test_a_killed_run_goes_on_and_its_leftovers_go(start, folder, gate, tmp_path):
    out = tmp_path / "out"
    arguments = (folder / "a.jpg", gate.url, folder / "b.png", "--output-dir", out)
    with start(*arguments) as process:
        first = process.stdout.readline()
        assert gate.asked_for.wait(PATIENCE)
        os.killpg(process.pid, signal.SIGKILL)
    with (out / "results.jsonl").open("a") as file:
        file.write('{"image": "half a li')
    draft = dead_draft(out)
    written = (out / "a.heatmap.png").stat().st_mtime_ns

    gate.opened.set()
    with start(*arguments, "--resume") as process:
        lines, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert [json.loads(line)["image"] for line in lines.splitlines()] == [gate.url, str(folder / "b.png")]
    assert (out / "results.jsonl").read_text() == first + lines
    assert (out / "a.heatmap.png").stat().st_mtime_ns == written
    assert not draft.exists() and not list(out.glob(".heie-*"))


def dead_draft(folder):
    """What a process leaves that is killed while it writes into the folder."""
    code = f"""
import os, signal
from heie_hf.files import whole_file
with whole_file({str(folder / "b.overlay.png")!r}) as draft:
    draft.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT)
    (draft,) = folder.glob(".heie-*.tmp")
    return draft


def test_an_image_whose_picture_is_gone_is_done_again(predict, folder, tmp_path):
    out = tmp_path / "out"
    _, rows, _ = predict(folder, "--no-explain", "--output-dir", out)
    (out / "b.overlay.png").unlink()
    status, again, _ = predict(folder, "--no-explain", "--output-dir", out, "--resume")
    assert (status, again) == (0, [row for row in rows if row["image"] == str(folder / "b.png")])
    kept = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert sorted(kept, key=lambda row: row["image"]) == rows
    assert (out / "b.overlay.png").is_file()


def test_without_resume_everything_is_done_again(predict, folder, tmp_path):
    first = predict(folder, "--no-explain", "--output-dir", tmp_path / "out")
    assert predict(folder, "--no-explain", "--output-dir", tmp_path / "out") == first
    assert len((tmp_path / "out" / "results.jsonl").read_text().splitlines()) == 4


def test_worker_processes_change_nothing(predict, folder):
    (folder / "damaged.png").write_bytes(b"no picture")
    expected = predict(folder, "--no-explain")
    assert predict(folder, "--no-explain", "--num-workers", 2, "--batch-size", 2) == (
        *expected[:1],
        [{**row, "score": pytest.approx(row["score"], abs=1e-5)} for row in expected[1]],
        *expected[2:],
    )
    assert expected[0] == 1 and len(expected[2]) == 1


def test_a_reader_that_stops_early_is_no_error(start, folder):
    with start(folder) as process:
        assert json.loads(process.stdout.readline())["image"].endswith("a.jpg")
        process.stdout.close()
        assert process.stderr.read() == ""


def test_what_a_library_prints_is_not_among_the_results(capsys):
    app = typer.Typer(result_callback=print_records)

    @app.command()
    def chatty():
        print("loading ...")
        yield {"image": "a.png"}
        print("done")

    @app.command()
    def other():
        raise AssertionError

    app(["chatty"], standalone_mode=False)
    printed = capsys.readouterr()
    assert printed.out == '{"image": "a.png"}\n'
    assert printed.err == "loading ...\ndone\n"


def test_records_are_strict_json():
    with pytest.raises(ValueError, match="JSON"):
        print_records(iter([{"score": float("nan")}]))
