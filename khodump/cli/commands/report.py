"""`khodump report`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from khodump.cli.command import Status, command
from khodump.cli.help import Example
from khodump.cli.source import Source, named_fdt
from khodump.cli.terminal import FORCE, Voice
from khodump.errors import UsageError

if TYPE_CHECKING:
    from khodump.handover import Handover
    from khodump.report.page import Page


@dataclass(frozen=True)
class Subject(Source):
    """What a report is on: a handover, or an old one against a new one."""

    images: Annotated[  # not with --live
        list[str] | None,
        typer.Argument(
            metavar="IMAGE [NEW]",
            help="Memory image, as for khodump inspect; with a second one, the report compares the two.",
            show_default=False,
        ),
    ] = None
    image: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="A further file of the (first) image; may be repeated."),
    ] = None
    fdt_new: Annotated[
        str | None, typer.Option(metavar="FILE|0xPHYS", help="The root FDT of the second image.")
    ] = None

    @property
    def paths(self) -> list[str]:
        """The files that make the first image."""
        return [*self.named_images[:1], *(self.image or [])]

    @property
    def inputs(self) -> list[str]:
        """See `Image.inputs`."""
        fdt = None if self.fdt_new is None else named_fdt(self.fdt_new, "--fdt-new")
        return [*super().inputs, *self.named_images[1:], *([fdt] if isinstance(fdt, str) else [])]

    @property
    def compares(self) -> bool:
        """Whether two are named."""
        if len(self.named_images) > 2:
            raise UsageError(
                "a report is on one image, or on two against each other",
                hint="name further files of the first image with --image",
            )
        return len(self.named_images) == 2

    @contextmanager
    def opened_new(self, voice: Voice) -> Iterator[Handover]:
        """The second handover."""
        with self.newer.opened(voice) as handover:
            yield handover

    @property
    def newer(self) -> Subject:
        """What names the second handover."""
        return replace(
            self, images=self.named_images[1:], image=None, fdt=self.fdt_new, scratch=None, ranges=None
        )


@command(
    examples=[
        Example("report vmcore -o report.html", "All that is known of it, in one file to mail"),
        Example("report vmcore --next 7.1 -o report.html", "Held against another kernel"),
        Example("report before vmcore -o diff.html", "What changed between two moments"),
    ]
)
def report(
    subject: Subject,
    voice: Voice,
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="The HTML file to write.")],
    next_: Annotated[
        str | None,
        typer.Option("--next", metavar="KERNEL", help="The kernel that is to receive it, as for check."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help=FORCE)] = False,
) -> Status:
    """Write all that is known of a handover, or of how two differ, into one HTML file that can be mailed."""
    import numpy as np

    from khodump.numbers import format_size
    from khodump.output.files import new_file, refuse
    from khodump.report.page import render

    if subject.compares and next_ is not None:
        raise UsageError("--next is about one handover", hint="leave it out, or name one image")
    refuse(output, force=force, inputs=subject.inputs)
    page, status = _comparison(subject, voice) if subject.compares else _single(subject, voice, next_)
    html = render(page).encode()
    with new_file(output, room=len(html), force=force, inputs=subject.inputs) as sink:
        sink.write(np.frombuffer(html, np.uint8))
    voice.note(f"wrote {output}, {format_size(len(html))}: {page.verdict}")
    return status


def _single(subject: Subject, voice: Voice, next_: str | None) -> tuple[Page, Status]:
    """The page, and whether something that it should show was missing or damaged."""
    from khodump.abi.kernels import kernel_named
    from khodump.checking.checkup import examine
    from khodump.handover import Handover
    from khodump.report.handover import handover_page

    kernel = None if next_ is None else kernel_named(next_)
    with subject.opened_leniently(voice) as opened:
        checkup = examine(opened, kernel)
        page = handover_page(opened, checkup, kernel, subject.invocation)
        handovers = [opened] if isinstance(opened, Handover) and not checkup.is_bygone else []
        return page, voice.told(handovers)


def _comparison(subject: Subject, voice: Voice) -> tuple[Page, Status]:
    """See `_single`."""
    from khodump.report.comparison import comparison_page

    with subject.opened(voice) as old, subject.opened_new(voice) as new:
        invocations = (subject.invocation, subject.newer.invocation)
        page = comparison_page(old, new, invocations)
        return page, voice.told([old, new])
