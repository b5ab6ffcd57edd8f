"""A server with OpenAI's chat completions whose "model" knows the drawn scenes: it answers by the picture.

It stands in for a vendor, so that `heie annotate` can be walked through without a key, and it errs in
known places:

    one in 40 pictures      is called sensitive
    one in 10 scenes        its first text speaks of the red circle; told so, it writes the text without
    one in 50 scenes        keeps speaking of it
    one in 30 requests      gets status 503, as from a busy server

python examples/annotate/stub_server.py scenes 8111
"""

import json
import sys
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

from heie_hf.annotation.prompts import FILTER, NO_REGIONS
from heie_hf.annotation.visual_prompt import VisualPrompt, draw_contours
from heie_hf.chat import image_part
from heie_hf.data import load
from heie_hf.processing.explanation_heie import Explanation, render

SENSITIVE, LEAK, STUBBORN, BUSY = 40, 10, 50, 30
LEAK_PLACE = "### Analysis of Issues\n"


class KnownScenes:
    """Answers to all questions about the scenes of a folder."""

    def __init__(self, folder: str):
        self.verdicts, self.free_texts, self.explanations = {}, {}, {}
        self.stages = Counter()
        for number, row in enumerate(load(folder), 1):
            drawn = draw_contours(row["image"], row["heatmap"])
            is_sensitive = number % SENSITIVE == 0
            verdict = {"sensitive": is_sensitive, "category": "politics" if is_sensitive else "none"}
            self.verdicts[_address(row["image"])] = json.dumps(verdict)
            free_text = f"[{number}] {row['description']} {row['regions']} {row['analysis']}"
            self.free_texts[_address(drawn.image)] = free_text
            self.explanations[free_text] = number, _explanation(row, drawn)

    def answer(self, messages: list[dict]) -> str:
        content = messages[0]["content"]
        if isinstance(content, str):
            return self._format(content, is_repair=len(messages) > 1)
        question, picture = content
        address = picture["image_url"]["url"]
        if question["text"] == FILTER:
            self.stages["filter"] += 1
            return self.verdicts[address]
        self.stages["free form"] += 1
        return self.free_texts[address]

    def _format(self, question: str, is_repair: bool) -> str:
        self.stages["repair" if is_repair else "format"] += 1
        free_text = question.partition("<text>\n")[2].partition("\n</text>")[0]
        number, explanation = self.explanations[free_text]
        if number % STUBBORN == 0 or (number % LEAK == 0 and not is_repair):
            return render(explanation).replace(
                "### Analysis of Issues\n", "### Analysis of Issues\nIn the red circle: "
            )
        return render(explanation)


def _address(image) -> str:
    return image_part(image)["image_url"]["url"]


def _explanation(row: dict, drawn: VisualPrompt) -> Explanation:
    """The truth, each line with the number of its region where there are several."""
    if not drawn.regions:
        return Explanation(row["description"], NO_REGIONS, row["analysis"])
    if len(drawn.regions) == 1:
        return Explanation(row["description"], row["regions"], row["analysis"])
    lines = []
    for line, defect in zip(row["analysis"].splitlines(), row["defects"], strict=True):
        overlaps = [_overlap(region.box, defect["box"]) for region in drawn.regions]
        number = overlaps.index(max(overlaps)) + 1
        lines.append(f"{line} (region {number})")
    return Explanation(row["description"], row["regions"], "\n".join(lines))


def _overlap(box: list[float], other: list[float]) -> float:
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    return max(0.0, width) * max(0.0, height)


def make_server(scenes: KnownScenes, port: int = 0) -> ThreadingHTTPServer:
    """On loopback; port 0 takes a free one."""
    requests = count(1)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if next(requests) % BUSY == 0:
                self._send(503, {"error": "busy"})
                return
            text = scenes.answer(body["messages"])
            usage = {"prompt_tokens": 1000, "completion_tokens": len(text) // 4}
            message = {"role": "assistant", "content": text}
            self._send(200, {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})

        def _send(self, status, content):
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


if __name__ == "__main__":
    folder, port = sys.argv[1], int(sys.argv[2])
    server = make_server(KnownScenes(folder), port)
    print(f"http://127.0.0.1:{port}/v1 answers for {folder}", file=sys.stderr)
    server.serve_forever()
