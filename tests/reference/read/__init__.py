"""A plain reader of everything that is handed over: slow, literal, and without any guess."""
