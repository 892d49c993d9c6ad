"""A second opinion: a reader and a writer of handovers that share nothing with khodump.

Written from the description of the kernel's formats alone, with the standard library alone. ``read`` answers what a
memory holds, ``write`` makes random handovers, ``images`` puts a memory into dump files, and ``relate`` holds
khodump's commands to what ``read`` says, and to each other. Only ``relate`` may import khodump; a test sees to it.
"""
