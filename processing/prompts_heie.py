"""How the task is put to the language model: the prompt's template and the wordings of the instruction."""

# InternVL3's template, with the assistant's turn marked for `return_assistant_tokens_mask`.
CHAT_TEMPLATE = (
    "{% macro render(content) %}"
    "{% if content is string %}{{ content }}{% else %}{% for part in content %}"
    "{% if part['type'] == 'image' %}{{ '<IMG_CONTEXT>\\n' }}"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{% endmacro %}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ render(message['content']) }}{{ '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}"
    "{% else %}{{ render(message['content']) }}{{ '<|im_end|>\\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

# Wordings of the one task; training draws from all, the first one is the default.
INSTRUCTIONS = (
    "Find every implausible region in this AI-generated image and explain what is wrong with it.",
    "Mark all implausible areas of this AI-generated image and explain each issue.",
    "Where does this AI-generated image look wrong? Locate each problem and explain it.",
    "List the defects of this AI-generated image, show where they are and explain each one.",
    "Inspect this AI-generated image for flaws, point them out and describe each of them.",
    "Which parts of this AI-generated image are implausible, and why?",
    "Check this AI-generated image for errors, locate them all and say what is wrong.",
    "Point out each problem in this AI-generated image and give the reason.",
)
