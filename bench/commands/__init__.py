"""The command line's commands, a file each: parse, call, print. Torch is imported where it is used."""
