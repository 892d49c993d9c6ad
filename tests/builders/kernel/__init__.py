"""Running kernels in the making: symbols, types, page tables, and LUO's lists, in built memory."""
