"""A page as a reader's tools see it: tags, texts, tables, figures."""

import json
import re
from html.parser import HTMLParser

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.html = html
        self.tags = []  # (name, attributes)
        self.open = []
        self.texts = []  # (names of the open tags, text)
        self.rows = []  # of all tables: lists of cells
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((tuple(self.open), data))
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data

    @property
    def text(self):
        """All that is read on the page."""
        read = [text for tags, text in self.texts if not {"style", "script"} & set(tags)]
        return re.sub(r"\s+", " ", " ".join(read))

    @property
    def figures(self):
        found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', self.html)
        return json.loads(found[1])

    @property
    def style(self):
        return "".join(text for tags, text in self.texts if tags and tags[-1] == "style")

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def ids(self):
        return [attributes["id"] for _, attributes in self.tags if "id" in attributes]
