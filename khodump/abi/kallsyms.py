"""kernel/kallsyms_internal.h and scripts/kallsyms.c: the kernel's table of its own symbols."""

from __future__ import annotations

from typing import Any, Final

import construct

#: Tokens that names are made of.
KALLSYMS_TOKENS: Final = 256

#: The longest name, its NUL included (include/linux/kallsyms.h; 128 before 6.1).
KSYM_NAME_LEN: Final = 512

#: An entry of kallsyms_token_index: where the token begins in kallsyms_token_table, in bytes.
TOKEN_INDEX: Any = construct.Int16ul

#: kallsyms_num_syms.
NUM_SYMS: Any = construct.Int32ul

#: An entry of kallsyms_offsets, and kallsyms_relative_base.
OFFSET: Any = construct.Int32ul
RELATIVE_BASE: Any = construct.Int64ul
