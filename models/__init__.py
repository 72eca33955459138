"""Keyword spotters: the contract, the registry, and the families that come with the toolkit."""
