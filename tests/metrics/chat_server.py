"""A chat server on loopback, with OpenAI's API, for the tests of whoever asks one."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """Answers by `reply(prompt, count)`: a text, or (status, body, headers). Use as a context manager."""

    def __init__(self):
        self.reply = lambda prompt, count: "Rating: 7"
        self.prompts, self.keys, self.bodies, self.paths = [], [], [], []
        self.under_way = self.most_under_way = 0
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                outer.answer(self)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, request):
        body = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        prompt = body["messages"][-1]["content"]
        with self.lock:
            self.prompts.append(prompt)
            self.keys.append(request.headers["Authorization"])
            self.bodies.append(body)
            self.paths.append(request.path)
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        reply = self.reply(prompt, self.prompts.count(prompt))
        if isinstance(reply, str):
            message = {"role": "assistant", "content": reply}
            usage = {"prompt_tokens": 100, "completion_tokens": 3, "total_tokens": 103}
            reply = 200, json.dumps({"choices": [{"index": 0, "message": message}], "usage": usage}), {}
        status, text, headers = reply
        with self.lock:
            self.under_way -= 1
        try:
            request.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(text))}).items():
                request.send_header(name, value)
            request.end_headers()
            request.wfile.write(text.encode())
        except OSError:
            pass  # the client gave up waiting

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.http.shutdown()
        self.http.server_close()
