"""What README.md and docs/*.md show: fenced blocks, commands of the tool `postern`, and what these are at the tool itself."""
import os
import re
import shlex
import subprocess

from conftest import BIN, TOP

GENERATED = ("configuration.md", "events.md", "metrics.md")
TOOL = re.compile(r"(?:\$ )?(?:build/bin/)?postern ([a-z].*)", re.S)
SHELL = re.compile(r"\s+(?:2?>|<|\||&|;).*", re.S)


def pages():
    """{name: text} of what people have written."""
    names = ["README.md"] + [f"docs/{n}" for n in os.listdir(os.path.join(TOP, "docs")) if n.endswith(".md") and n not in GENERATED]
    names += [f"{n}/README.md" for n in os.listdir(TOP) if os.path.exists(os.path.join(TOP, n, "README.md"))]
    out = {}
    for name in sorted(names):
        with open(os.path.join(TOP, name), encoding="utf-8") as f:
            out[name] = f.read()
    return out


def blocks(text):
    """(its word, its lines) of each fenced block."""
    return [(m.group(1), m.group(2)) for m in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)]


def samples(word):
    """(page, text) of each block with this word."""
    return [(page, text) for page, whole in pages().items() for kind, text in blocks(whole) if kind == word]


def bare(text):
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


def words_of_line(line):
    return shlex.split(SHELL.sub("", TOOL.fullmatch(line).group(1)))


def sessions():
    """(page, words, output) of each command at a prompt with what the page says that it prints, "" when it does not."""
    for page, text in samples("console"):
        for part in re.split(r"(?m)^\$ ", text)[1:]:
            line, _, output = part.partition("\n")
            yield page, words_of_line(line), output


class Commands:
    """The rows of the tool, as its own help tells them."""

    def __init__(self):
        rows = re.findall(r"(?m)^  ([a-z]+(?: [a-z]+)?)  ", self.tool("--help").stdout.split("options:")[0])
        self.names = set(rows)
        self.groups = {name.split()[0] for name in rows if " " in name}

    @staticmethod
    def tool(*words):
        return subprocess.run([os.path.join(BIN, "postern"), *words], capture_output=True, text=True, timeout=60, check=False)

    def name(self, words):
        """Of the command that these are, or None."""
        first = [" ".join(words[:n]) for n in (2, 1)]
        return next((name for name in first if name in self.names), None)

    def problem(self, words):
        """What the tool has against them, or None."""
        if self.name(words) is None:
            return "no such command"
        told = self.tool("--help", *words)
        return None if told.returncode == 0 else told.stderr.split("\n")[0]

    def wants_more(self, words):
        """Is this only the command's name, in a sentence about it?"""
        name = self.name(words)
        more = self.tool(*name.split(), "--help").stdout.split("\n")[0].removeprefix(f"usage: postern {name} ")
        return len(words) == len(name.split()) and not more.startswith("[")

    def shown(self):
        """(page, words) of each command in a block or between backquotes; there also without the name of the tool (`queue list`)."""
        for page, text in pages().items():
            lines = [line for kind, block in blocks(text) if kind in ("sh", "console") for line in block.split("\n")]
            yield from ((page, words_of_line(line)) for line in lines if TOOL.fullmatch(line))
            for span in re.findall(r"`([^`]+)`", bare(text)):
                yield from ((page, words) for words in self.of_span(" ".join(span.split())))

    def of_span(self, span):
        whole = TOOL.fullmatch(span)
        short = span.split()[0] in self.groups and re.fullmatch(r"[a-z]+ [a-z|\\]+( [^;{]*)?", span)
        if not whole and not short:
            return
        words = (whole.group(1) if whole else span).replace("\\|", "|").replace("...", "").split()
        if len(words) == 1 and words[0] in self.groups:  # "postern store ...": all of them
            return
        for second in words[1].split("|") if len(words) > 1 else [None]:
            yield words[:1] + [second] * (second is not None) + words[2:]
