"""A stranger's chat template is a program: it is tried out where it can be stopped."""

import json
import subprocess
import sys
from typing import Any

from heie_hf.processing.processing_heie import CHAT_TEMPLATE

MAX_CPU_SECONDS = 5
MAX_SECONDS = 120  # where a machine is busy; and where there are no other limits
MAX_BYTES = 2**31
# Transformers' own sandbox, in a process of its own, which loads no PyTorch.
RENDER = f"""
import json, os, sys
if os.name == "posix":
    import resource
    resource.setrlimit(resource.RLIMIT_CPU, ({MAX_CPU_SECONDS}, {MAX_CPU_SECONDS}))
    resource.setrlimit(resource.RLIMIT_AS, ({MAX_BYTES}, {MAX_BYTES}))
from transformers.utils.chat_template_utils import render_jinja_template
given = json.load(sys.stdin)
try:
    render_jinja_template([given["conversation"]], chat_template=given["template"], add_generation_prompt=True)
except MemoryError:
    sys.exit("it takes too much memory")
except BaseException as error:
    sys.exit(" ".join(str(error).split()) or type(error).__name__)
"""
CONVERSATION = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is wrong here?"}]}]


def check_template(template: Any) -> None:
    """Refuse a chat template that fails, or does not end within `MAX_CPU_SECONDS` and `MAX_BYTES`.

    HEIE's own, which nearly every model has, is known to end and is not tried out.

    Raises:
        ValueError: with what is wrong with it.
    """
    if not isinstance(template, str):
        raise ValueError(f"the chat template is a {type(template).__name__}, not a text")
    if template.endswith(CHAT_TEMPLATE) and "{" not in template.removesuffix(CHAT_TEMPLATE):
        return
    given = json.dumps({"template": template, "conversation": CONVERSATION})
    command = [sys.executable, "-c", RENDER]
    try:
        result = subprocess.run(command, input=given, capture_output=True, text=True, timeout=MAX_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise ValueError("the chat template does not end") from error
    if result.returncode < 0:  # killed by a signal, as processes are that go beyond their CPU seconds
        raise ValueError("the chat template does not end")
    if result.returncode > 0:
        lines = result.stderr.strip().splitlines()
        raise ValueError(f"the chat template fails: {lines[-1]}")
