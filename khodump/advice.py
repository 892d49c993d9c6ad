"""What a person can do to see for oneself: commands as values, with blanks that are filled in where a place is known.

A rule or an error declares a command once. It is shown with placeholders where there is no image (`--explain`, docs), and
filled in and quoted for the shell where there is one: such a command can be pasted.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from itertools import chain
from typing import Final


class Blank(Enum):
    """What a command leaves open; the value stands for it in docs."""

    PHYS = "PHYS"  # the address that the finding is about
    ENTRY = "ENTRY"  # the address at which the bad entry stands
    AROUND = "PHYS-PHYS+4K"  # the page of PHYS, as a range
    FDT = "FDT-ADDRESS"  # where the root FDT lies
    FDT_FILE = "FDT-FILE"  # the file that was given as the root FDT
    SESSION = "SESSION"
    TOKEN = "TOKEN"  # noqa: S105 - the name of a file in a session
    KEY = "KEY"  # of the radix tree
    PAGE_SIZE = "SIZE"  # the kernel's
    OTHER_VERSION = "OTHER-VERSION"  # the version that has the same compatible string


#: What is known of one finding: the words for blanks.
Words = Mapping[Blank, str]


class Takes(Enum):
    """What names the memory that a command reads."""

    NOTHING = 0
    IMAGE = 1  # files, and how to read them
    HANDOVER = 2  # besides, which handover in them


#: Commands that take something else than a handover.
_TAKES: Final = {"scan": Takes.IMAGE, "key": Takes.NOTHING}
#: Commands that take one image as argument, and further files of it by an option.
_ONE_IMAGE: Final = {"lookup": "--image"}
#: Commands, and options of theirs, that say what is in the image also where the root FDT leads to no map.
_FOR_BROKEN: Final = ("lookup", "scan", "--dts")


@dataclass(frozen=True)
class Command:
    """A command of khodump, or of another program.

    Attributes:
        name: of the command.
        words: its arguments and options, without what names the image.
        program: that it belongs to; None where `name` is a program of its own, which reads no image.
    """

    name: str
    words: tuple[str | Blank, ...] = ()
    program: str | None = "khodump"

    @property
    def takes(self) -> Takes:
        """What names the memory that it reads."""
        return Takes.NOTHING if self.program is None else _TAKES.get(self.name, Takes.HANDOVER)

    @property
    def can_be_broken(self) -> bool:
        """Whether it says something of a handover that cannot be opened."""
        return self.takes is Takes.NOTHING or any(word in _FOR_BROKEN for word in (self.name, *self.words))

    def filled(self, words: Words) -> Command | None:
        """The command without blanks; None where one of them is not known."""
        texts = [words.get(word) if isinstance(word, Blank) else word for word in self.words]
        if None in texts:
            return None
        known = tuple(text for text in texts if text is not None)
        return Command(self.name, known, self.program)


SCAN: Final = Command("scan")
CHECK: Final = Command("check")


@dataclass(frozen=True)
class Parameter:
    """What a person may say with a request: a keyword of a function in Python, an option of a command at a prompt.

    Attributes:
        keyword: in Python.
        option: at a prompt.
        value: that is meant, as it is typed at a prompt; empty for none.
        literal: the same as Python has it.
    """

    keyword: str
    option: str
    value: str = ""
    literal: str = ""

    def of(self, value: str | int) -> Parameter:
        """The same with this value."""
        return replace(self, value=str(value), literal=repr(value))

    def taking(self, what: str) -> Parameter:
        """The same with a word that stands for a value."""
        return replace(self, value=what, literal=what)

    def as_option(self) -> str:
        """As it is typed at a prompt."""
        return f"{self.option} {self.value}".rstrip()

    def as_keyword(self) -> str:
        """As it is written in Python."""
        return f"{self.keyword}={self.literal}"


FDT: Final = Parameter("fdt", "--fdt")
FORCE: Final = Parameter("force", "--force", literal="True")
FORCE_PLACEMENT: Final = Parameter("force_placement", "--force-placement", literal="True")
INCOMING: Final = Parameter("incoming", "--in", literal="True")
PAGE_SIZE: Final = Parameter("page_size", "--page-size")
RANGES: Final = Parameter("ranges", "--ranges")
ROOT: Final = Parameter("root", "--root")
SCRATCH: Final = Parameter("scratch", "--scratch")
VERSION: Final = Parameter("version", "--as")

#: An option with its value, if it takes one, as words.
Option = tuple[str, ...]


def given(options: Mapping[str, str | bool | None]) -> tuple[Option, ...]:
    """Those of these options that were given: with a value that is a text, by itself where it is True."""
    said = ((name, value) for name, value in options.items() if value is not None and value is not False)
    return tuple((name,) if value is True else (name, str(value)) for name, value in said)


@dataclass(frozen=True)
class Invocation:
    """How a handover was named at a prompt: what a command that is to look at it again has to be given.

    Attributes:
        images: the files that make the image; none for this machine.
        image_options: how to read them, or that this machine is meant.
        handover_options: which handover in them.
        program: what the commands belong to.
        commands: those that it has; None for all.
        fdt_file: the root FDT, where a file was given for it.
        wording: how parameters are called there.
    """

    images: tuple[str, ...] = ()
    image_options: tuple[Option, ...] = ()
    handover_options: tuple[Option, ...] = ()
    program: str = "khodump"
    commands: tuple[str, ...] | None = None
    fdt_file: str | None = None
    wording: Callable[[Parameter], str] = Parameter.as_option

    def has(self, command: Command) -> bool:
        """Whether the command can be given here."""
        return command.program is None or self.commands is None or command.name in self.commands

    def line(self, command: Command) -> str:
        """The command as a line for a shell."""
        words = [word.value if isinstance(word, Blank) else word for word in command.words]
        if command.program is None:
            return shlex.join([command.name, *words])
        named = [self.program, command.name, *self._images(command, words)]
        return shlex.join([*named, *self._options(command.takes, words)])

    def _images(self, command: Command, words: list[str]) -> list[str]:
        """The files and the command's own words, in the order in which it takes them."""
        images = [] if command.takes is Takes.NOTHING else [_as_argument(image) for image in self.images]
        option = _ONE_IMAGE.get(command.name)
        if option is None:
            return [*images, *words]
        further = [word for image in images[1:] for word in (option, image)]
        return [*images[:1], *words, *further]

    def _options(self, takes: Takes, words: list[str]) -> list[str]:
        """Those that the command takes; what the command says itself replaces what the person said of the same."""
        options = {
            Takes.NOTHING: (),
            Takes.IMAGE: self.image_options,
            Takes.HANDOVER: (*self.image_options, *self.handover_options),
        }
        return [word for option in options[takes] if option[0] not in words for word in option]


def _as_argument(path: str) -> str:
    """A file's name, so that it is not taken for an option."""
    return f"./{path}" if path.startswith("-") else path


#: Where no image is at hand.
PLACEHOLDERS: Final = Invocation(("IMAGE",))
#: For whom calls functions; commands are for a shell there, too.
IN_PYTHON: Final = replace(PLACEHOLDERS, wording=Parameter.as_keyword)


@dataclass(frozen=True)
class Look:
    """A way to see for oneself: a command, and what it shows, as a sentence that goes on from it."""

    command: Command
    shows: str

    def __str__(self) -> str:
        return f"{PLACEHOLDERS.line(self.command)} {self.shows}"


@dataclass(frozen=True)
class Confirmation:
    """How to confirm a finding: the ways to see it, the best first, and what else there is to do.

    The first is given of which all is known.
    """

    looks: tuple[Look, ...]
    remark: str = ""

    def __str__(self) -> str:
        looks = "; or ".join(map(str, self.looks))
        return f"{looks}. {self.remark}".strip()

    def chosen(self, words: Words, invocation: Invocation, *, is_broken: bool) -> Look | None:
        """The best way that there is here, without blanks.

        Args:
            words: what is known of the finding.
            invocation: how the handover was named.
            is_broken: whether the root FDT leads to no map, so that few commands work.
        """
        if invocation.fdt_file is not None:
            words = {**words, Blank.FDT_FILE: _as_argument(invocation.fdt_file)}
        for look in self.looks:
            command = look.command.filled(words)
            can_be_had = not is_broken or look.command.can_be_broken
            if command is not None and can_be_had and invocation.has(command):
                return Look(command, f"{look.shows}. {self.remark}" if self.remark else look.shows)
        return None


def see(name: str, *words: str | Blank, shows: str, program: str | None = "khodump") -> Look:
    """A way to see, by a command of this name with these words."""
    return Look(Command(name, words, program), shows)


def confirm(*looks: Look, remark: str = "") -> Confirmation:
    """How to confirm: these ways, the best first."""
    return Confirmation(looks, remark)


@dataclass(frozen=True)
class Advice:
    """A sentence that names commands and parameters; these are worded where it is known for whom.

    Attributes:
        parts: text, and commands and parameters between.
    """

    parts: tuple[str | Command | Parameter, ...]

    @classmethod
    def of(cls, *parts: str | Command | Parameter | Advice) -> Advice:
        """From these, in order."""
        flat = (part.parts if isinstance(part, Advice) else (part,) for part in parts)
        return cls(tuple(chain.from_iterable(flat)))

    def __str__(self) -> str:
        return self.told(IN_PYTHON)

    def told(self, invocation: Invocation) -> str:
        """The sentence for a person who named the image so."""
        return "".join(_worded(part, invocation) for part in self.parts)


def _worded(part: str | Command | Parameter, invocation: Invocation) -> str:
    if isinstance(part, Command):
        return invocation.line(part)
    return invocation.wording(part) if isinstance(part, Parameter) else part


#: A sentence that is worded for whom reads it, if it names what differs between a prompt and Python.
Sentence = str | Advice


def told(sentence: Sentence, invocation: Invocation = PLACEHOLDERS) -> str:
    """The sentence for a person who named the image so."""
    return sentence if isinstance(sentence, str) else sentence.told(invocation)


#: Of a finding that no rule knows.
UNDECLARED: Final = confirm(
    see("lookup", Blank.PHYS, shows="shows what the image holds there, and whose it is"),
    see("subtrees", shows="shows what the decoder read"),
)
