"""The REPL: the verb table with variables and pipes. Loads no prompt until somebody types."""
