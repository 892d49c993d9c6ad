"""How two handovers differ: `map` by address, `meaning` in words, `unknown` where one cannot tell."""
