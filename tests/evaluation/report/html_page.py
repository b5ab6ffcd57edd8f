"""A page as tests read it."""

from html.parser import HTMLParser

VOID = ("meta", "img", "input", "br", "link")


class Page(HTMLParser):
    """`tags`: name and attributes in order; `text`: all text of the body; `open`: tags that were not closed."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.pieces = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] not in (["style"], ["script"]):
            self.pieces.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.pieces).split())

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]
