"""The client against a real server on loopback."""

import base64
import io
import json
import logging
import time
from email.utils import formatdate

import pytest
from PIL import Image

from heie_hf.chat import Chat, ChatError, Question, image_part
from tests.metrics.chat_server import Server

KEY = "sk-very-secret-0123"
VARIABLE = "HEIE_TEST_API_KEY"


@pytest.fixture(autouse=True)
def online(monkeypatch):
    """The other tests run with HF_HUB_OFFLINE; here the network is loopback."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv(VARIABLE, KEY)


@pytest.fixture
def server():
    with Server() as server:
        server.reply = lambda prompt, count: "fine"
        yield server


@pytest.fixture
def waits(monkeypatch):
    """The pauses that the client asks for; nobody waits."""
    waits = []
    monkeypatch.setattr("heie_hf.chat.client.sleep", waits.append)
    return waits


def make_chat(server, **options):
    return Chat(**{"model": "model-1", "base_url": server.url, "timeout": 5.0, "key_variable": VARIABLE} | options)


def text_question(text, **options):
    return Question([{"role": "user", "content": text}], options)


def completion(content, finish_reason="stop", **message):
    choice = {
        "index": 0,
        "finish_reason": finish_reason,
        "message": {"role": "assistant", "content": content} | message,
    }
    return 200, json.dumps({"choices": [choice]}), {}


def ask(chat, *texts):
    return chat.ask([text_question(text) for text in texts], str.strip)


# ---------------------------------------------------------------- pauses


def test_pauses_double(server, waits):
    server.reply = lambda prompt, count: (503, "", {})
    with pytest.raises(ChatError, match="attempt 7 of 7"):
        ask(make_chat(server, max_attempts=7), "a")
    assert len(waits) == 6
    for number, wait in enumerate(waits):
        assert 2**number <= wait <= 1.5 * 2**number
    assert len(server.prompts) == 7


def test_pauses_have_an_end(server, waits):
    server.reply = lambda prompt, count: (503, "", {})
    with pytest.raises(ChatError):
        ask(make_chat(server, max_attempts=3, backoff=100), "a")
    assert 100 <= waits[0] <= 120
    assert waits[1] == 120


@pytest.mark.parametrize("status", [429, 503])
def test_the_server_says_how_long(server, waits, status):
    in_a_minute = formatdate(time.time() + 60, usegmt=True)
    asked = {1: "7", 2: "0.5", 3: in_a_minute, 4: "3600", 5: "soon", 6: "Wed, 21 Oct 2015 07:28:00 GMT", 7: "-4"}
    server.reply = lambda prompt, count: (status, "", {"Retry-After": asked[count]}) if count in asked else "fine"
    [answer] = ask(make_chat(server, max_attempts=8, backoff=0.01), "a")
    assert answer.value == "fine"
    assert waits[:2] == [7, 0.5]
    assert 50 < waits[2] <= 60
    assert waits[3] == 120
    assert 0.01 * 2**4 <= waits[4] <= 0.015 * 2**4  # nonsense, and what is over: the client's own pause
    assert 0.01 * 2**5 <= waits[5] <= 0.015 * 2**5
    assert 0.01 * 2**6 <= waits[6] <= 0.015 * 2**6


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 504])
def test_what_may_pass_is_asked_again(server, waits, status):
    server.reply = lambda prompt, count: (status, "", {}) if count == 1 else "fine"
    [answer] = ask(make_chat(server), "a")
    assert (answer.value, answer.requests, len(waits)) == ("fine", 2, 1)


@pytest.mark.parametrize(
    "status, body",
    [
        (429, {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}),
        (402, {"error": "You have exceeded your monthly included credits"}),
        (401, {"error": "wrong key"}),
        (403, {"error": "not yours"}),
        (404, {"error": "no such model"}),
    ],
)
def test_what_will_not_pass_stops_the_run(server, waits, status, body):
    server.reply = lambda prompt, count: (status, json.dumps(body), {}) if prompt == "d" else "fine"
    with pytest.raises(ChatError, match=f"status {status}.*model-1.*{VARIABLE}"):
        ask(make_chat(server, concurrency=1), *"abcdefghijklmnopqrstuvwxyz")
    assert waits == []
    assert len(server.prompts) < 10


# ---------------------------------------------------------------- what is sent, and what comes back


def test_pictures_go_as_data_urls(server):
    picture = Image.radial_gradient("L").convert("RGB")
    question = Question([{"role": "user", "content": [{"type": "text", "text": "?"}, image_part(picture)]}])
    [answer] = make_chat(server).ask([question], str.strip)
    assert answer.value == "fine"
    text, image = server.bodies[0]["messages"][0]["content"]
    assert text == {"type": "text", "text": "?"}
    head, _, data = image["image_url"]["url"].partition(",")
    assert (image["type"], head) == ("image_url", "data:image/png;base64")
    with Image.open(io.BytesIO(base64.b64decode(data))) as received:
        assert received.tobytes() == picture.tobytes()


def test_damaged_texts_can_be_asked_about(server):
    [answer] = ask(make_chat(server), "half a pair: \ud83d")
    assert answer.value == "fine"
    assert server.prompts == ["half a pair: \ud83d"]


@pytest.mark.parametrize("suffix", ["", "/", "/chat/completions", "/chat/completions?version=2"])
def test_addresses_with_and_without_the_last_part(server, suffix):
    ask(make_chat(server, base_url=server.url + suffix), "a")
    ask(make_chat(server, base_url=server.url.removesuffix("/v1")), "b")
    assert server.paths == ["/v1/chat/completions" + suffix.removeprefix("/chat/completions").strip("/")] + [
        "/v1/chat/completions"
    ]


SCHEMA = {"type": "json_schema", "json_schema": {"name": "found", "schema": {"type": "object"}, "strict": True}}


def test_structured_output_where_the_server_can(server):
    server.reply = lambda prompt, count: '{"sensitive": false}'
    [answer] = make_chat(server).ask([text_question("a", response_format=SCHEMA)], json.loads)
    assert answer.value == {"sensitive": False}
    assert server.bodies[0]["response_format"] == SCHEMA


@pytest.mark.parametrize("status", [400, 422])
def test_structured_output_where_it_cannot(server, status):
    def reply(prompt, count):
        is_structured = "response_format" in server.bodies[-1]
        return (status, "unknown field response_format", {}) if is_structured else '{"sensitive": true}'

    server.reply = reply
    questions = [text_question(text, response_format=SCHEMA, temperature=0.5) for text in "abc"]
    answers = make_chat(server, concurrency=1).ask(questions, json.loads)
    assert [answer.value for answer in answers] == [{"sensitive": True}] * 3
    assert [answer.requests for answer in answers] == [2, 1, 1]  # it is remembered
    assert server.bodies[-1]["temperature"] == 0.5


def test_another_mistake_does_not_end_structured_output(server):
    server.reply = lambda prompt, count: (400, "too long", {}) if prompt == "a" else "{}"
    questions = [text_question(text, response_format=SCHEMA) for text in "ab"]
    too_long, good = make_chat(server).ask(questions, json.loads)
    assert "too long" in too_long.error
    assert (good.value, server.bodies[-1]["response_format"]) == ({}, SCHEMA)


def test_an_answer_that_does_not_parse_is_asked_again(server, waits):
    server.reply = lambda prompt, count: "{" if count == 1 else "{}"
    [answer] = make_chat(server).ask([text_question("a")], json.loads)
    assert (answer.value, answer.error, answer.requests) == ({}, None, 2)


@pytest.mark.parametrize("finish", ["stop", "length"])
def test_an_answer_that_was_cut_off_is_none(server, waits, finish):
    server.reply = lambda prompt, count: completion("The hand has six", finish)
    [answer] = ask(make_chat(server, max_attempts=2), "a")
    if finish == "stop":
        assert answer.value == "The hand has six"
    else:
        assert (answer.value, answer.requests) == (None, 2)
        assert "max_tokens" in answer.error


@pytest.mark.parametrize(
    "refusal",
    [
        completion("", "content_filter"),
        completion(None, refusal="I cannot help with that."),
        (400, '{"error": {"code": "content_filter", "message": "filtered"}}', {}),
    ],
)
def test_a_refusal_is_final_and_told_apart(server, waits, refusal):
    server.reply = lambda prompt, count: refusal
    [answer] = ask(make_chat(server), "a")
    assert (answer.is_refused, answer.value, answer.requests, waits) == (True, None, 1, [])


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "null",
        "{",
        "[" * 50_000,
        '{"choices": "abc"}',
        '{"choices": [{"message": "abc"}]}',
        '{"choices": [{"message": {"content": 7}}]}',
        '{"choices": [{"message": {"content": "a"}}], "usage": {"prompt_tokens": 1e999}}',
        '{"choices": [{"message": {"content": "a"}}], "usage": [1]}',
    ],
)
def test_nonsense_is_a_failure_of_its_question(server, waits, status, body):
    server.reply = lambda prompt, count: (status, body, {}) if prompt == "bad" else "fine"
    good, bad = ask(make_chat(server, max_attempts=2), "good", "bad")
    assert (good.value, bad.value) == ("fine", None)
    assert "attempt 2 of 2" in bad.error
    assert len(bad.error) < 500


# ---------------------------------------------------------------- remembered answers


def test_what_was_answered_is_not_asked_again(server, tmp_path):
    cache = tmp_path / "new folder" / "answers.jsonl"
    pictures = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    questions = []
    for picture in pictures:
        for temperature in (0.5, 1.0):
            for sample in range(2):
                messages = [{"role": "user", "content": [image_part(picture)]}]
                questions.append(Question(messages, {"temperature": temperature}, sample))
    server.reply = lambda prompt, count: f"answer {count} to one picture"
    first = make_chat(server, cache=cache, concurrency=1).ask(questions, str.strip)
    assert len(server.prompts) == 8
    assert not any(answer.is_cached for answer in first)
    server.reply = lambda prompt, count: "another"
    second = make_chat(server, cache=cache).ask(questions, str.strip)
    assert len(server.prompts) == 8
    assert [answer.value for answer in second] == [f"answer {count} to one picture" for count in (1, 2, 3, 4)] * 2
    assert [(answer.is_cached, answer.requests) for answer in second] == [(True, 0)] * 8
    assert second[0].prompt_tokens == 100
    [other_model] = make_chat(server, cache=cache, model="model-2").ask(questions[:1], str.strip)
    assert other_model.value == "another"


def test_a_remembered_text_that_is_of_no_use_is_asked_again(server, tmp_path):
    cache = tmp_path / "answers.jsonl"
    make_chat(server, cache=cache).ask([text_question("a")], str.strip)
    server.reply = lambda prompt, count: "7"
    for _ in range(2):
        [answer] = make_chat(server, cache=cache).ask([text_question("a")], int)
        assert answer.value == 7
    assert len(server.prompts) == 2


def test_a_cache_that_cannot_be_used_is_named(server, tmp_path):
    with pytest.raises(ChatError, match=f"cannot read {tmp_path}"):
        ask(make_chat(server, cache=tmp_path), "a")
    (tmp_path / "file").touch()
    with pytest.raises(ChatError, match=f"cannot write {tmp_path / 'file' / 'answers.jsonl'}"):
        ask(make_chat(server, cache=tmp_path / "file" / "answers.jsonl"), "a")


# ---------------------------------------------------------------- secrets


ADDRESSES = [
    ("{scheme}ada:pass%40word{at}{rest}/v1", ["pass%40word", "pass@word"]),
    ("{scheme}tok-en-7788{at}{rest}/v1", ["tok-en-7788"]),
    ("{scheme}{rest}/v1?api_key=q%2Bsecret&version=1", ["q%2Bsecret", "q+secret"]),
    ("{scheme}{rest}/v1?key=qsecret#fragment", ["qsecret"]),
    ("{scheme}{rest}/v1?qsecret", ["qsecret"]),
]


@pytest.mark.parametrize("pattern, secrets", ADDRESSES)
@pytest.mark.parametrize("failure", ["echo", "nonsense", "stalled", "dead", "none"])
def test_keys_and_passwords_are_shown_nowhere(server, waits, tmp_path, caplog, capfd, pattern, secrets, failure):
    scheme, _, rest = server.url.removesuffix("/v1").partition("//")
    address = pattern.format(scheme=f"{scheme}//", at="@", rest=rest)
    chat = make_chat(server, base_url=address, cache=tmp_path / "answers.jsonl", max_attempts=1, timeout=0.3)

    def reply(prompt, count):
        if prompt == "good" or failure == "none":
            return "fine"
        if failure == "stalled":
            time.sleep(0.6)
        if failure == "nonsense":
            return f"{address} {KEY} {secrets}"
        return 400, f"{address} {server.paths[-1]} {server.keys[-1]} {KEY} {secrets}", {}

    server.reply = reply
    if failure == "dead":
        server.http.shutdown()
        server.http.server_close()
    said = [repr(chat), chat.server]
    with caplog.at_level(logging.DEBUG):
        try:
            answers = chat.ask([text_question("good"), text_question("bad")], parse_fine)
            said += [str(answer.error) for answer in answers]
        except ChatError as error:
            said.append(str(error))
    log = caplog.text + "".join(capfd.readouterr())
    cached = (tmp_path / "answers.jsonl").read_text() if failure != "dead" else ""
    for secret in [KEY, base64.b64encode(b"ada:pass@word").decode(), *secrets]:
        assert secret not in "\n".join([*said, log, cached])
    assert chat.server == server.url
    if failure != "dead":
        assert "chat/completions" in log  # there was something to hide it in
        assert secrets[0] in address and server.url in log


def parse_fine(text):
    if text != "fine":
        raise ValueError("not fine")
    return text


def test_user_and_password_or_query_reach_the_server(server):
    scheme, _, rest = server.url.partition("//")
    ask(make_chat(server, base_url=f"{scheme}//ada:pass%40word@{rest}?api_key=qsecret"), "a")
    assert server.keys == ["Basic " + base64.b64encode(b"ada:pass@word").decode()]
    assert server.paths == ["/v1/chat/completions?api_key=qsecret"]


def test_a_picture_that_the_server_sends_back_is_not_shown(server):
    picture = image_part(Image.radial_gradient("L"))
    server.reply = lambda prompt, count: (422, json.dumps({"detail": server.bodies[-1]["messages"]}), {})
    [answer] = make_chat(server).ask([Question([{"role": "user", "content": [picture]}])], str.strip)
    assert "data:image/png;base64,..." in answer.error


@pytest.mark.parametrize(
    "address", ["", "localhost:8000", "ada:secret@host/v1", "ftp://ada:secret@host", "http://", "http://ada:se#cret@h"]
)
def test_what_is_no_address_is_refused_without_being_shown(address):
    with pytest.raises(ValueError, match="must look like http://HOST:PORT/v1$"):
        Chat("model-1", address, key_variable=VARIABLE)


def test_a_key_with_strange_letters_is_refused(server, monkeypatch):
    monkeypatch.setenv(VARIABLE, "sk-schlüssel")
    with pytest.raises(ChatError, match=VARIABLE) as error:
        ask(make_chat(server), "a")
    assert "schl" not in str(error.value)
    monkeypatch.setenv(VARIABLE, f" {KEY}\n")  # as a file has it
    ask(make_chat(server), "a")
    assert server.keys == [f"Bearer {KEY}"]
