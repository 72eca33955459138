"""From a configuration to rows: the stages of a chain, in one process or several."""
